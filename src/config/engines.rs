//! What draws and what trains.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use url::Url;

use super::SecretRef;

/// `[engine]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineConfig {
    /// What draws, as an alias, an engine, or `engine/model`; see [`EngineConfig::route`].
    pub default: String,
    /// What draws in a brand; absent: what draws everything else.
    pub brands: Option<String>,
    /// What draws while the other may not be called; absent: nothing.
    pub fallback: Option<String>,
    /// Short names, so that a retired model is changed in one line.
    pub aliases: BTreeMap<String, String>,
    /// What is known of models: prices, and the end of their service.
    pub models: Vec<ModelConfig>,
    /// The built-in one.
    pub preview: PreviewConfig,
    /// Gemini on Vertex AI.
    pub gemini: GeminiConfig,
    /// Imagen on Vertex AI.
    pub imagen: ImagenConfig,
    /// Anything that speaks as `OpenAI` does.
    pub openai: OpenAiConfig,
    /// A server of one's own that draws with trained models.
    pub lora: LoraConfig,
}

/// What draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EngineName {
    /// Draws nothing and withholds every picture, for measurements.
    Noop,
    /// Built-in, deterministic, without AI.
    Preview,
    /// Gemini on Vertex AI.
    Gemini,
    /// Imagen on Vertex AI.
    Imagen,
    /// Anything that speaks as `OpenAI` does.
    OpenAi,
    /// A server of one's own that draws with trained models.
    Lora,
}

impl EngineName {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Preview, Self::Gemini, Self::Imagen, Self::OpenAi, Self::Lora, Self::Noop];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Noop => "noop",
            Self::Preview => "preview",
            Self::Gemini => "gemini",
            Self::Imagen => "imagen",
            Self::OpenAi => "openai",
            Self::Lora => "lora",
        }
    }
}

/// An engine and its model.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// The engine.
    pub engine: EngineName,
    /// The model; empty for an engine that has only itself.
    pub model: String,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.engine.as_str())?;
        if self.model.is_empty() { Ok(()) } else { write!(f, "/{}", self.model) }
    }
}

impl EngineConfig {
    /// What a name stands for: an alias, an engine with the model of its section, or `engine/model`. The error lists what
    /// there is.
    pub fn route(&self, name: &str) -> Result<Route, String> {
        let meant = self.aliases.get(name).map_or(name, String::as_str);
        let (engine, model) = meant.split_once('/').unwrap_or((meant, ""));
        let Some(engine) = EngineName::ALL.into_iter().find(|known| known.as_str() == engine) else {
            let engines = EngineName::ALL.map(EngineName::as_str).join(", ");
            let aliases = self.aliases.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(format!("{meant:?} is no engine; engines: {engines}; aliases: {aliases}; or engine/model"));
        };
        let own = match engine {
            EngineName::Gemini => &self.gemini.model,
            EngineName::Imagen => &self.imagen.model,
            EngineName::OpenAi => &self.openai.model,
            EngineName::Lora => &self.lora.model,
            EngineName::Preview | EngineName::Noop if !model.is_empty() => {
                return Err(format!("{} has no models; write {:?} alone", engine.as_str(), engine.as_str()));
            }
            EngineName::Preview | EngineName::Noop => "",
        };
        Ok(Route { engine, model: if model.is_empty() { own } else { model }.to_owned() })
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
    /// Vertex AI.
    pub vertex: VertexTrainerConfig,
    /// A program on this machine.
    pub command: CommandTrainerConfig,
}

/// What trains brands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrainerBackend {
    /// Built-in, by the clock, without AI.
    Mock,
    /// Vertex AI custom jobs.
    Vertex,
    /// A program on this machine.
    Command,
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

/// `[trainer.vertex]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VertexTrainerConfig {
    /// The region.
    pub location: String,
    /// The trainer's container image.
    pub image: Option<String>,
    /// Arguments of the container, before those that say what to train.
    pub args: Vec<String>,
    /// The machine.
    pub machine_type: String,
    /// The accelerator.
    pub accelerator_type: String,
    /// How many of it.
    pub accelerator_count: u32,
    /// The disk it starts from, in gigabytes.
    pub boot_disk_gb: u32,
    /// The service account it runs as.
    pub service_account: Option<String>,
    /// Where models go, as `gs://bucket/prefix`.
    pub output: Option<String>,
    /// Steps of a training.
    pub steps: u32,
    /// What an hour of it costs, in millionths of a US dollar.
    pub micro_usd_per_hour: u64,
    /// How long a training may run.
    #[serde(with = "super::duration")]
    pub timeout: Duration,
    /// How long one may wait for a machine.
    #[serde(with = "super::duration")]
    pub pending_timeout: Duration,
    /// Where Vertex AI is, instead of Google's own address.
    pub endpoint: Option<Url>,
    /// Where Cloud Storage is, instead of Google's own address.
    pub storage_endpoint: Option<Url>,
}

/// `[trainer.command]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandTrainerConfig {
    /// The program and its arguments, with `{dataset}`, `{output}`, `{steps}` and the like.
    pub argv: Vec<String>,
    /// Where trainings keep their files; absent: `trainings` in `data_dir`.
    pub directory: Option<PathBuf>,
    /// Which file of the output is the model; absent: the newest `*.safetensors`.
    pub artifact: Option<String>,
    /// Steps of a training.
    pub steps: u32,
    /// How long a training may run.
    #[serde(with = "super::duration")]
    pub timeout: Duration,
    /// How long it has to end after it was asked to.
    #[serde(with = "super::duration")]
    pub grace: Duration,
}
