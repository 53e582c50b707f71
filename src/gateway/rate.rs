//! How many requests a minute: a bucket per user or address that refills evenly, in bounded memory.

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

/// By which policies a request was judged (draft-ietf-httpapi-ratelimit-headers-10).
pub(super) const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// What each of them leaves.
pub(super) const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Seconds in which an empty bucket is full again.
const WINDOW: u32 = 60;
/// Buckets that are told apart, at about 50 bytes each.
const MANY: usize = 1 << 18;
/// Beyond, clients share this many: unfair, but bounded.
const SHARED: u64 = 1 << 16;
/// After so many requests buckets that are full again are forgotten.
const TIDY_EVERY: u32 = 1 << 14;

/// Requests a minute, for each of many clients.
pub(super) struct Rate {
    name: &'static str,
    quota: NonZeroU32,
    policy: HeaderValue,
    buckets: RateLimiter<u64, DashMapStateStore<u64>, Ticks, StateInformationMiddleware>,
    ticks: Ticks,
    /// Clients are told apart by a hash that only this process can make, so nobody aims at somebody else's bucket.
    secret: RandomState,
    judged: AtomicU32,
    is_crowded: AtomicBool,
}

/// Time since the start, by the runtime's clock, which tests may move.
#[derive(Debug, Clone)]
struct Ticks(Instant);

impl Clock for Ticks {
    type Instant = Duration;
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

impl ReasonablyRealtime for Ticks {}

/// What a client has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Left {
    requests: u32,
    /// Until the bucket is full again; of an empty one, until there is a request in it.
    seconds: u64,
}

impl Rate {
    /// `quota` requests a minute for each client, as many of them at once.
    pub fn per_minute(name: &'static str, quota: NonZeroU32) -> Self {
        let ticks = Ticks(Instant::now());
        let policy = format!("\"{name}\";q={quota};w={WINDOW}");
        Self {
            name,
            quota,
            policy: HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("")),
            buckets: RateLimiter::new(Quota::per_minute(quota), DashMapStateStore::default(), ticks.clone()),
            ticks,
            secret: RandomState::new(),
            judged: AtomicU32::new(0),
            is_crowded: AtomicBool::new(false),
        }
    }

    /// Takes a request out of the client's bucket, and says what is left in it, or what to answer when it is empty.
    pub fn take(&self, client: impl Hash) -> Result<Left, Problem> {
        if self.judged.fetch_add(1, Ordering::Relaxed) % TIDY_EVERY == TIDY_EVERY - 1 {
            self.tidy();
        }
        let hash = self.secret.hash_one(client);
        let bucket = if self.is_crowded.load(Ordering::Relaxed) { hash % SHARED } else { hash };
        match self.buckets.check_key(&bucket) {
            Ok(state) => {
                let requests = state.remaining_burst_capacity();
                let used = u64::from(self.quota.get().saturating_sub(requests));
                let seconds = (used * u64::from(WINDOW)).div_ceil(u64::from(self.quota.get()));
                Ok(Left { requests, seconds })
            }
            Err(empty) => Err(self.refused(empty.wait_time_from(self.ticks.now()))),
        }
    }

    fn refused(&self, wait: Duration) -> Problem {
        let detail = format!("{} requests a minute are allowed to one {}", self.quota, self.name);
        let left = Left { requests: 0, seconds: wait.as_secs() + u64::from(wait.subsec_nanos() > 0) };
        let mut headers = HeaderMap::new();
        self.describe(left, &mut headers);
        let problem = Problem::new(Code::TooManyRequests, detail).retry_after(Some(wait));
        headers.into_iter().fold(problem, |problem, (name, value)| match name {
            Some(name) => problem.with_header(name, value),
            None => problem,
        })
    }

    /// Adds the policy and what is left to an answer's headers; other policies may stand there already.
    pub fn describe(&self, left: Left, headers: &mut HeaderMap) {
        headers.append(RATELIMIT_POLICY, self.policy.clone());
        let Left { requests, seconds } = left;
        if let Ok(value) = HeaderValue::try_from(format!("\"{}\";r={requests};t={seconds}", self.name)) {
            headers.append(RATELIMIT, value);
        }
    }

    fn tidy(&self) {
        self.buckets.retain_recent();
        let clients = self.buckets.len();
        if clients < MANY / 2 {
            self.buckets.shrink_to_fit();
        }
        self.is_crowded.store(clients >= MANY, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn rate(quota: u32) -> Rate {
        Rate::per_minute("user", NonZeroU32::new(quota).expect("some"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_bucket_empties_and_refills_evenly() {
        let rate = rate(3);
        let left = |requests, seconds| Left { requests, seconds };
        let taken: Vec<_> = (0..3).map(|_| rate.take("ada").expect("allowed")).collect();
        assert_eq!(taken, [left(2, 20), left(1, 40), left(0, 60)]);
        assert!(rate.take("ada").is_err());
        assert_eq!(rate.take("bob").expect("a bucket of his own"), left(2, 20));
        advance(Duration::from_secs(19)).await;
        assert!(rate.take("ada").is_err());
        advance(Duration::from_secs(1)).await;
        assert_eq!(rate.take("ada").expect("a third of a minute later"), left(0, 60));
        advance(Duration::from_mins(5)).await;
        assert_eq!(rate.take("ada").expect("full, and not fuller"), left(2, 20));
    }

    #[tokio::test(start_paused = true)]
    async fn any_number_of_clients_costs_bounded_memory() {
        let rate = rate(1);
        let many = u32::try_from(MANY).expect("a number");
        for client in 0..2 * many {
            let _ = rate.take(client);
        }
        let most = MANY + usize::try_from(SHARED).expect("a number") + usize::try_from(TIDY_EVERY).expect("a number");
        assert!(rate.buckets.len() <= most, "{} buckets", rate.buckets.len());
        // The crowd has gone: everybody has a bucket again, and the memory is given back.
        advance(Duration::from_mins(2)).await;
        rate.tidy();
        assert!(rate.buckets.is_empty());
        assert!(!rate.is_crowded.load(Ordering::Relaxed));
    }
}
