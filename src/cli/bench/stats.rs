//! Latencies as a histogram, errors counted by kind.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::domain::Timestamp;

/// Upper bound of the histogram, in nanoseconds.
const LONGEST: u64 = 600_000_000_000;
/// Maximum number of kinds that are counted separately, so that ever-changing messages do not fill the memory.
const KINDS: usize = 32;

/// Latencies, recorded by many tasks. Clones share the histogram.
#[derive(Clone)]
pub(super) struct Latencies(Arc<Mutex<Histogram<u64>>>);

/// Percentiles in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Percentiles {
    #[serde(rename = "p50Ms")]
    pub p50: f64,
    #[serde(rename = "p95Ms")]
    pub p95: f64,
    #[serde(rename = "p99Ms")]
    pub p99: f64,
    #[serde(rename = "maxMs")]
    pub max: f64,
}

impl Latencies {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self(Arc::new(Mutex::new(Histogram::new_with_bounds(1, LONGEST, 3)?))))
    }

    pub(super) fn record(&self, latency: Duration) {
        self.lock().saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(LONGEST));
    }

    /// Records the time between two moments of one clock, or 0 if the clock was set back between them.
    pub(super) fn record_between(&self, from: Timestamp, to: Timestamp) {
        self.record(Duration::try_from(to.duration_since(from)).unwrap_or_default());
    }

    pub(super) fn count(&self) -> u64 {
        self.lock().len()
    }

    /// `None` if nothing was recorded.
    pub(super) fn percentiles(&self) -> Option<Percentiles> {
        let histogram = self.lock();
        let at = |quantile| millis(histogram.value_at_quantile(quantile));
        (!histogram.is_empty()).then(|| Percentiles {
            p50: at(0.50),
            p95: at(0.95),
            p99: at(0.99),
            max: millis(histogram.max()),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Histogram<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Percentiles {
    /// Combines each percentile with the same percentile of `other`.
    pub(super) fn combine(self, other: Self, of: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            p50: of(self.p50, other.p50),
            p95: of(self.p95, other.p95),
            p99: of(self.p99, other.p99),
            max: of(self.max, other.max),
        }
    }
}

fn millis(nanos: u64) -> f64 {
    float(nanos) / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "exact for every count and size that occurs here")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

/// Errors and how often they occurred. Clones share the counts.
#[derive(Clone, Default)]
pub(super) struct Errors(Arc<Mutex<BTreeMap<String, u64>>>);

impl Errors {
    pub(super) fn add(&self, what: impl Into<String>) {
        self.add_many(what, 1);
    }

    pub(super) fn add_many(&self, what: impl Into<String>, count: u64) {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let what = what.into();
        let what = if kinds.len() < KINDS || kinds.contains_key(&what) { what } else { "others".to_owned() };
        *kinds.entry(what).or_default() += count;
    }

    pub(super) fn kinds(&self) -> BTreeMap<String, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_match_the_recorded_values() {
        let latencies = Latencies::new().unwrap();
        assert_eq!(latencies.percentiles(), None);
        (1..=100).for_each(|ms| latencies.record(Duration::from_millis(ms)));
        let found = latencies.percentiles().unwrap();
        // The histogram keeps three digits.
        for (value, expected) in [(found.p50, 50.0), (found.p95, 95.0), (found.p99, 99.0), (found.max, 100.0)] {
            assert!((value - expected).abs() <= expected / 1000.0, "{found:?}");
        }
        latencies.record(Duration::from_hours(9));
        assert_eq!(latencies.count(), 101, "a latency above the bound is recorded at the bound");
    }

    #[test]
    fn a_clock_that_was_set_back_gives_zero() {
        let latencies = Latencies::new().unwrap();
        let at = |second| Timestamp::from_second(second).unwrap();
        latencies.record_between(at(10), at(8));
        assert!(latencies.percentiles().unwrap().max < 0.001);
    }

    #[test]
    fn the_number_of_kinds_is_limited_and_every_error_is_counted() {
        let errors = Errors::default();
        (0..100).for_each(|n| errors.add(format!("error {n}")));
        errors.add_many("error 0", 2);
        let kinds = errors.kinds();
        assert_eq!((kinds.len(), kinds["error 0"], kinds["others"]), (KINDS + 1, 3, 68));
        assert_eq!(kinds.values().sum::<u64>(), 102);
    }
}
