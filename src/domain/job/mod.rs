//! A job: what was asked, in which state it is, and whose credits are held for it.
//!
//! The verbs that move a job from state to state are in [`transition`]; nothing else changes one.

mod failure;
mod transition;

use std::{fmt, ops::Deref};

use serde::{Deserialize, Serialize};

pub use failure::{AttemptFailure, Disposition, ErrorCode, JobError};
pub use transition::{Dispatch, JobPolicy, Submission, Transition, TransitionError};

use super::{
    Timestamp,
    brand::{BrandSpec, TrainedBrand},
    credits::Credits,
    ids::{AccountId, JobId, RequestHash, TeamId, UserId, WorkerId},
    message::{DeadLetter, JobMessage},
    request::IllustrationSpec,
    trace::TraceContext,
};

/// The two kinds of slow work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum JobKind {
    /// A picture or a few.
    #[serde(rename = "generation")]
    Illustration,
    /// A brand style to train.
    #[serde(rename = "training")]
    Brand,
}

impl JobKind {
    /// Both kinds.
    pub const ALL: [Self; 2] = [Self::Illustration, Self::Brand];

    /// The prefix of this kind's job ids.
    pub fn id_prefix(self) -> &'static str {
        match self {
            Self::Illustration => "ill_",
            Self::Brand => "brd_",
        }
    }
}

impl fmt::Display for JobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Illustration => "generation",
            Self::Brand => "training",
        })
    }
}

/// What the job is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Work {
    /// Draw pictures.
    Illustration(IllustrationSpec),
    /// Train a brand.
    Brand(BrandSpec),
}

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

/// The credits set aside for one run of a job; a redrive makes a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// 1 for the first run.
    pub number: u32,
    /// Credits for one unit (picture, training).
    pub unit: Credits,
    /// Units asked for.
    pub units: u32,
}

impl Hold {
    /// Credits held.
    pub fn amount(&self) -> Credits {
        self.unit.saturating_mul(self.units.into())
    }
}

/// A stored picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredImage {
    /// Media key of the picture.
    pub key: String,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Length of the stored file.
    pub bytes: u64,
    /// SHA-256 of the stored file, in hex.
    pub sha256: String,
}

/// What a finished job delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Of an illustration.
    Pictures(Pictures),
    /// Of a training.
    Brand(TrainedBrand),
}

impl Output {
    /// How many of the units asked for were delivered.
    pub fn delivered(&self) -> u32 {
        match self {
            Self::Pictures(pictures) => u32::try_from(pictures.images.len()).unwrap_or(u32::MAX),
            Self::Brand(_) => 1,
        }
    }
}

/// What a finished illustration delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pictures {
    /// The pictures, at least one.
    pub images: Vec<StoredImage>,
    /// Media key of the first picture's thumbnail.
    pub thumbnail_key: Option<String>,
    /// Pictures that were asked for and withheld by the engine's content filter.
    pub filtered: u32,
    /// The model that drew them.
    pub model: String,
    /// What the model was told.
    pub final_prompt: String,
    /// The seed that repeats the result.
    pub seed: Option<u32>,
    /// What the provider charges, in millionths of a US dollar.
    pub cost_micro_usd: u64,
    /// Engine and storage time of the successful attempt, in milliseconds.
    pub generation_ms: u64,
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

/// Everything there is to know of a job, for a store to write and read back.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRecord {
    /// Its name.
    pub id: JobId,
    /// Who asked.
    pub user: UserId,
    /// The team whose credits pay, if any.
    pub team: Option<TeamId>,
    /// What is to be done.
    pub work: Work,
    /// Where it is.
    pub state: State,
    /// The credits of this run.
    pub hold: Hold,
    /// Tells a repeated request from another under the same key.
    pub request_hash: RequestHash,
    /// The trace of the submitting request.
    pub trace: Option<TraceContext>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When its first attempt started.
    pub started_at: Option<Timestamp>,
    /// When it fails if it is not finished.
    pub deadline: Timestamp,
}

/// A job. Its fields can be read; only the verbs of [`transition`] make a changed one.
#[derive(Debug, Clone, PartialEq)]
pub struct Job(JobRecord);

impl Deref for Job {
    type Target = JobRecord;
    fn deref(&self) -> &JobRecord {
        &self.0
    }
}

impl Job {
    /// A job as a store read it.
    pub fn from_record(record: JobRecord) -> Self {
        Self(record)
    }

    /// Which kind of work it is.
    pub fn kind(&self) -> JobKind {
        match self.work {
            Work::Illustration(_) => JobKind::Illustration,
            Work::Brand(_) => JobKind::Brand,
        }
    }

    /// Whose credits pay.
    pub fn account(&self) -> AccountId {
        match &self.team {
            Some(team) => AccountId::Team(team.clone()),
            None => AccountId::User(self.user.clone()),
        }
    }

    /// Its state's word.
    pub fn status(&self) -> Status {
        match self.state {
            State::Queued { .. } => Status::Queued,
            State::Running { .. } => Status::Running,
            State::Succeeded { .. } => Status::Succeeded,
            State::Failed { .. } => Status::Failed,
            State::Cancelled { .. } => Status::Cancelled,
        }
    }

    /// Attempts started so far.
    pub fn attempt(&self) -> u32 {
        match self.state {
            State::Queued { attempt, .. }
            | State::Running { attempt, .. }
            | State::Succeeded { attempt, .. }
            | State::Failed { attempt, .. }
            | State::Cancelled { attempt, .. } => attempt,
        }
    }

    /// By when somebody must have touched this job; `None` when nothing is left to do.
    ///
    /// Every unfinished job has one, so one index and one sweep find whatever is stuck.
    pub fn due_at(&self) -> Option<Timestamp> {
        match &self.state {
            State::Queued { publish_at, .. } => Some((*publish_at).min(self.deadline)),
            State::Running { lease, cancel_by, .. } => {
                let due = lease.expires_at.min(self.deadline);
                Some(cancel_by.map_or(due, |by| due.min(by)))
            }
            State::Failed { dead_lettering: DeadLettering::Pending, at, .. } => Some(*at),
            State::Failed { .. } | State::Succeeded { .. } | State::Cancelled { .. } => None,
        }
    }

    /// The dead letter a failed job still owes, keyed by job and hold so that recording it twice leaves one.
    pub fn dead_letter(&self) -> Option<DeadLetter> {
        let State::Failed { dead_lettering: DeadLettering::Pending, error, attempt, .. } = &self.state else {
            return None;
        };
        let message = JobMessage::new(self.id.clone(), self.trace.clone());
        Some(DeadLetter {
            key: format!("{}:{}", self.id, self.hold.number),
            job_id: Some(self.id.clone()),
            error: error.clone(),
            attempts: *attempt,
            data: message.data(),
            attributes: message.attributes(),
        })
    }

    /// When it reached its final state.
    pub fn finished_at(&self) -> Option<Timestamp> {
        match self.state {
            State::Succeeded { at, .. } | State::Failed { at, .. } | State::Cancelled { at, .. } => Some(at),
            State::Queued { .. } | State::Running { .. } => None,
        }
    }
}
