//! What draws: names, aliases, prices, and a section for each engine.
//!
//! To add an engine: its section here and in [`EngineConfig::sections`], its code and its descriptor in `src/engine`, its
//! defaults in `config/default.toml`, and its contract test.

mod noop;
mod openai;
mod preview;
mod vertex;

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use self::noop::Noop;
pub use self::{
    openai::{LoraConfig, OpenAiConfig},
    preview::PreviewConfig,
    vertex::{GeminiConfig, ImagenConfig},
};
use super::{Config, validate::Check};

/// `[engine]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineConfig {
    /// What draws, as an alias, an engine, or `engine/model`; see [`EngineConfig::route`].
    pub default: String,
    /// What draws in a brand; absent: what draws everything else.
    pub brands: Option<String>,
    /// What draws while the meant engine may not be called; absent: nothing.
    pub fallback: Option<String>,
    /// Short names, so that a retired model is changed in one line.
    pub aliases: BTreeMap<String, String>,
    /// What is known of models: prices, and the end of their service.
    pub models: Vec<ModelConfig>,
    /// The built-in engine.
    pub preview: PreviewConfig,
    /// Gemini on Vertex AI.
    pub gemini: GeminiConfig,
    /// Imagen on Vertex AI.
    pub imagen: ImagenConfig,
    /// A server that implements `OpenAI`'s API.
    pub openai: OpenAiConfig,
    /// A server of the operator's own that draws with trained models.
    pub lora: LoraConfig,
}

/// The section of an engine, `[engine.<name>]`.
pub(super) trait EngineSection {
    /// The engine's name.
    fn name(&self) -> &'static str;

    /// The model that the bare name of the engine means; `None` for an engine without models.
    fn model(&self) -> Option<&str>;

    /// Reports every wrong value. An engine that `is_used` by a worker must also have everything that it needs.
    fn validate(&self, config: &Config, is_used: bool, check: &mut Check);
}

/// An engine and its model.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// The name of the engine.
    pub engine: &'static str,
    /// The model; empty for an engine without models.
    pub model: String,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.engine)?;
        if self.model.is_empty() { Ok(()) } else { write!(f, "/{}", self.model) }
    }
}

impl EngineConfig {
    /// The section of every engine.
    pub(super) fn sections(&self) -> [&dyn EngineSection; 6] {
        [&self.preview, &self.gemini, &self.imagen, &self.openai, &self.lora, &Noop]
    }

    /// The names of all engines.
    pub fn names(&self) -> Vec<&'static str> {
        self.sections().map(EngineSection::name).to_vec()
    }

    /// What a name means: an alias, an engine with the model of its section, or `engine/model`. The error lists the
    /// valid names.
    pub fn route(&self, name: &str) -> Result<Route, String> {
        let meant = self.aliases.get(name).map_or(name, String::as_str);
        let (engine, model) = meant.split_once('/').unwrap_or((meant, ""));
        let Some(section) = self.sections().into_iter().find(|section| section.name() == engine) else {
            let engines = self.names().join(", ");
            let aliases = self.aliases.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(format!("{meant:?} is not an engine; engines: {engines}; aliases: {aliases}; or engine/model"));
        };
        let engine = section.name();
        let model = match (section.model(), model) {
            (None, "") => "",
            (None, _) => return Err(format!("{engine} has no models; write {engine:?} alone")),
            (Some(default), "") => default,
            (Some(_), model) => model,
        };
        Ok(Route { engine, model: model.to_owned() })
    }
}

/// An entry of `engine.models`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// The model's id.
    pub id: String,
    /// Millionths of a US dollar per picture, by size class (`512`, `1K`, `2K`, `4K`), or under `any`.
    #[serde(default)]
    pub micro_usd: BTreeMap<String, u64>,
    /// The day its service ends, as `2026-08-17`.
    #[serde(default)]
    pub retires: Option<String>,
}
