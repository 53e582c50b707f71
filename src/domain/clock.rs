//! Time and randomness, handed in as arguments so that every rule can be replayed.
//!
//! `clippy.toml` bans reading either anywhere else: a rule that looks at the wall clock cannot be tested.

use std::time::Duration;

use super::Timestamp;

/// Where "now" comes from.
pub trait Clock: Send + Sync {
    /// The current moment, truncated to microseconds.
    fn now(&self) -> Timestamp;
}

/// The machine's wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> Timestamp {
        truncate(Timestamp::now())
    }
}

/// Drops what lies below a microsecond, as Firestore does, so that a value read back equals the value written.
pub fn truncate(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}

/// `at + by`, held at the end of time instead of overflowing.
pub fn after(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// Milliseconds from `start` to `end`; zero when the clock went backwards.
pub fn millis_between(start: Timestamp, end: Timestamp) -> u64 {
    u64::try_from(end.as_millisecond() - start.as_millisecond()).unwrap_or(0)
}

/// How long until `at`; zero when it has passed.
pub fn until(now: Timestamp, at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO)
}

/// Where randomness comes from: ids, jitter, fault knobs.
pub trait Random: Send + Sync {
    /// 64 uniformly random bits, good enough for unguessable ids.
    fn next_u64(&self) -> u64;

    /// A uniform number in `[0, 1)`.
    fn unit(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
        let bits = (self.next_u64() >> 11) as f64;
        bits / 9_007_199_254_740_992.0
    }
}

/// The operating system's randomness through a per-thread cryptographic generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    #[expect(clippy::disallowed_methods, reason = "the one place that draws randomness")]
    fn next_u64(&self) -> u64 {
        use rand::Rng as _;
        rand::rng().next_u64()
    }
}
