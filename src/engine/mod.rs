//! The ports [`ImageEngine`], which draws pictures of a prompt, and [`BrandTrainer`], which trains a style, and their
//! backends.

mod artifact;
mod command_trainer;
mod descriptor;
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

pub use self::descriptor::EngineDescriptor;
use self::{
    descriptor::OpenEngine,
    remote::Access,
    router::{Engine, Router},
};
use crate::{
    config::{Config, TrainerBackend},
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

/// Every engine. The configuration knows each by its section (`src/config/engines`).
pub const ENGINES: [&EngineDescriptor; 6] = [
    &preview::ENGINE,
    &remote::gemini::ENGINE,
    &remote::imagen::ENGINE,
    &remote::openai::ENGINE,
    &remote::openai::LORA,
    &noop::ENGINE,
];

/// The engine of that name.
pub fn descriptor(name: &str) -> Option<&'static EngineDescriptor> {
    ENGINES.into_iter().find(|engine| engine.name == name)
}

/// The pictures that an engine draws.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageSpec {
    /// The prompt, the style and the size.
    pub illustration: IllustrationSpec,
    /// The seed of the first picture: the request's own, or one derived from the job.
    pub seed: u32,
    /// One of [`ImageEngine::routes`].
    pub route: String,
    /// Encoded pictures in the style, at most [`ImageEngine::references`] of them.
    pub references: Vec<Bytes>,
}

/// The attempt that an engine works for. Dropping the future of `generate` stops the work.
#[derive(Debug, Clone)]
pub struct AttemptContext {
    /// The job.
    pub job_id: JobId,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// Receives progress; only the latest value counts.
    pub progress: watch::Sender<Option<Progress>>,
}

/// A picture as an engine delivered it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedImage {
    /// An encoded picture (PNG, JPEG or WebP), of any size.
    pub bytes: Bytes,
}

/// The result of [`ImageEngine::generate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// The pictures, fewer than requested when some were withheld.
    pub images: Vec<GeneratedImage>,
    /// The number of pictures that the content filter withheld.
    pub filtered: u32,
    /// The model.
    pub model: String,
    /// The prompt as the model received it.
    pub final_prompt: String,
    /// The seed that reproduces the result, if the engine has seeds.
    pub seed: Option<u32>,
    /// What the provider charges, in millionths of a US dollar.
    pub cost_micro_usd: u64,
}

/// Draws pictures.
#[async_trait]
pub trait ImageEngine: Send + Sync {
    /// Draws `spec.illustration.count` pictures. The failure tells whether a retry can help.
    async fn generate(&self, spec: &ImageSpec, cx: &AttemptContext) -> Result<Generation, AttemptFailure>;

    /// The routes that can draw such a picture, each as `engine/model`: everything behind one route is overloaded, down
    /// or available together, so each has a circuit breaker. The first is preferred, the others are its fallbacks. Never
    /// empty.
    fn routes(&self, _illustration: &IllustrationSpec) -> Vec<Cow<'_, str>> {
        vec!["engine".into()]
    }

    /// The number of reference pictures that a route can use.
    fn references(&self, _route: &str) -> usize {
        0
    }

    /// Checks with the providers that each configured model exists. Costs nothing; draws nothing.
    async fn check(&self, _now: Timestamp) -> Vec<ModelCheck> {
        Vec::new()
    }
}

/// The result of checking one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelCheck {
    /// `engine/model`.
    pub route: String,
    /// Why it cannot be called; or `Ok`, with a note for the operator if there is one.
    pub outcome: Result<Option<String>, AttemptFailure>,
}

/// Opens the configured engines. `random` decides which calls fail where faults are simulated. Nothing is connected
/// before its first use.
pub fn open(config: &Config, random: &Arc<dyn Random>) -> Result<Arc<dyn ImageEngine>, BackendError> {
    open_with(config, random, || {
        let http = crate::http::client().map_err(|error| failed(error.to_string()))?;
        let tokens = Arc::new(GoogleTokens::application_default());
        Ok(Access { project: config.gcp.project.clone(), http, tokens, limits: remote::LIMITS })
    })
}

/// The same with the given access for remote engines; `access` is called only if there is one.
pub fn open_with(
    config: &Config,
    random: &Arc<dyn Random>,
    access: impl Fn() -> Result<Access, BackendError>,
) -> Result<Arc<dyn ImageEngine>, BackendError> {
    let mut shared: Option<Access> = None;
    let open = |name: &str| {
        let descriptor = descriptor(name).ok_or_else(|| failed(format!("the engine {name} is not built in")))?;
        Ok(match descriptor.open {
            OpenEngine::BuiltIn(open) => Engine::BuiltIn(open(&config.engine, random)),
            OpenEngine::Remote(open) => {
                let access = match shared.take() {
                    Some(access) => access,
                    None => access()?,
                };
                Engine::Remote(open(&config.engine, shared.insert(access)))
            }
        })
    };
    Ok(Arc::new(Router::new(config, open)?))
}

fn failed(why: String) -> BackendError {
    BackendError::new(ErrorKind::Internal, "engine.open").because(why)
}

/// The pictures of a training.
#[async_trait]
pub trait Dataset: Send + Sync {
    /// The `n`-th picture of the brand as it is stored; `None` if it was deleted.
    async fn picture(&self, n: usize) -> Result<Option<Bytes>, AttemptFailure>;
}

/// A training to start.
#[derive(Clone)]
pub struct TrainingSpec {
    /// The job. It names the provider's operation, so that starting twice is one operation.
    pub job_id: JobId,
    /// The brand, with the media keys of its pictures.
    pub brand: BrandSpec,
    /// The pictures themselves.
    pub dataset: Arc<dyn Dataset>,
    /// Now, by the caller's clock.
    pub now: Timestamp,
}

/// The id of a provider's long-running operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationId(pub String);

/// The state of a training.
#[derive(Debug, Clone, PartialEq)]
pub enum TrainingStatus {
    /// It has not ended.
    Running(Progress),
    /// It ended with a result.
    Succeeded {
        /// The address of the model, if there is one.
        model_path: Option<String>,
        /// What the provider charges, in millionths of a US dollar.
        cost_micro_usd: u64,
    },
    /// It ended without a result.
    Failed(AttemptFailure),
}

/// Trains brands as long-running operations: started once, then polled by the worker that holds the job.
///
/// Contract, tested by `tests/contract` for every backend: starting a job's training again, while it runs, returns the
/// same operation; `poll` and `cancel` work from any process that has the id; progress never decreases; cancelling again,
/// or after the end, is `Ok`. An `Err` of `poll` means that the call failed and says nothing about the operation; an
/// operation that failed, or that the provider does not know, is [`TrainingStatus::Failed`]. A success stays a success at
/// every later `poll`.
#[async_trait]
pub trait BrandTrainer: Send + Sync {
    /// Starts a training, or finds the one that was started for this job.
    async fn start(&self, spec: &TrainingSpec) -> Result<OperationId, AttemptFailure>;

    /// The state at `now`.
    async fn poll(&self, operation: &OperationId, now: Timestamp) -> Result<TrainingStatus, AttemptFailure>;

    /// Stops the training.
    async fn cancel(&self, operation: &OperationId) -> Result<(), AttemptFailure>;

    /// The trainer's route; as [`ImageEngine::routes`], but there is only one.
    fn route(&self) -> Cow<'_, str> {
        "trainer".into()
    }
}

/// What a trainer needs besides its configuration.
pub struct TrainerAccess {
    /// Decides which calls fail where faults are simulated.
    pub random: Arc<dyn Random>,
    /// Access tokens for Google Cloud. `None` means the application's default credentials, and no token for an endpoint
    /// that is `http://`.
    pub tokens: Option<Arc<dyn TokenSource>>,
}

/// Opens the configured trainer. Connects to nothing and starts nothing.
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
            let is_emulated = google::is_emulator(config.trainer.vertex.endpoint.as_ref())
                || google::is_emulator(config.trainer.vertex.storage_endpoint.as_ref());
            let default =
                || (!is_emulated).then(|| Arc::new(GoogleTokens::application_default()) as Arc<dyn TokenSource>);
            let client = http::client().map_err(|error| broken(error.into()))?;
            let trainer = vertex_trainer::VertexTrainer::new(config, client, tokens.or_else(default));
            Arc::new(trainer.map_err(|error| broken(error.into()))?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Sources, load};

    #[test]
    fn every_section_has_an_engine_and_every_engine_a_section() {
        let environment = Environment::of([]).with_user_data_dir("/nowhere");
        let config = load(&Sources { environment, ..Sources::default() }).unwrap().config;
        assert_eq!(config.engine.names(), ENGINES.map(|engine| engine.name));
    }
}
