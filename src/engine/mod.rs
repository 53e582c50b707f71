//! Port [`ImageEngine`]: turns a prompt into pictures.

mod preview;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use crate::{
    config::{EngineBackend, EngineConfig},
    domain::{
        clock::Random,
        ids::JobId,
        job::{AttemptFailure, Progress},
        request::IllustrationSpec,
    },
};

/// What an engine is asked to draw.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageSpec {
    /// What to draw, in which style and size.
    pub illustration: IllustrationSpec,
    /// The seed of the first picture: the request's, or one derived from the job.
    pub seed: u32,
}

/// What an engine knows of the attempt it works for. Dropping the future that `generate` returned stops the work.
#[derive(Debug, Clone)]
pub struct AttemptContext {
    /// The job.
    pub job_id: JobId,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// Where to report progress; only the latest value counts.
    pub progress: watch::Sender<Option<Progress>>,
}

/// A picture as an engine made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// An encoded picture (PNG, JPEG or WebP), of any size.
    pub bytes: Bytes,
}

/// What an engine delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// The pictures, fewer than asked when some were withheld.
    pub images: Vec<Generated>,
    /// Pictures withheld by the content filter.
    pub filtered: u32,
    /// The model that drew them.
    pub model: String,
    /// What the model was told.
    pub final_prompt: String,
    /// The seed that repeats the result, where the engine has one.
    pub seed: Option<u32>,
    /// What the provider charges, in millionths of a US dollar.
    pub cost_micro_usd: u64,
}

/// Draws pictures.
#[async_trait]
pub trait ImageEngine: Send + Sync {
    /// Draws `spec.illustration.count` pictures. Whether trying again can help is said by the failure.
    async fn generate(&self, spec: &ImageSpec, cx: &AttemptContext) -> Result<Generation, AttemptFailure>;
}

/// Opens the configured engine. `random` decides the faults an engine is told to play.
pub fn open(config: &EngineConfig, random: Arc<dyn Random>) -> Arc<dyn ImageEngine> {
    match config.default {
        EngineBackend::Preview => Arc::new(preview::Preview::new(config.preview.clone(), random)),
    }
}
