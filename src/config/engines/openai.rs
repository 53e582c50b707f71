//! Servers that implement `OpenAI`'s API.

use serde::{Deserialize, Serialize};
use url::Url;

use super::{Check, Config, EngineSection};
use crate::config::SecretRef;

/// `[engine.openai]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenAiConfig {
    /// What `/images/generations` is appended to.
    pub base_url: Option<Url>,
    /// What is sent as a bearer token; absent: nothing.
    #[serde(default)]
    pub key: SecretRef,
    /// The model's id.
    pub model: String,
}

/// `[engine.lora]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraConfig {
    /// What `/images/generations` is appended to.
    pub endpoint: Option<Url>,
    /// What is sent as a bearer token; absent: nothing.
    #[serde(default)]
    pub key: SecretRef,
    /// The base model's id.
    pub model: String,
}

impl EngineSection for OpenAiConfig {
    fn name(&self) -> &'static str {
        "openai"
    }

    fn model(&self) -> Option<&str> {
        Some(&self.model)
    }

    fn validate(&self, _config: &Config, is_used: bool, check: &mut Check) {
        check.http_url("engine.openai.base_url", self.base_url.as_ref());
        if is_used && self.base_url.is_none() {
            check.wrong("engine.openai.base_url", "must be set, for the engine \"openai\" is used");
        }
    }
}

impl EngineSection for LoraConfig {
    fn name(&self) -> &'static str {
        "lora"
    }

    fn model(&self) -> Option<&str> {
        Some(&self.model)
    }

    fn validate(&self, _config: &Config, is_used: bool, check: &mut Check) {
        check.http_url("engine.lora.endpoint", self.endpoint.as_ref());
        if is_used && self.endpoint.is_none() {
            check.wrong("engine.lora.endpoint", "must be set, for the engine \"lora\" is used");
        }
    }
}
