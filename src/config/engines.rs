//! What draws and what trains.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[engine]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineConfig {
    /// Which one draws.
    pub default: EngineBackend,
    /// The built-in one.
    pub preview: PreviewConfig,
}

/// What draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineBackend {
    /// Draws nothing and withholds every picture, for measurements.
    Noop,
    /// Built-in, deterministic, without AI.
    Preview,
}

/// `[engine.preview]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreviewConfig {
    /// How long a picture takes at least, to feel like a real engine.
    #[serde(with = "super::duration")]
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

/// `[trainer]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainerConfig {
    /// Which one trains.
    pub default: TrainerBackend,
    /// How often a training is asked how far it is.
    #[serde(with = "super::duration")]
    pub poll_every: Duration,
    /// The built-in one.
    pub mock: MockTrainerConfig,
}

/// What trains brands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrainerBackend {
    /// Built-in, by the clock, without AI.
    Mock,
}

/// `[trainer.mock]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MockTrainerConfig {
    /// How long a training takes.
    #[serde(with = "super::duration")]
    pub duration: Duration,
    /// Fraction of calls that answer "too many requests".
    pub rate_limited: f64,
    /// Fraction of calls that answer "unavailable".
    pub unavailable: f64,
    /// Fraction of calls that answer "no such model".
    pub misconfigured: f64,
    /// Fraction of trainings that fail in the end.
    pub failed: f64,
    /// Fraction of trainings that never end.
    pub hang: f64,
}
