//! Backoff grows up to a cap; a provider's Retry-After wins.

use std::time::Duration;

use mediaforge::domain::retry::RetryPolicy;
use proptest::prelude::*;

proptest! {
    #[test]
    fn a_delay_never_exceeds_its_limit(
        attempt in any::<u32>(),
        jitter in any::<f64>(),
        base in 0..10_000_u64,
        cap in 0..100_000_u64,
        asked in proptest::option::of(any::<u64>()),
    ) {
        let policy = RetryPolicy { max_attempts: 5, base: Duration::from_millis(base), cap: Duration::from_millis(cap) };
        let delay = policy.delay(attempt, if jitter.is_finite() { jitter } else { 0.5 }, asked.map(Duration::from_secs));
        prop_assert!(delay <= policy.cap);
        if let Some(asked) = asked {
            prop_assert_eq!(delay, Duration::from_secs(asked).min(policy.cap));
        }
    }

    #[test]
    fn the_limit_doubles_until_the_cap(attempt in 1..40_u32) {
        let policy = RetryPolicy { max_attempts: 5, base: Duration::from_secs(10), cap: Duration::from_mins(10) };
        let full = |attempt| policy.delay(attempt, 1.0, None);
        prop_assert!(full(attempt + 1) >= full(attempt));
        prop_assert_eq!(full(1), Duration::from_secs(10));
        prop_assert_eq!(full(3), Duration::from_secs(40));
        prop_assert_eq!(full(40), Duration::from_mins(10));
        prop_assert_eq!(policy.delay(attempt, 0.0, None), Duration::ZERO);
    }
}
