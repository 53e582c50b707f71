//! A job as it is stored, and what can be read from it.
//!
//! The verbs that move a job from state to state are in `verbs.rs` and `waiting.rs`; nothing else changes a job.

use std::ops::Deref;

use super::{
    state::{DeadLettering, State, Status},
    work::{Hold, Work},
};
use crate::domain::{
    Timestamp,
    ids::{AccountId, JobId, RequestHash, TeamId, UserId},
    kind::JobKind,
    message::{DeadLetter, JobMessage},
    trace::TraceContext,
};

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
pub struct Job(pub(super) JobRecord);

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

    /// The provider's operation that goes on, if any.
    pub fn operation(&self) -> Option<&str> {
        match &self.state {
            State::Queued { operation, .. } | State::Running { operation, .. } => operation.as_deref(),
            _ => None,
        }
    }
}
