//! Time and randomness. The rules take both as arguments, so that a test can replay them.
//!
//! `clippy.toml` bans reading the wall clock or drawing randomness anywhere else.

use std::time::Duration;

use super::Timestamp;

/// A source of the current time.
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

/// Drops fractions of a microsecond, as Firestore does, so that a value read back equals the value written.
pub fn truncate(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}

/// `at + by`, or the last representable moment if the sum overflows.
pub fn after(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// Milliseconds from `start` to `end`; 0 if `end` is earlier, as when the clock was set back.
pub fn millis_between(start: Timestamp, end: Timestamp) -> u64 {
    u64::try_from(end.as_millisecond() - start.as_millisecond()).unwrap_or(0)
}

/// The time from `now` until `at`; zero if `at` has passed.
pub fn until(now: Timestamp, at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO)
}

/// A source of randomness for ids, jitter and faults.
pub trait Random: Send + Sync {
    /// 64 uniformly random bits of cryptographic quality: ids must not be guessable.
    fn next_u64(&self) -> u64;

    /// A uniform number in `[0, 1)`.
    fn unit(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
        let bits = (self.next_u64() >> 11) as f64;
        bits / 9_007_199_254_740_992.0
    }
}

/// A cryptographic generator per thread, seeded by the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    #[expect(clippy::disallowed_methods, reason = "the one place that draws randomness")]
    fn next_u64(&self) -> u64 {
        use rand::Rng as _;
        rand::rng().next_u64()
    }
}
