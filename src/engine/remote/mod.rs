//! Engines behind an HTTP API: Gemini and Imagen on Vertex AI, and servers that implement `OpenAI`'s.
//!
//! The files that are not named after an engine hold what they plan: what a refusal means (`failure`), what a picture
//! must be (`picture`), which size to request (`frame`), what it costs (`prices`), and how several calls draw the pictures
//! of one job (`drawing`).

mod call;
mod drawing;
mod failure;
mod frame;
pub(super) mod gemini;
pub(super) mod imagen;
pub(super) mod openai;
mod paid_cache;
mod picture;
mod prices;
mod safety;
mod vertex;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use reqwest::Client;

use self::{paid_cache::PaidCache, prices::Prices};
use super::{AttemptContext, Generation, ImageSpec};
use crate::{config::EngineConfig, domain::failure::AttemptFailure, google::token::TokenSource, http::Limits};

/// What remote engines need besides their section.
#[derive(Clone)]
pub struct Access {
    /// The project on Google Cloud, if there is one.
    pub project: Option<String>,
    /// The HTTP client.
    pub http: Client,
    /// Access tokens for Google Cloud.
    pub tokens: Arc<dyn TokenSource>,
    /// The limits of a call.
    pub limits: Limits,
}

/// The limits of a call that draws: less time than an attempt has, and room for four pictures of 1024 x 1024 pixels, which
/// are some 10 MB.
pub const LIMITS: Limits = Limits { timeout: Duration::from_secs(110), max_bytes: 32 << 20 };

/// The limits of a call that a provider answers at once.
fn brief(limits: Limits) -> Limits {
    Limits { timeout: limits.timeout.min(Duration::from_secs(10)), ..limits }
}

/// A remote engine, which draws with any of its models.
#[async_trait]
pub(crate) trait Provider: Send + Sync {
    /// As [`super::ImageEngine::generate`], by this model.
    async fn generate(&self, spec: &ImageSpec, model: &str, cx: &AttemptContext) -> Result<Generation, AttemptFailure>;

    /// Checks, without drawing, that the model exists; `Ok` with a note for the operator, if there is one.
    async fn check(&self, model: &str) -> Result<Option<String>, AttemptFailure>;

    /// As [`super::ImageEngine::references`].
    fn references(&self) -> usize {
        0
    }
}

/// State that every remote engine has.
struct SharedState {
    prices: Prices,
    paid: PaidCache,
}

impl SharedState {
    fn new(config: &EngineConfig) -> Self {
        Self { prices: Prices::new(&config.models), paid: PaidCache::default() }
    }
}
