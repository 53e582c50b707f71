//! When to try again: exponential backoff with full jitter; a provider's `Retry-After` wins; a cap on every wait.

use std::time::Duration;

/// How often a job is tried, and how long it waits in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts a job may start, at least 1.
    pub max_attempts: u32,
    /// The longest first wait; it doubles with each attempt.
    pub base: Duration,
    /// The longest wait of all, even if the provider's `Retry-After` is longer.
    pub cap: Duration,
}

impl RetryPolicy {
    /// The wait after `attempt` (1 is the first) failed: `jitter × min(cap, base × 2^(attempt − 1))`.
    ///
    /// `jitter` is from 0 to 1. The provider's `Retry-After` wins, up to `cap`.
    pub fn delay(&self, attempt: u32, jitter: f64, retry_after: Option<Duration>) -> Duration {
        if let Some(wait) = retry_after {
            return wait.min(self.cap);
        }
        doubled(self.base, attempt.saturating_sub(1), self.cap).mul_f64(jitter.clamp(0.0, 1.0))
    }
}

/// `base × 2^doublings`, at most `cap`.
pub fn doubled(base: Duration, doublings: u32, cap: Duration) -> Duration {
    let factor = 1_u32.checked_shl(doublings.min(31)).unwrap_or(u32::MAX);
    base.checked_mul(factor).unwrap_or(cap).min(cap)
}
