//! The states of a job, each with its own data.

use serde::{Deserialize, Serialize};

use super::work::Output;
use crate::domain::{Timestamp, failure::JobError, ids::WorkerId, kind::JobKind};

/// The exclusive right to work on a job for a limited time. Each commit names the version it read, so that a worker whose
/// lease has lapsed cannot write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// The worker that holds it.
    pub owner: WorkerId,
    /// From then on another worker may claim the job.
    pub expires_at: Timestamp,
}

/// The progress of an attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// From 0 to 1; never decreases within an attempt.
    pub fraction: f64,
    /// Steps done, where the engine counts steps.
    pub step: Option<u32>,
    /// Steps in all.
    pub total_steps: Option<u32>,
    /// Estimated seconds that remain.
    pub eta_seconds: Option<u32>,
}

/// Whether a failed job's dead letter is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DeadLettering {
    /// The failure needs no operator: the work was filtered, invalid or too late.
    NotNeeded,
    /// Not recorded yet; the sweeper does it if the worker has not.
    Pending,
    /// Recorded.
    Done,
}

/// The state of a job. Data is kept in the state that it belongs to.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// The job waits for a worker.
    Queued {
        /// Attempts started so far.
        attempt: u32,
        /// No worker starts it earlier (backoff).
        not_before: Timestamp,
        /// When the sweeper publishes its message again, unless a worker has started it.
        publish_at: Timestamp,
        /// How many times its message has been published for this attempt.
        published: u32,
        /// Why the previous attempt failed, or why the job was postponed.
        last_error: Option<JobError>,
        /// The provider's long-running operation, which goes on while the job waits. The next attempt re-attaches to it.
        operation: Option<String>,
    },
    /// A worker holds the lease.
    Running {
        /// 1 for the first attempt.
        attempt: u32,
        /// The worker, and until when it holds the job.
        lease: Lease,
        /// When this attempt started.
        started_at: Timestamp,
        /// The provider's long-running operation. The next attempt re-attaches to it if this worker dies.
        operation: Option<String>,
        /// How far the attempt is.
        progress: Option<Progress>,
        /// Set when a cancellation is requested: the sweeper cancels the job then, unless the worker has done it.
        cancel_by: Option<Timestamp>,
    },
    /// The job has delivered; the delivered units are paid.
    Succeeded {
        /// The attempt that delivered.
        attempt: u32,
        /// What was delivered.
        output: Output,
        /// When it finished.
        at: Timestamp,
    },
    /// The job has failed; nothing is charged.
    Failed {
        /// Attempts started.
        attempt: u32,
        /// Why the last attempt failed.
        error: JobError,
        /// Whether its dead letter is recorded.
        dead_lettering: DeadLettering,
        /// When it finished.
        at: Timestamp,
    },
    /// The job was cancelled on request; nothing is charged.
    Cancelled {
        /// Attempts started.
        attempt: u32,
        /// When it finished.
        at: Timestamp,
    },
}

/// A state without its data. The API's word for it depends on the kind of job ([`Status::shown_as`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Shown as `queued`.
    Queued,
    /// Shown as `processing` (illustration) or `training` (brand).
    Running,
    /// Shown as `completed` (illustration) or `ready` (brand).
    Succeeded,
    /// Shown as `failed`.
    Failed,
    /// Shown as `cancelled`.
    Cancelled,
}

impl Status {
    /// All statuses.
    pub const ALL: [Self; 5] = [Self::Queued, Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled];

    /// The word that the API uses.
    pub fn shown_as(self, kind: JobKind) -> &'static str {
        match (self, kind) {
            (Self::Queued, _) => "queued",
            (Self::Running, JobKind::Illustration) => "processing",
            (Self::Running, JobKind::Brand) => "training",
            (Self::Succeeded, JobKind::Illustration) => "completed",
            (Self::Succeeded, JobKind::Brand) => "ready",
            (Self::Failed, _) => "failed",
            (Self::Cancelled, _) => "cancelled",
        }
    }

    /// The status that the API's word means.
    pub fn from_shown(word: &str, kind: JobKind) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.shown_as(kind) == word)
    }

    /// Whether the job is finished. Only a redrive of a failed job leads out of a final state.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}
