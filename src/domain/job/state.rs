//! Where a job can be, and what belongs to it there.

use serde::{Deserialize, Serialize};

use super::work::Output;
use crate::domain::{Timestamp, failure::JobError, ids::WorkerId, kind::JobKind};

/// The exclusive right to work on a job for a while. The version read with it fences off everyone else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// Who works on it.
    pub owner: WorkerId,
    /// When anybody may take over.
    pub expires_at: Timestamp,
}

/// How far an attempt has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// From 0 to 1; never falls within an attempt.
    pub fraction: f64,
    /// Steps done, where the engine counts steps.
    pub step: Option<u32>,
    /// Steps in all.
    pub total_steps: Option<u32>,
    /// Estimated seconds to go.
    pub eta_seconds: Option<u32>,
}

/// Whether a failed job's dead letter is out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DeadLettering {
    /// The failure explains itself (filtered, invalid, too late): no operator is needed.
    NotNeeded,
    /// To be published; the sweeper does it when nobody else has.
    Pending,
    /// Published.
    Done,
}

/// Where a job is. Data lives in the state it belongs to.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// Waits for a worker.
    Queued {
        /// Attempts started so far.
        attempt: u32,
        /// Nobody starts it earlier (backoff).
        not_before: Timestamp,
        /// When to publish its message again, should nobody have started it.
        publish_at: Timestamp,
        /// How often its message has been published for this attempt.
        published: u32,
        /// Why the attempt before failed.
        last_error: Option<JobError>,
        /// A provider's long-running operation that goes on meanwhile, for the next attempt to re-attach to.
        operation: Option<String>,
    },
    /// A worker holds the lease.
    Running {
        /// 1 for the first attempt.
        attempt: u32,
        /// Who holds it, and until when.
        lease: Lease,
        /// When this attempt started.
        started_at: Timestamp,
        /// The provider's long-running operation, to re-attach to.
        operation: Option<String>,
        /// How far it is.
        progress: Option<Progress>,
        /// Set once somebody asked to cancel: by then the sweeper does it if the worker has not.
        cancel_by: Option<Timestamp>,
    },
    /// Delivered and paid.
    Succeeded {
        /// The attempt that delivered.
        attempt: u32,
        /// What was delivered.
        output: Output,
        /// When.
        at: Timestamp,
    },
    /// Given up, nothing charged.
    Failed {
        /// Attempts started.
        attempt: u32,
        /// The last cause.
        error: JobError,
        /// Whether an operator hears of it.
        dead_lettering: DeadLettering,
        /// When.
        at: Timestamp,
    },
    /// Stopped on request, nothing charged.
    Cancelled {
        /// Attempts started.
        attempt: u32,
        /// When.
        at: Timestamp,
    },
}

/// The API's word for a state, without its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Waits.
    Queued,
    /// Is worked on: `processing` of an illustration, `training` of a brand.
    Running,
    /// `completed` of an illustration, `ready` of a brand.
    Succeeded,
    /// Gave up.
    Failed,
    /// Stopped on request.
    Cancelled,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Queued, Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled];

    /// The word people see.
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

    /// The status people mean by a word.
    pub fn from_shown(word: &str, kind: JobKind) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.shown_as(kind) == word)
    }

    /// Whether nothing will change any more (short of a redrive).
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}
