//! Trains by a container on Vertex AI: a custom job for each training.
//!
//! Creating a job knows no idempotency key, so each carries a label of its training, and before one is created the label is
//! looked for: an answer that was lost costs no second machine. docs/trainers.md says what the
//! container must do.

mod api;
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
use serde_json::json;
use url::Url;

use self::{
    api::Api,
    job::{CustomJob, Page, State},
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
    http::HttpResponse,
};

/// Bytes of an answer, at most.
const ANSWER: usize = 4 << 20;

/// Pages of jobs that are read when one is looked for by its label.
const PAGES: usize = 5;

/// How long a job may say that it is being cancelled.
const CANCELLING: Duration = Duration::from_mins(15);

/// While a job still runs it is not done, whatever it reports.
const NEARLY: f64 = 0.99;

/// Trainings that this process remembers something of, at most.
const REMEMBERED: usize = 1024;

/// Creates custom jobs, and asks for them.
pub(super) struct VertexTrainer {
    config: VertexTrainerConfig,
    project: String,
    /// Where the pictures are.
    bucket: String,
    rest: RestClient,
    vertex: Url,
    storage: Url,
    seen: Mutex<HashMap<String, Seen>>,
}

/// What this process has seen of a training.
#[derive(Clone, Copy, Default)]
struct Seen {
    step: u32,
    total: u32,
    /// Its state is one that this program does not know, and that was said.
    is_strange: bool,
}

/// An endpoint that cannot be one; the configuration was checked, except for the location.
#[derive(Debug, thiserror::Error)]
#[error("trainer.vertex.location {location:?} makes no address: {source}")]
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
        Ok(Self {
            vertex: address(&vertex.endpoint, format!("https://{}-aiplatform.googleapis.com", vertex.location))?,
            storage: address(&vertex.storage_endpoint, "https://storage.googleapis.com".to_owned())?,
            project: config.gcp.project.clone().unwrap_or_default(),
            bucket: config.media.gcs.bucket.clone().unwrap_or_default(),
            config: vertex,
            rest: RestClient::new(client, tokens),
            seen: Mutex::default(),
        })
    }

    fn api(&self) -> Api<'_> {
        Api { rest: &self.rest, service: "Vertex AI" }
    }

    /// `{endpoint}/v1/{path}`.
    fn url(&self, path: &str) -> String {
        format!("{}/v1/{path}", self.vertex.as_str().trim_end_matches('/'))
    }

    fn jobs(&self) -> String {
        self.url(&format!("projects/{}/locations/{}/customJobs", self.project, self.config.location))
    }

    fn refusal(&self, answer: &HttpResponse) -> AttemptFailure {
        let project = &self.project;
        let account = self.config.service_account.as_ref().map_or(String::new(), |account| {
            format!(" and roles/iam.serviceAccountUser on {account} (trainer.vertex.service_account)")
        });
        let help = match answer.status {
            403 => {
                format!("this process needs roles/aiplatform.user in the project {project}{account}")
            }
            _ => "check trainer.vertex (location, image, machine, accelerator, output) and gcp.project".to_owned(),
        };
        self.api().refusal(answer, &help)
    }

    async fn find(&self, label: &str) -> Result<Vec<CustomJob>, AttemptFailure> {
        let url = self.jobs();
        let filter = format!("labels.mf_job=\"{label}\"");
        let (mut jobs, mut token) = (Vec::new(), String::new());
        for _ in 0..PAGES {
            let query = [("filter", filter.as_str()), ("pageSize", "100"), ("pageToken", token.as_str())];
            let query = if token.is_empty() { &query[..2] } else { &query[..] };
            let answer = self.api().send(ANSWER, |client| client.get(&url).query(query)).await?;
            if answer.status != 200 {
                return Err(self.refusal(&answer));
            }
            let page: Page = self.api().parse(&answer)?;
            // A stand-in that does not filter must not make one training another's.
            jobs.extend(
                page.custom_jobs.into_iter().filter(|job| job.labels.get("mf_job").is_some_and(|l| l == label)),
            );
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        Ok(jobs)
    }

    async fn get(&self, name: &str) -> Result<Option<CustomJob>, AttemptFailure> {
        let url = self.url(name);
        let answer = self.api().send(ANSWER, |client| client.get(&url)).await?;
        match answer.status {
            200 => self.api().parse(&answer).map(Some),
            404 => Ok(None),
            _ => Err(self.refusal(&answer)),
        }
    }

    async fn stop(&self, name: &str) -> Result<(), AttemptFailure> {
        let url = self.url(&format!("{name}:cancel"));
        let answer = self.api().send(ANSWER, |client| client.post(&url).json(&json!({}))).await?;
        match answer.status {
            200 | 404 => Ok(()),
            // What has ended cannot be cancelled; Vertex AI calls that a failed precondition.
            400 | 409 => match self.get(name).await? {
                Some(job) if !job.state.is_final() && job.state != State::Cancelling => Err(self.refusal(&answer)),
                _ => Ok(()),
            },
            _ => Err(self.refusal(&answer)),
        }
    }

    fn bucket<'a>(&'a self, job: &'a CustomJob) -> Result<Bucket<'a>, AttemptFailure> {
        let (name, prefix) = job.output().ok_or_else(|| {
            AttemptFailure::fail(ErrorCode::EngineError, "the training has no output that could be read")
        })?;
        let api = Api { rest: &self.rest, service: "Cloud Storage" };
        Ok(Bucket { api, endpoint: &self.storage, name, prefix })
    }

    /// A training that has its machine, as far as it says itself. That it cannot be asked for its progress does not stop
    /// it.
    async fn running(&self, job: &CustomJob, now: Timestamp) -> Result<TrainingStatus, AttemptFailure> {
        let said = match self.bucket(job)?.progress().await {
            Ok(said) => said.and_then(|text| progress::read(&text, job.attempt().unwrap_or(1))),
            Err(failure) => {
                tracing::debug!(%failure, operation = job.name, "the progress of a training could not be read");
                None
            }
        };
        if said.is_some_and(|said| said.diverged) {
            self.stop(&job.name).await?;
            let message = "the training came to nothing: its loss is no number any more";
            return Ok(TrainingStatus::Failed(AttemptFailure::fail(ErrorCode::EngineError, message)));
        }
        let (step, total) = said.map_or((0, 0), |said| (said.step, said.total));
        let furthest = self.remember(&job.name, |seen| {
            if u64::from(step) * u64::from(seen.total.max(1)) >= u64::from(seen.step) * u64::from(total.max(1))
                && total > 0
            {
                (seen.step, seen.total) = (step, total);
            }
        });
        Ok(TrainingStatus::Running(self.progress(furthest, job.runtime(now))))
    }

    fn progress(&self, seen: Seen, elapsed: Duration) -> Progress {
        if seen.total == 0 {
            return Progress { fraction: 0.0, step: Some(0), total_steps: Some(self.config.steps), eta_seconds: None };
        }
        let fraction = f64::from(seen.step) / f64::from(seen.total);
        let left = elapsed.as_secs().checked_mul(u64::from(seen.total - seen.step)).filter(|_| seen.step > 0);
        let eta = left.map(|left| u32::try_from(left / u64::from(seen.step)).unwrap_or(u32::MAX));
        Progress {
            fraction: fraction.min(NEARLY),
            step: Some(seen.step),
            total_steps: Some(seen.total),
            eta_seconds: eta,
        }
    }

    fn remember(&self, name: &str, learn: impl FnOnce(&mut Seen)) -> Seen {
        let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= REMEMBERED && !all.contains_key(name) {
            all.clear();
        }
        let seen = all.entry(name.to_owned()).or_default();
        learn(seen);
        *seen
    }

    fn forget(&self, name: &str) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    async fn delivered(&self, job: &CustomJob, now: Timestamp) -> Result<TrainingStatus, AttemptFailure> {
        match self.bucket(job)?.model().await {
            Ok(uri) => {
                let (runtime, hour) = (job.runtime(now).as_millis(), u128::from(self.config.micro_usd_per_hour));
                let cost = (runtime * hour).div_ceil(3_600_000);
                let cost_micro_usd = u64::try_from(cost).unwrap_or(u64::MAX);
                Ok(TrainingStatus::Succeeded { model_path: Some(uri), cost_micro_usd })
            }
            Err(NoModel::Unfit(detail)) => Ok(TrainingStatus::Failed(storage::without_model(&detail))),
            Err(NoModel::CheckFailed(failure)) => Err(failure),
        }
    }

    async fn waiting(&self, job: &CustomJob, now: Timestamp) -> Result<TrainingStatus, AttemptFailure> {
        if job.waits_too_long(now, &self.config) {
            self.stop(&job.name).await?;
            let message = "no machine for the training became free in time";
            return Ok(TrainingStatus::Failed(AttemptFailure::retry(ErrorCode::EngineUnavailable, message)));
        }
        Ok(TrainingStatus::Running(self.progress(Seen::default(), Duration::ZERO)))
    }

    async fn status(&self, job: &CustomJob, now: Timestamp) -> Result<TrainingStatus, AttemptFailure> {
        let fail = |code, message: &str| Ok(TrainingStatus::Failed(AttemptFailure::fail(code, message)));
        match job.state {
            State::Queued | State::Pending => self.waiting(job, now).await,
            State::Running | State::Updating | State::Paused => self.running(job, now).await,
            State::Succeeded => self.delivered(job, now).await,
            State::PartiallySucceeded => {
                tracing::warn!(operation = job.name, "the training succeeded in part; its model decides");
                self.delivered(job, now).await
            }
            State::Cancelling => {
                let since = job.update_time.or(job.create_time);
                if since.is_some_and(|since| until(since, now) > CANCELLING) {
                    return fail(ErrorCode::EngineError, "the training was cancelled at Vertex AI");
                }
                self.running(job, now).await
            }
            State::Failed | State::Cancelled if job.runtime(now) >= self.config.timeout => {
                fail(ErrorCode::EngineTimeout, "the training took longer than it may")
            }
            State::Cancelled => fail(ErrorCode::EngineError, "the training was cancelled at Vertex AI"),
            State::Expired => {
                let message = "no machine for the training became free in time";
                Ok(TrainingStatus::Failed(AttemptFailure::retry(ErrorCode::EngineUnavailable, message)))
            }
            State::Failed => Ok(TrainingStatus::Failed(failure::failed(job))),
            State::Unknown => {
                let mut is_news = false;
                self.remember(&job.name, |seen| is_news = !std::mem::replace(&mut seen.is_strange, true));
                if is_news {
                    tracing::warn!(operation = job.name, "the training is in a state that this program does not know");
                }
                self.running(job, now).await
            }
        }
    }
}

#[async_trait]
impl BrandTrainer for VertexTrainer {
    async fn start(&self, spec: &TrainingSpec) -> Result<OperationId, AttemptFailure> {
        let mut found = self.find(&job::label(&spec.job_id)).await?;
        found.sort_by_key(|job| job.create_time);
        let tries = u32::try_from(found.len()).unwrap_or(u32::MAX);
        let mut alive =
            found.into_iter().filter(|job| !job.came_to_nothing(spec.now, &self.config) && is_name(&job.name));
        if let Some(first) = alive.next() {
            for double in alive.filter(|job| !job.state.is_final()) {
                tracing::warn!(operation = double.name, "cancelling a training that was begun twice");
                self.stop(&double.name).await?;
            }
            return Ok(OperationId(first.name));
        }
        let (url, body) = (self.jobs(), job::body(&self.config, &self.bucket, spec, tries.saturating_add(1)));
        let answer = self.api().send(ANSWER, |client| client.post(&url).json(&body)).await?;
        if answer.status != 200 {
            return Err(self.refusal(&answer));
        }
        let job: CustomJob = self.api().parse(&answer)?;
        if !is_name(&job.name) {
            return Err(AttemptFailure::retry(ErrorCode::EngineError, "an answer of Vertex AI was not understood"));
        }
        Ok(OperationId(job.name))
    }

    async fn poll(&self, operation: &OperationId, now: Timestamp) -> Result<TrainingStatus, AttemptFailure> {
        let job = if is_name(&operation.0) { self.get(&operation.0).await? } else { None };
        let Some(job) = job else {
            let message = "the trainer knows no such operation";
            return Ok(TrainingStatus::Failed(AttemptFailure::retry(ErrorCode::EngineError, message)));
        };
        let mut job = job;
        job.name.clone_from(&operation.0);
        let status = self.status(&job, now).await?;
        if !matches!(status, TrainingStatus::Running(_)) {
            self.forget(&job.name);
        }
        Ok(status)
    }

    async fn cancel(&self, operation: &OperationId) -> Result<(), AttemptFailure> {
        if is_name(&operation.0) { self.stop(&operation.0).await } else { Ok(()) }
    }

    fn breaker_name(&self) -> Cow<'_, str> {
        format!("vertex/{}", self.config.machine_type).into()
    }
}

/// `projects/{project}/locations/{location}/customJobs/{number}`, and nothing that would lead elsewhere.
fn is_name(name: &str) -> bool {
    let parts: Vec<&str> = name.split('/').collect();
    let plain = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
            && !part.contains("..")
    };
    matches!(parts[..], ["projects", project, "locations", location, "customJobs", id]
        if plain(project) && plain(location) && !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric()))
}
