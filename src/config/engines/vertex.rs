//! Google's models on Vertex AI.

use serde::{Deserialize, Serialize};
use url::Url;

use super::{Check, Config, EngineSection};

/// `[engine.gemini]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeminiConfig {
    /// The model's id.
    pub model: String,
    /// The region, or `global`.
    pub location: String,
    /// Calls at once for the pictures of one job.
    pub concurrency: usize,
    /// How long the model thinks: `MINIMAL` or `HIGH`; absent: as the model does by itself.
    pub thinking: Option<String>,
    /// Where it is, instead of Google's own address.
    pub endpoint: Option<Url>,
}

/// `[engine.imagen]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImagenConfig {
    /// The model's id.
    pub model: String,
    /// The region.
    pub location: String,
    /// Where it is, instead of Google's own address.
    pub endpoint: Option<Url>,
}

impl EngineSection for GeminiConfig {
    fn name(&self) -> &'static str {
        "gemini"
    }

    fn model(&self) -> Option<&str> {
        Some(&self.model)
    }

    fn validate(&self, config: &Config, is_used: bool, check: &mut Check) {
        check.range("engine.gemini.concurrency", &self.concurrency, &(1..=16));
        check.http_url("engine.gemini.endpoint", self.endpoint.as_ref());
        if is_used {
            check.vertex(config, "engine.default");
        }
    }
}

impl EngineSection for ImagenConfig {
    fn name(&self) -> &'static str {
        "imagen"
    }

    fn model(&self) -> Option<&str> {
        Some(&self.model)
    }

    fn validate(&self, config: &Config, is_used: bool, check: &mut Check) {
        check.http_url("engine.imagen.endpoint", self.endpoint.as_ref());
        if is_used {
            check.vertex(config, "engine.default");
        }
    }
}
