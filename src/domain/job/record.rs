//! A job, and what can be read from it. The verbs that change a job are in `verbs.rs` and `waiting.rs`.

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

/// All data of a job, as a store writes and reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRecord {
    /// Its id; the prefix names the kind.
    pub id: JobId,
    /// The user who submitted it.
    pub user: UserId,
    /// The team whose credits pay, if any.
    pub team: Option<TeamId>,
    /// What the job does.
    pub work: Work,
    /// Its state, with the data that belongs to it.
    pub state: State,
    /// The credits held for this run.
    pub hold: Hold,
    /// Distinguishes a repeated request from a different one under the same idempotency key.
    pub request_hash: RequestHash,
    /// The trace of the submitting request.
    pub trace: Option<TraceContext>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When its first attempt started.
    pub started_at: Option<Timestamp>,
    /// When an unfinished job fails.
    pub deadline: Timestamp,
}

/// A job. All fields can be read; only a verb makes a changed job.
#[derive(Debug, Clone, PartialEq)]
pub struct Job(pub(super) JobRecord);

impl Deref for Job {
    type Target = JobRecord;
    fn deref(&self) -> &JobRecord {
        &self.0
    }
}

impl Job {
    /// The job that a store has read.
    pub fn from_record(record: JobRecord) -> Self {
        Self(record)
    }

    /// The kind of job.
    pub fn kind(&self) -> JobKind {
        match self.work {
            Work::Illustration(_) => JobKind::Illustration,
            Work::Brand(_) => JobKind::Brand,
        }
    }

    /// The account that pays: the team's, if the job has a team.
    pub fn account(&self) -> AccountId {
        match &self.team {
            Some(team) => AccountId::Team(team.clone()),
            None => AccountId::User(self.user.clone()),
        }
    }

    /// Its state without the data.
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

    /// The moment from which the sweeper acts on this job; `None` if nothing is left to do.
    ///
    /// Every unfinished job has one, so one index and one sweep find every stuck job.
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

    /// The dead letter of a failed job that is not recorded yet. Its key is `{job}:{hold}`, so recording it twice leaves one.
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

    /// Since when the job may be removed by age. `None` while it must stay: it is unfinished, its dead letter is not
    /// recorded yet, or it is a ready brand, which users continue to draw in.
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

    /// The provider's operation that is under way, if any.
    pub fn operation(&self) -> Option<&str> {
        match &self.state {
            State::Queued { operation, .. } | State::Running { operation, .. } => operation.as_deref(),
            _ => None,
        }
    }
}
