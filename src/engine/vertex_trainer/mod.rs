//! Trains in a container on Vertex AI: a custom job for each training.
//!
//! The API has no idempotency key for creating a job. So each job carries a label of its training, and `start` looks for
//! the label before it creates a job: a lost response does not cost a second machine.
//! docs/trainers.md says what the container must do.

mod api;
mod custom_jobs;
mod failure;
mod job;
mod progress;
mod storage;

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use reqwest::Client;
use url::Url;

use self::{
    api::Api,
    custom_jobs::CustomJobs,
    job::{CustomJob, State},
    storage::{Bucket, NoModel},
};
use super::{BrandTrainer, OperationId, TrainingSpec, TrainingStatus};
use crate::{
    config::{Config, VertexTrainerConfig},
    domain::{
        Timestamp,
        clock::until,
        failure::{AttemptFailure, ErrorCode},
        job::Progress,
    },
    google::{rest::RestClient, token::TokenSource},
};

/// How long a job may be in the state of being cancelled.
const CANCEL_TIMEOUT: Duration = Duration::from_mins(15);

/// The progress of a job that still runs, at most, whatever it reports.
const MAX_RUNNING_FRACTION: f64 = 0.99;

/// Trainings whose progress is remembered, at most.
const MAX_REMEMBERED: usize = 1024;

/// Creates custom jobs and polls them.
pub(super) struct VertexTrainer {
    config: VertexTrainerConfig,
    jobs: CustomJobs,
    /// The bucket of the pictures.
    bucket: String,
    rest: RestClient,
    storage: Url,
    remembered: Mutex<HashMap<String, RememberedProgress>>,
}

/// The furthest progress that this process has read of a training, so that progress never falls.
#[derive(Clone, Copy, Default)]
struct RememberedProgress {
    step: u32,
    total: u32,
    /// A warning was logged: its state is unknown to this program.
    is_reported_unknown: bool,
}

/// The location makes no valid address. Every other setting was validated before.
#[derive(Debug, thiserror::Error)]
#[error("trainer.vertex.location {location:?} does not make an address: {source}")]
pub(super) struct InvalidLocation {
    location: String,
    source: url::ParseError,
}

impl VertexTrainer {
    pub(super) fn new(
        config: &Config,
        client: Client,
        tokens: Option<Arc<dyn TokenSource>>,
    ) -> Result<Self, InvalidLocation> {
        let vertex = config.trainer.vertex.clone();
        let address = |own: &Option<Url>, google: String| match own {
            Some(own) => Ok(own.clone()),
            None => google
                .parse()
                .map_err(|source| InvalidLocation { location: config.trainer.vertex.location.clone(), source }),
        };
        let endpoint = address(&vertex.endpoint, format!("https://{}-aiplatform.googleapis.com", vertex.location))?;
        let project = config.gcp.project.clone().unwrap_or_default();
        let rest = RestClient::new(client, tokens);
        Ok(Self {
            jobs: CustomJobs::new(&vertex, project, &endpoint, rest.clone()),
            storage: address(&vertex.storage_endpoint, "https://storage.googleapis.com".to_owned())?,
            bucket: config.media.gcs.bucket.clone().unwrap_or_default(),
            config: vertex,
            rest,
            remembered: Mutex::default(),
        })
    }

    fn bucket<'a>(&'a self, job: &'a CustomJob) -> Result<Bucket<'a>, AttemptFailure> {
        let (name, prefix) = job
            .output()
            .ok_or_else(|| AttemptFailure::fail(ErrorCode::EngineError, "the training has no readable output"))?;
        let api = Api { rest: &self.rest, service: "Cloud Storage" };
        Ok(Bucket { api, endpoint: &self.storage, name, prefix })
    }

    /// The status of a training that has its machine. It continues even if its progress cannot be read.
    async fn running(&self, job: &CustomJob, now: Timestamp) -> Result<TrainingStatus, AttemptFailure> {
        let report = match self.bucket(job)?.progress().await {
            Ok(report) => report.and_then(|text| progress::read(&text, job.attempt().unwrap_or(1))),
            Err(failure) => {
                tracing::debug!(%failure, operation = job.name, "cannot read the progress of a training");
                None
            }
        };
        if report.is_some_and(|report| report.diverged) {
            self.jobs.cancel(&job.name).await?;
            let message = "the training diverged: its loss is no longer a number";
            return Ok(TrainingStatus::Failed(AttemptFailure::fail(ErrorCode::EngineError, message)));
        }
        let (step, total) = report.map_or((0, 0), |report| (report.step, report.total));
        let furthest = self.remember(&job.name, |remembered| {
            if u64::from(step) * u64::from(remembered.total.max(1))
                >= u64::from(remembered.step) * u64::from(total.max(1))
                && total > 0
            {
                (remembered.step, remembered.total) = (step, total);
            }
        });
        Ok(TrainingStatus::Running(self.progress(furthest, job.runtime(now))))
    }

    fn progress(&self, remembered: RememberedProgress, elapsed: Duration) -> Progress {
        if remembered.total == 0 {
            return Progress { fraction: 0.0, step: Some(0), total_steps: Some(self.config.steps), eta_seconds: None };
        }
        let fraction = f64::from(remembered.step) / f64::from(remembered.total);
        let left = elapsed
            .as_secs()
            .checked_mul(u64::from(remembered.total - remembered.step))
            .filter(|_| remembered.step > 0);
        let eta = left.map(|left| u32::try_from(left / u64::from(remembered.step)).unwrap_or(u32::MAX));
        Progress {
            fraction: fraction.min(MAX_RUNNING_FRACTION),
            step: Some(remembered.step),
            total_steps: Some(remembered.total),
            eta_seconds: eta,
        }
    }

    fn remember(&self, name: &str, update: impl FnOnce(&mut RememberedProgress)) -> RememberedProgress {
        let mut all = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_REMEMBERED && !all.contains_key(name) {
            all.clear();
        }
        let remembered = all.entry(name.to_owned()).or_default();
        update(remembered);
        *remembered
    }

    fn forget(&self, name: &str) {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    async fn finished(&self, job: &CustomJob, now: Timestamp) -> Result<TrainingStatus, AttemptFailure> {
        match self.bucket(job)?.model().await {
            Ok(uri) => {
                let (runtime, hour) = (job.runtime(now).as_millis(), u128::from(self.config.micro_usd_per_hour));
                let cost = (runtime * hour).div_ceil(3_600_000);
                let cost_micro_usd = u64::try_from(cost).unwrap_or(u64::MAX);
                Ok(TrainingStatus::Succeeded { model_path: Some(uri), cost_micro_usd })
            }
            Err(NoModel::Invalid(detail)) => Ok(TrainingStatus::Failed(storage::without_model(&detail))),
            Err(NoModel::CheckFailed(failure)) => Err(failure),
        }
    }

    async fn waiting(&self, job: &CustomJob, now: Timestamp) -> Result<TrainingStatus, AttemptFailure> {
        if job.is_pending_too_long(now, &self.config) {
            self.jobs.cancel(&job.name).await?;
            let message = "no machine for the training became free in time";
            return Ok(TrainingStatus::Failed(AttemptFailure::retry(ErrorCode::EngineUnavailable, message)));
        }
        Ok(TrainingStatus::Running(self.progress(RememberedProgress::default(), Duration::ZERO)))
    }

    async fn status(&self, job: &CustomJob, now: Timestamp) -> Result<TrainingStatus, AttemptFailure> {
        let fail = |code, message: &str| Ok(TrainingStatus::Failed(AttemptFailure::fail(code, message)));
        match job.state {
            State::Queued | State::Pending => self.waiting(job, now).await,
            State::Running | State::Updating | State::Paused => self.running(job, now).await,
            State::Succeeded => self.finished(job, now).await,
            State::PartiallySucceeded => {
                tracing::warn!(operation = job.name, "the training succeeded partially; its model decides");
                self.finished(job, now).await
            }
            State::Cancelling => {
                let since = job.update_time.or(job.create_time);
                if since.is_some_and(|since| until(since, now) > CANCEL_TIMEOUT) {
                    return fail(ErrorCode::EngineError, "the training was cancelled at Vertex AI");
                }
                self.running(job, now).await
            }
            State::Failed | State::Cancelled if job.runtime(now) >= self.config.timeout => {
                fail(ErrorCode::EngineTimeout, "the training exceeded its time limit")
            }
            State::Cancelled => fail(ErrorCode::EngineError, "the training was cancelled at Vertex AI"),
            State::Expired => {
                let message = "no machine for the training became free in time";
                Ok(TrainingStatus::Failed(AttemptFailure::retry(ErrorCode::EngineUnavailable, message)))
            }
            State::Failed => Ok(TrainingStatus::Failed(failure::failed(job))),
            State::Unknown => {
                let mut is_first = false;
                self.remember(&job.name, |remembered| {
                    is_first = !std::mem::replace(&mut remembered.is_reported_unknown, true);
                });
                if is_first {
                    tracing::warn!(operation = job.name, "the training is in an unknown state");
                }
                self.running(job, now).await
            }
        }
    }
}

#[async_trait]
impl BrandTrainer for VertexTrainer {
    async fn start(&self, spec: &TrainingSpec) -> Result<OperationId, AttemptFailure> {
        let mut found = self.jobs.find(&job::label(&spec.job_id)).await?;
        found.sort_by_key(|job| job.create_time);
        let tries = u32::try_from(found.len()).unwrap_or(u32::MAX);
        let mut active =
            found.into_iter().filter(|job| !job.is_without_result(spec.now, &self.config) && is_name(&job.name));
        if let Some(first) = active.next() {
            for duplicate in active.filter(|job| !job.state.is_final()) {
                tracing::warn!(operation = duplicate.name, "cancelling a training that was started twice");
                self.jobs.cancel(&duplicate.name).await?;
            }
            return Ok(OperationId(first.name));
        }
        let body = job::body(&self.config, &self.bucket, spec, tries.saturating_add(1));
        let job = self.jobs.create(&body).await?;
        if !is_name(&job.name) {
            return Err(AttemptFailure::retry(ErrorCode::EngineError, "an response of Vertex AI was not understood"));
        }
        Ok(OperationId(job.name))
    }

    async fn poll(&self, operation: &OperationId, now: Timestamp) -> Result<TrainingStatus, AttemptFailure> {
        let job = if is_name(&operation.0) { self.jobs.get(&operation.0).await? } else { None };
        let Some(mut job) = job else {
            let message = "the trainer does not know this operation";
            return Ok(TrainingStatus::Failed(AttemptFailure::retry(ErrorCode::EngineError, message)));
        };
        job.name.clone_from(&operation.0);
        let status = self.status(&job, now).await?;
        if !matches!(status, TrainingStatus::Running(_)) {
            self.forget(&job.name);
        }
        Ok(status)
    }

    async fn cancel(&self, operation: &OperationId) -> Result<(), AttemptFailure> {
        if is_name(&operation.0) { self.jobs.cancel(&operation.0).await } else { Ok(()) }
    }

    fn route(&self) -> Cow<'_, str> {
        format!("vertex/{}", self.config.machine_type).into()
    }
}

/// Whether this is `projects/{project}/locations/{location}/customJobs/{number}`: no other path may enter a URL.
fn is_name(name: &str) -> bool {
    let parts: Vec<&str> = name.split('/').collect();
    let is_plain = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
            && !part.contains("..")
    };
    matches!(parts[..], ["projects", project, "locations", location, "customJobs", id]
        if is_plain(project) && is_plain(location) && !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric()))
}
