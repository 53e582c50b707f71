//! A job: what was asked, in which state it is, and whose credits are held for it.
//!
//! The verbs that move a job from state to state are in `transition.rs` and `waiting.rs`; nothing else changes one.

mod failure;
mod state;
mod transition;
mod waiting;

use std::{fmt, ops::Deref};

use serde::{Deserialize, Serialize};

pub use failure::{AttemptFailure, Disposition, ErrorCode, JobError};
pub use state::{DeadLettering, Lease, Progress, State, Status};
pub use transition::{Dispatch, JobPolicy, Submission, Transition, TransitionError};

use super::{
    Timestamp,
    brand::{BrandSpec, TrainedBrand},
    credits::Credits,
    ids::{AccountId, JobId, RequestHash, TeamId, UserId},
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

    /// The word for one such job in texts for people.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Illustration => "illustration",
            Self::Brand => "brand",
        }
    }

    /// The collection of its jobs: the first segment of its paths in the API.
    pub fn collection(self) -> &'static str {
        match self {
            Self::Illustration => "illustrations",
            Self::Brand => "brands",
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

/// A job. Its fields can be read; only its verbs make a changed one.
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

    /// Since when the job may be removed by age; `None` while it must stay: unfinished, its dead letter still owed, or a
    /// ready brand, which people go on drawing in.
    pub fn removable_since(&self) -> Option<Timestamp> {
        let is_in_use = self.kind() == JobKind::Brand && self.status() == Status::Succeeded;
        self.finished_at().filter(|_| !is_in_use && self.due_at().is_none())
    }

    /// When it reached its final state.
    pub fn finished_at(&self) -> Option<Timestamp> {
        match self.state {
            State::Succeeded { at, .. } | State::Failed { at, .. } | State::Cancelled { at, .. } => Some(at),
            State::Queued { .. } | State::Running { .. } => None,
        }
    }
}
