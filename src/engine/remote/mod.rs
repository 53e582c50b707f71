//! Engines behind an HTTP API: Gemini and Imagen on Vertex AI, and servers that implement `OpenAI`'s.
//!
//! The files that are not named after an engine hold what they share: what a refusal means (`failure`), what a picture
//! must be (`picture`), which size to request (`frame`), what it costs (`prices`), and how several calls draw the pictures
//! of one job (`drawing`).

mod drawing;
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
    http::Limits,
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

/// The limits of a call that draws: less time than an attempt has, and room for four pictures of 1024 x 1024 pixels, which
/// are some 10 MB.
pub const LIMITS: Limits = Limits { timeout: Duration::from_secs(110), max_bytes: 32 << 20 };

/// The limits of a call that a provider answers at once.
fn brief(limits: Limits) -> Limits {
    Limits { timeout: limits.timeout.min(Duration::from_secs(10)), ..limits }
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
