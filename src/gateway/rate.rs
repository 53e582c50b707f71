//! Limits of requests a minute: each user or address has a bucket that refills evenly. Memory is bounded.

use std::{
    hash::{BuildHasher as _, Hash, RandomState},
    num::NonZeroU32,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use governor::{
    Quota, RateLimiter,
    clock::{Clock, ReasonablyRealtime},
    middleware::StateInformationMiddleware,
    state::keyed::DashMapStateStore,
};
use tokio::time::Instant;

use super::problem::{Code, Problem};

/// The policies that were applied to a request (draft-ietf-httpapi-ratelimit-headers-10).
pub(super) const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// What remains under each policy.
pub(super) const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Seconds in which an empty bucket refills.
const WINDOW: u32 = 60;
/// Above this number of buckets (about 50 bytes each), clients share buckets.
const MAX_BUCKETS: usize = 1 << 18;
/// The number of shared buckets: unfair to their clients, but bounded.
const SHARED_BUCKETS: u64 = 1 << 16;
/// The number of requests after which full buckets are dropped.
const CLEAN_UP_EVERY: u32 = 1 << 14;

/// A limit of requests a minute for each of many clients.
pub(super) struct RateLimit {
    name: &'static str,
    quota: NonZeroU32,
    policy: HeaderValue,
    buckets: RateLimiter<u64, DashMapStateStore<u64>, RuntimeClock, StateInformationMiddleware>,
    clock: RuntimeClock,
    /// A keyed hash chooses the bucket, so that a client cannot aim at the bucket of another one.
    hasher: RandomState,
    requests: AtomicU32,
    shares_buckets: AtomicBool,
}

/// The time since the start, by the clock of the runtime, which tests can advance.
#[derive(Debug, Clone)]
struct RuntimeClock(Instant);

impl Clock for RuntimeClock {
    type Instant = Duration;
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

impl ReasonablyRealtime for RuntimeClock {}

/// What remains of a client's limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Remaining {
    requests: u32,
    /// Until the bucket is full again; if it is empty, until it allows one request.
    seconds: u64,
}

impl RateLimit {
    /// `quota` requests a minute for each client; a client may send all of them at once.
    pub fn per_minute(name: &'static str, quota: NonZeroU32) -> Self {
        let clock = RuntimeClock(Instant::now());
        let policy = format!("\"{name}\";q={quota};w={WINDOW}");
        Self {
            name,
            quota,
            policy: HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("")),
            buckets: RateLimiter::new(Quota::per_minute(quota), DashMapStateStore::default(), clock.clone()),
            clock,
            hasher: RandomState::new(),
            requests: AtomicU32::new(0),
            shares_buckets: AtomicBool::new(false),
        }
    }

    /// Takes one request out of the client's bucket. Returns what remains, or the refusal if the bucket is empty.
    pub fn take(&self, client: impl Hash) -> Result<Remaining, Problem> {
        if self.requests.fetch_add(1, Ordering::Relaxed) % CLEAN_UP_EVERY == CLEAN_UP_EVERY - 1 {
            self.clean_up();
        }
        let hash = self.hasher.hash_one(client);
        let bucket = if self.shares_buckets.load(Ordering::Relaxed) { hash % SHARED_BUCKETS } else { hash };
        match self.buckets.check_key(&bucket) {
            Ok(state) => {
                let requests = state.remaining_burst_capacity();
                let used = u64::from(self.quota.get().saturating_sub(requests));
                let seconds = (used * u64::from(WINDOW)).div_ceil(u64::from(self.quota.get()));
                Ok(Remaining { requests, seconds })
            }
            Err(empty) => Err(self.refused(empty.wait_time_from(self.clock.now()))),
        }
    }

    fn refused(&self, wait: Duration) -> Problem {
        let detail = format!("{} requests a minute are allowed to one {}", self.quota, self.name);
        let remaining = Remaining { requests: 0, seconds: wait.as_secs() + u64::from(wait.subsec_nanos() > 0) };
        let mut headers = HeaderMap::new();
        self.add_headers(remaining, &mut headers);
        let problem = Problem::new(Code::TooManyRequests, detail).retry_after(Some(wait));
        headers.into_iter().fold(problem, |problem, (name, value)| match name {
            Some(name) => problem.with_header(name, value),
            None => problem,
        })
    }

    /// Appends this policy and what remains to a response's headers, which may contain other policies.
    pub fn add_headers(&self, remaining: Remaining, headers: &mut HeaderMap) {
        headers.append(RATELIMIT_POLICY, self.policy.clone());
        let Remaining { requests, seconds } = remaining;
        if let Ok(value) = HeaderValue::try_from(format!("\"{}\";r={requests};t={seconds}", self.name)) {
            headers.append(RATELIMIT, value);
        }
    }

    fn clean_up(&self) {
        self.buckets.retain_recent();
        let clients = self.buckets.len();
        if clients < MAX_BUCKETS / 2 {
            self.buckets.shrink_to_fit();
        }
        self.shares_buckets.store(clients >= MAX_BUCKETS, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn limit(quota: u32) -> RateLimit {
        RateLimit::per_minute("user", NonZeroU32::new(quota).expect("some"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_bucket_empties_and_refills_evenly() {
        let limit = limit(3);
        let remaining = |requests, seconds| Remaining { requests, seconds };
        let taken: Vec<_> = (0..3).map(|_| limit.take("ada").expect("allowed")).collect();
        assert_eq!(taken, [remaining(2, 20), remaining(1, 40), remaining(0, 60)]);
        assert!(limit.take("ada").is_err());
        assert_eq!(limit.take("bob").expect("another client has its own bucket"), remaining(2, 20));
        advance(Duration::from_secs(19)).await;
        assert!(limit.take("ada").is_err());
        advance(Duration::from_secs(1)).await;
        assert_eq!(limit.take("ada").expect("a third of a minute later"), remaining(0, 60));
        advance(Duration::from_mins(5)).await;
        assert_eq!(limit.take("ada").expect("full, and not fuller"), remaining(2, 20));
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_for_any_number_of_clients() {
        let limit = limit(1);
        let many = u32::try_from(MAX_BUCKETS).expect("a number");
        for client in 0..2 * many {
            let _ = limit.take(client);
        }
        let most = MAX_BUCKETS
            + usize::try_from(SHARED_BUCKETS).expect("a number")
            + usize::try_from(CLEAN_UP_EVERY).expect("a number");
        assert!(limit.buckets.len() <= most, "{} buckets", limit.buckets.len());
        // Once the clients are idle, each gets its own bucket again, and the memory is freed.
        advance(Duration::from_mins(2)).await;
        limit.clean_up();
        assert!(limit.buckets.is_empty());
        assert!(!limit.shares_buckets.load(Ordering::Relaxed));
    }
}
