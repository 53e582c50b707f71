//! Engines behind somebody else's HTTP API: Gemini and Imagen on Vertex AI, and whatever speaks as `OpenAI` does.
//!
//! What they have in common is here and in the files that are not named after one of them: a call with its limits
//! (`exchange`), what an error means (`failure`), what a picture must be (`picture`), which size to ask for (`frame`), what
//! it costs (`prices`), and how the pictures of a job are drawn by several calls (`drawing`).

mod drawing;
mod exchange;
mod failure;
mod frame;
mod gemini;
mod imagen;
mod openai;
mod paid;
mod picture;
mod prices;
mod safety;
mod vertex;

use std::{borrow::Cow, sync::Arc, time::Duration};

use async_trait::async_trait;
use reqwest::Client;

use self::{gemini::Gemini, imagen::Imagen, openai::OpenAi, paid::Paid, prices::Prices};
use super::{AttemptContext, Checked, Generation, ImageEngine, ImageSpec};
use crate::{
    config::{EngineConfig, EngineName, Route},
    domain::{Timestamp, failure::AttemptFailure, request::IllustrationSpec},
    google::token::TokenSource,
};

/// What remote engines need from outside.
#[derive(Clone)]
pub struct Access {
    /// The project on Google Cloud, where there is one.
    pub project: Option<String>,
    /// The one client.
    pub http: Client,
    /// Who asks, on Google Cloud.
    pub tokens: Arc<dyn TokenSource>,
    /// What a call may take.
    pub limits: Limits,
}

/// What one call may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From the first byte sent to the last one received.
    pub call: Duration,
    /// Bytes of an answer, at most. Four pictures of 1024 x 1024 pixels are some 10 MB.
    pub answer: usize,
}

impl Default for Limits {
    /// 110 s, which is less than an attempt has, and 32 MiB.
    fn default() -> Self {
        Self { call: Duration::from_secs(110), answer: 32 << 20 }
    }
}

impl Limits {
    /// The same for a question that takes a provider no time.
    fn brief(self) -> Self {
        Self { call: self.call.min(Duration::from_secs(10)), ..self }
    }
}

/// A remote engine with any of its models.
#[async_trait]
pub(crate) trait Provider: Send + Sync {
    /// As [`ImageEngine::generate`], by this model.
    async fn generate(&self, spec: &ImageSpec, model: &str, cx: &AttemptContext) -> Result<Generation, AttemptFailure>;

    /// Asks cheaply whether the model is there; `Ok` with what an operator should know of it, if anything.
    async fn check(&self, model: &str) -> Result<Option<String>, AttemptFailure>;

    /// As [`ImageEngine::references`].
    fn references(&self) -> usize {
        0
    }
}

/// The engine of that name, if it is a remote one. Connects to nothing.
pub(crate) fn provider(name: EngineName, config: &EngineConfig, access: &Access) -> Option<Arc<dyn Provider>> {
    let tools = || Tools { prices: Prices::new(&config.models), paid: Paid::default() };
    match name {
        EngineName::Noop | EngineName::Preview => None,
        EngineName::Gemini => Some(Arc::new(Gemini::new(&config.gemini, access, tools()))),
        EngineName::Imagen => Some(Arc::new(Imagen::new(&config.imagen, access, tools()))),
        EngineName::OpenAi => Some(Arc::new(OpenAi::new(&config.openai, access, tools()))),
        EngineName::Lora => Some(Arc::new(OpenAi::lora(&config.lora, access, tools()))),
    }
}

/// What every remote engine keeps.
struct Tools {
    prices: Prices,
    paid: Paid,
}

/// One remote engine with one model, and nothing to stand in for it; `None` when the route's engine is not remote.
pub fn alone(route: &Route, config: &EngineConfig, access: &Access) -> Option<Arc<dyn ImageEngine>> {
    let provider = provider(route.engine, config, access)?;
    Some(Arc::new(Alone { provider, model: route.model.clone(), name: route.to_string() }))
}

struct Alone {
    provider: Arc<dyn Provider>,
    model: String,
    name: String,
}

#[async_trait]
impl ImageEngine for Alone {
    async fn generate(&self, spec: &ImageSpec, cx: &AttemptContext) -> Result<Generation, AttemptFailure> {
        self.provider.generate(spec, &self.model, cx).await
    }

    fn routes(&self, _illustration: &IllustrationSpec) -> Vec<Cow<'_, str>> {
        vec![self.name.as_str().into()]
    }

    fn references(&self, _route: &str) -> usize {
        self.provider.references()
    }

    async fn check(&self, _now: Timestamp) -> Vec<Checked> {
        vec![Checked { route: self.name.clone(), outcome: self.provider.check(&self.model).await }]
    }
}
