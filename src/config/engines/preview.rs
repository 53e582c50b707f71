//! The built-in engine.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Check, Config, EngineSection};

/// `[engine.preview]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreviewConfig {
    /// How long a picture takes at least, to resemble a real engine.
    #[serde(with = "crate::config::duration")]
    pub latency: Duration,
    /// Fraction of calls that answer "too many requests".
    pub rate_limited: f64,
    /// Fraction of calls that answer "unavailable".
    pub unavailable: f64,
    /// Fraction of calls that answer "no such model".
    pub misconfigured: f64,
    /// Fraction of pictures withheld as filtered.
    pub filtered: f64,
    /// Fraction of calls that never answer.
    pub hang: f64,
}

impl EngineSection for PreviewConfig {
    fn name(&self) -> &'static str {
        "preview"
    }

    fn model(&self) -> Option<&str> {
        None
    }

    fn validate(&self, config: &Config, _is_used: bool, check: &mut Check) {
        for (key, value) in [
            ("engine.preview.rate_limited", self.rate_limited),
            ("engine.preview.unavailable", self.unavailable),
            ("engine.preview.misconfigured", self.misconfigured),
            ("engine.preview.filtered", self.filtered),
            ("engine.preview.hang", self.hang),
        ] {
            check.range(key, &value, &(0.0..=1.0));
        }
        let attempt = config.jobs.attempt_timeout;
        check.at_most("engine.preview.latency", self.latency, "jobs.attempt_timeout", attempt);
    }
}
