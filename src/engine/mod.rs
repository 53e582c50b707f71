//! Ports [`ImageEngine`], which turns a prompt into pictures, and [`BrandTrainer`], which learns a style.

mod artifact;
mod command_trainer;
mod failures;
mod mock_trainer;
mod noop;
mod preview;
pub mod remote;
mod router;
mod vertex_trainer;

use std::{borrow::Cow, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use self::{
    remote::Access,
    router::{Engine, Router},
};
use crate::{
    config::{Config, EngineName, TrainerBackend},
    domain::{
        Timestamp, brand::BrandSpec, clock::Random, failure::AttemptFailure, ids::JobId, job::Progress,
        request::IllustrationSpec,
    },
    error::{BackendError, ErrorKind},
    google::{
        self,
        token::{GoogleTokens, TokenSource},
    },
    http,
};

/// What an engine is asked to draw.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageSpec {
    /// What to draw, in which style and size.
    pub illustration: IllustrationSpec,
    /// The seed of the first picture: the request's, or one derived from the job.
    pub seed: u32,
    /// Which of [`ImageEngine::routes`] draws it.
    pub route: String,
    /// Encoded pictures that show the style, at most [`ImageEngine::references`] of them.
    pub references: Vec<Bytes>,
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

    /// What such a picture can be drawn by, each as `engine/model`: what is behind one name is full, down and well
    /// together. The first is meant; those behind it stand in while it may not be called. Never empty.
    fn routes(&self, _illustration: &IllustrationSpec) -> Vec<Cow<'_, str>> {
        vec!["engine".into()]
    }

    /// How many pictures that show the style a route has use for.
    fn references(&self, _route: &str) -> usize {
        0
    }

    /// Asks the providers, cheaply, whether each model that may be called is there, and for how long.
    async fn check(&self, _now: Timestamp) -> Vec<Checked> {
        Vec::new()
    }
}

/// What came of asking for a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// `engine/model`.
    pub route: String,
    /// Why it cannot be called; `Ok` with what an operator should know of it, if anything.
    pub outcome: Result<Option<String>, AttemptFailure>,
}

/// Opens what the configuration names. `random` decides the faults an engine is told to play. Nothing is connected
/// before it is first used.
pub fn open(config: &Config, random: &Arc<dyn Random>) -> Result<Arc<dyn ImageEngine>, BackendError> {
    open_with(config, random, || {
        let http = crate::http::client().map_err(|error| failed(error.to_string()))?;
        let tokens = Arc::new(GoogleTokens::application_default());
        Ok(Access { project: config.gcp.project.clone(), http, tokens, limits: remote::LIMITS })
    })
}

/// The same with what remote engines need from outside, which is made for one that is remote only.
pub fn open_with(
    config: &Config,
    random: &Arc<dyn Random>,
    access: impl Fn() -> Result<Access, BackendError>,
) -> Result<Arc<dyn ImageEngine>, BackendError> {
    let mut made: Option<Access> = None;
    let preview = || Arc::new(preview::Preview::new(config.engine.preview.clone(), Arc::clone(random)));
    let open = |name: EngineName| {
        if name == EngineName::Noop {
            return Ok(Engine::BuiltIn(Arc::new(noop::Noop)));
        }
        if name == EngineName::Preview {
            return Ok(Engine::BuiltIn(preview()));
        }
        let access = match made.take() {
            Some(access) => access,
            None => access()?,
        };
        let provider = remote::provider(name, &config.engine, made.insert(access));
        provider.map(Engine::Remote).ok_or_else(|| failed(format!("{} is not built in", name.as_str())))
    };
    Ok(Arc::new(Router::new(config, open)?))
}

fn failed(why: String) -> BackendError {
    BackendError::new(ErrorKind::Internal, "engine.open").because(why)
}

/// The pictures of a training.
#[async_trait]
pub trait Dataset: Send + Sync {
    /// The `n`-th picture of the brand as it is stored; `None` when it is gone.
    async fn picture(&self, n: usize) -> Result<Option<Bytes>, AttemptFailure>;
}

/// What a trainer is asked to learn.
#[derive(Clone)]
pub struct TrainingSpec {
    /// The job: names the provider's operation, so that asking twice starts it once.
    pub job_id: JobId,
    /// The brand, with the media keys of its pictures.
    pub brand: BrandSpec,
    /// The pictures themselves.
    pub dataset: Arc<dyn Dataset>,
    /// Now, by the caller's clock.
    pub now: Timestamp,
}

/// A provider's long-running operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationId(pub String);

/// Where a training stands.
#[derive(Debug, Clone, PartialEq)]
pub enum TrainingStatus {
    /// It goes on.
    Running(Progress),
    /// It is done.
    Succeeded {
        /// Where the model is, if there is one.
        model_path: Option<String>,
        /// What the provider charges, in millionths of a US dollar.
        cost_micro_usd: u64,
    },
    /// It came to nothing.
    Failed(AttemptFailure),
}

/// Trains brands as long-running operations: started once, then polled by whoever holds the job.
///
/// Contract, held by `tests/contract` for every backend: `start` for the same job twice is one operation while it goes
/// on; `poll` and `cancel` work from any process that knows the id; progress never falls; cancelling twice, or what has
/// ended, is `Ok`. An `Err` of `poll` is about the asking and says nothing of the operation; an operation that failed, or
/// that the provider does not know, is [`TrainingStatus::Failed`]. What has succeeded is so at every later `poll`, too.
#[async_trait]
pub trait BrandTrainer: Send + Sync {
    /// Begins, or finds what was begun for this job.
    async fn start(&self, spec: &TrainingSpec) -> Result<OperationId, AttemptFailure>;

    /// Where it stands at `now`.
    async fn poll(&self, operation: &OperationId, now: Timestamp) -> Result<TrainingStatus, AttemptFailure>;

    /// Stops it.
    async fn cancel(&self, operation: &OperationId) -> Result<(), AttemptFailure>;

    /// What trains, as `trainer/model`; as [`ImageEngine::routes`].
    fn breaker_name(&self) -> Cow<'_, str> {
        "trainer".into()
    }
}

/// What a trainer needs beside its configuration.
pub struct TrainerAccess {
    /// Decides the faults a trainer is told to play.
    pub random: Arc<dyn Random>,
    /// Who this process is to Google Cloud; `None`: the application's default credentials, and nobody to an endpoint
    /// that is `http://`.
    pub tokens: Option<Arc<dyn TokenSource>>,
}

/// Opens the configured trainer. Nothing is called or begun yet.
pub fn open_trainer(config: &Config, access: TrainerAccess) -> Result<Arc<dyn BrandTrainer>, BackendError> {
    let TrainerAccess { random, tokens } = access;
    Ok(match config.trainer.default {
        TrainerBackend::Mock => Arc::new(mock_trainer::MockTrainer::new(config.trainer.mock.clone(), random)),
        TrainerBackend::Command => {
            let directory = config.data_dir.join("trainings");
            Arc::new(command_trainer::CommandTrainer::new(config.trainer.command.clone(), directory))
        }
        TrainerBackend::Vertex => {
            let broken = |error: Box<dyn std::error::Error + Send + Sync>| {
                BackendError::new(ErrorKind::Broken, "trainer.open").because(error)
            };
            let emulated = google::is_emulator(config.trainer.vertex.endpoint.as_ref())
                || google::is_emulator(config.trainer.vertex.storage_endpoint.as_ref());
            let default = || (!emulated).then(|| Arc::new(GoogleTokens::application_default()) as Arc<dyn TokenSource>);
            let client = http::client().map_err(|error| broken(error.into()))?;
            let trainer = vertex_trainer::VertexTrainer::new(config, client, tokens.or_else(default));
            Arc::new(trainer.map_err(|error| broken(error.into()))?)
        }
    })
}
