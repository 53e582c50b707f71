//! When to try again: full jitter, a provider's `Retry-After` first, a bound on everything.

use std::time::Duration;

/// How often and how patiently a job is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts a job may start, at least 1.
    pub max_attempts: u32,
    /// The upper bound of the first wait; doubles with each attempt.
    pub base: Duration,
    /// The upper bound of every wait, a provider's `Retry-After` included.
    pub cap: Duration,
}

impl RetryPolicy {
    /// The wait after `attempt` (1 is the first) failed: `jitter × min(cap, base × 2^(attempt − 1))`.
    ///
    /// `jitter` lies in `[0, 1]`. A wait the provider asked for wins, bounded by `cap`.
    pub fn delay(&self, attempt: u32, jitter: f64, retry_after: Option<Duration>) -> Duration {
        if let Some(asked) = retry_after {
            return asked.min(self.cap);
        }
        doubled(self.base, attempt.saturating_sub(1), self.cap).mul_f64(jitter.clamp(0.0, 1.0))
    }
}

/// `base × 2^doublings`, at most `cap`.
pub fn doubled(base: Duration, doublings: u32, cap: Duration) -> Duration {
    let factor = 1_u32.checked_shl(doublings.min(31)).unwrap_or(u32::MAX);
    base.checked_mul(factor).unwrap_or(cap).min(cap)
}
