//! The stored form of a job: one flat document with camelCase fields, readable by any client of the database.
//!
//! The state's data is spread over optional fields, and `status` says which of them count. Everything needed to restore
//! the job is here; `creditsUsed`, `costUsd` and `queueMs` are written for readers and ignored when read back.

mod work;

use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        Timestamp,
        brand::TrainingImage,
        clock::millis_between,
        credits::Credits,
        failure::JobError,
        ids::{JobId, RequestHash, TeamId, UserId},
        job::{DeadLettering, Hold, Job, JobRecord, Lease, Progress, State, Status},
        kind::JobKind,
        palette::Rgb,
        stored_image::StoredImage,
        trace::TraceContext,
    },
    store::{Version, Versioned},
};

/// A document that cannot be read back as a job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDocument {
    /// A field that the status needs is absent.
    #[error("a {status} job without {field}")]
    Missing {
        /// The document's status.
        status: String,
        /// The field.
        field: &'static str,
    },
    /// An unknown status.
    #[error("unknown status {0:?}")]
    Status(String),
    /// Neither an illustration nor a brand.
    #[error("a document without {} or {}", JobKind::Illustration.id_field(), JobKind::Brand.id_field())]
    NoId,
}

/// A job as a flat document. Unknown fields are ignored, so that an older build reads what a newer one wrote.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are those of the job and its state, spread flat")]
pub struct JobDocument {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub illustration_id: Option<JobId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub brand_id: Option<JobId>,
    pub user_id: Option<UserId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team_id: Option<TeamId>,
    pub status: String,
    pub version: u64,
    pub attempt: u32,
    pub created_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    pub deadline: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_hash: Option<RequestHash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,

    // The request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub style_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub style_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub style_description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub style_modifier: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub style_palette: Option<Vec<Rgb>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub style_references: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub style_model_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// The requested seed; the seed that was used is `usedSeed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub colors: Option<Vec<Rgb>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub training_images: Option<Vec<TrainingImage>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_count: Option<usize>,

    // Queued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publish_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published: Option<u32>,
    /// The cause of a failed job; for a queued job, the error of the previous attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<JobError>,
    /// Queued or running: the provider's operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,

    // Running.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt_started_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel_by: Option<Timestamp>,

    // Finished.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancelled_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_lettering: Option<DeadLettering>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<Vec<StoredImage>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thumbnail_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filtered: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_used: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub final_prompt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_seed: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_micro_usd: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub palette: Option<Vec<Rgb>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples: Option<Vec<StoredImage>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub training_ms: Option<u64>,

    // For readers only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credits_used: Option<Credits>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_ms: Option<u64>,
}

impl JobDocument {
    /// The document of a job at a version.
    pub fn new(job: &Job, version: Version) -> Self {
        let mut document = Self {
            user_id: Some(job.user.clone()),
            team_id: job.team.clone(),
            status: job.status().shown_as(job.kind()).to_owned(),
            version: version.0,
            attempt: job.attempt(),
            created_at: Some(job.created_at),
            started_at: job.started_at,
            deadline: Some(job.deadline),
            due_at: job.due_at(),
            request_hash: Some(job.request_hash.clone()),
            trace: job.trace.clone(),
            hold: Some(job.hold),
            queue_ms: job.started_at.map(|started| millis_between(job.created_at, started)),
            ..Self::default()
        };
        document.write_request(&job.id, &job.work);
        document.write_state(&job.state, job.hold);
        document
    }

    fn write_state(&mut self, state: &State, hold: Hold) {
        match state.clone() {
            State::Queued { attempt: _, not_before, publish_at, published, last_error, operation } => {
                self.not_before = Some(not_before);
                self.publish_at = Some(publish_at);
                self.published = Some(published);
                self.error = last_error;
                self.operation = operation;
            }
            State::Running { attempt: _, lease, started_at, operation, progress, cancel_by } => {
                self.lease = Some(lease);
                self.attempt_started_at = Some(started_at);
                self.operation = operation;
                self.progress = progress;
                self.cancel_by = cancel_by;
            }
            State::Succeeded { attempt: _, output, at } => {
                self.completed_at = Some(at);
                self.write_output(output, hold);
            }
            State::Failed { attempt: _, error, dead_lettering, at } => {
                self.failed_at = Some(at);
                self.error = Some(error);
                self.dead_lettering = Some(dead_lettering);
            }
            State::Cancelled { attempt: _, at } => self.cancelled_at = Some(at),
        }
    }

    /// The job and its version.
    pub fn into_job(mut self) -> Result<Versioned<Job>, InvalidDocument> {
        let id = self.illustration_id.take().or_else(|| self.brand_id.take()).ok_or(InvalidDocument::NoId)?;
        let status =
            Status::from_shown(&self.status, id.kind()).ok_or_else(|| InvalidDocument::Status(self.status.clone()))?;
        let version = Version(self.version);
        let record = JobRecord {
            work: self.read_request(id.kind())?,
            state: self.read_state(id.kind(), status)?,
            id,
            user: self.need("userId", |it| it.user_id.take())?,
            team: self.team_id.take(),
            hold: self.need("hold", |it| it.hold.take())?,
            request_hash: self.need("requestHash", |it| it.request_hash.take())?,
            trace: self.trace.take(),
            created_at: self.need("createdAt", |it| it.created_at)?,
            started_at: self.started_at,
            deadline: self.need("deadline", |it| it.deadline)?,
        };
        Ok(Versioned { version, value: Job::from_record(record) })
    }

    fn read_state(&mut self, kind: JobKind, status: Status) -> Result<State, InvalidDocument> {
        let attempt = self.attempt;
        Ok(match status {
            Status::Queued => State::Queued {
                attempt,
                not_before: self.need("notBefore", |it| it.not_before)?,
                publish_at: self.need("publishAt", |it| it.publish_at)?,
                published: self.need("published", |it| it.published)?,
                last_error: self.error.take(),
                operation: self.operation.take(),
            },
            Status::Running => State::Running {
                attempt,
                lease: self.need("lease", |it| it.lease.take())?,
                started_at: self.need("attemptStartedAt", |it| it.attempt_started_at)?,
                operation: self.operation.take(),
                progress: self.progress,
                cancel_by: self.cancel_by,
            },
            Status::Succeeded => State::Succeeded {
                attempt,
                output: self.read_output(kind)?,
                at: self.need("completedAt", |it| it.completed_at)?,
            },
            Status::Failed => State::Failed {
                attempt,
                error: self.need("error", |it| it.error.take())?,
                dead_lettering: self.need("deadLettering", |it| it.dead_lettering)?,
                at: self.need("failedAt", |it| it.failed_at)?,
            },
            Status::Cancelled => State::Cancelled { attempt, at: self.need("cancelledAt", |it| it.cancelled_at)? },
        })
    }

    fn need<T>(
        &mut self,
        field: &'static str,
        take: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Result<T, InvalidDocument> {
        take(self).ok_or_else(|| InvalidDocument::Missing { status: self.status.clone(), field })
    }
}
