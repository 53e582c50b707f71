//! What a verb returns: the changed job, ledger entries and a message to publish, as data.
//!
//! The store applies a [`Transition`] atomically: the job, the ledger entries and the balance change together or not at all.

use std::{num::NonZeroU32, time::Duration};

use super::{
    record::Job,
    state::{DeadLettering, State},
};
use crate::domain::{
    Timestamp,
    clock::after,
    credits::{Credits, LedgerEntry, Verb},
    failure::JobError,
    message::JobMessage,
    retry::RetryPolicy,
};

/// What one atomic commit writes, and what follows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// The job in its next state.
    pub job: Job,
    /// Movements of credits. An entry whose id already exists is a no-op.
    pub ledger: Vec<LedgerEntry>,
    /// A message to publish after the commit is durable.
    pub dispatch: Option<Dispatch>,
    /// For a new job: how many unfinished jobs its user may have, including this one; `None`: any number. The store
    /// counts them, because several gateways may insert at once.
    pub max_in_flight: Option<NonZeroU32>,
}

impl Transition {
    /// The same with a limit on the user's unfinished jobs; `None`: any number.
    #[must_use]
    pub fn with_max_in_flight(self, max_in_flight: Option<NonZeroU32>) -> Self {
        Self { max_in_flight, ..self }
    }
}

/// A message to publish, and the earliest moment of its delivery.
#[derive(Debug, Clone, PartialEq)]
pub struct Dispatch {
    /// The message.
    pub message: JobMessage,
    /// Do not deliver it earlier.
    pub not_before: Timestamp,
}

/// The settings that apply to every job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobPolicy {
    /// Attempts and backoff.
    pub retry: RetryPolicy,
    /// How long to wait for a worker before the message is published again; doubles with each publication.
    pub republish_after: Duration,
    /// The longest wait between two publications of a queued job.
    pub republish_cap: Duration,
    /// How long a worker has to act on a requested cancellation before the sweeper cancels the job.
    pub cancel_grace: Duration,
    /// Whether the queue can delay a message. If not, the sweeper publishes it when it is due.
    pub queue_delays: bool,
}

/// Why a verb does not apply to a job in its present state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransitionError {
    /// The job is in a final state.
    #[error("the job is finished")]
    Finished,
    /// The verb needs a running job.
    #[error("the job is not running")]
    NotRunning,
    /// The verb needs a queued job.
    #[error("the job is not queued")]
    NotQueued,
    /// Another worker's lease has not lapsed.
    #[error("the job is leased until {until}")]
    Leased {
        /// When it lapses.
        until: Timestamp,
    },
    /// The job waits for the end of its backoff.
    #[error("the job must not start before {at}")]
    TooEarly {
        /// The earliest start.
        at: Timestamp,
    },
    /// The job does not wait for a moment: it may start now.
    #[error("the job does not wait for a later moment")]
    NotScheduled,
    /// [`Job::due_at`] has not passed.
    #[error("the job is not overdue")]
    NotOverdue,
    /// Its deadline has passed or all its attempts are used up; the sweeper settles it.
    #[error("the job has no attempt or time left")]
    Exhausted,
    /// A cancellation is requested.
    #[error("the job is being cancelled")]
    CancelRequested,
    /// Only a failed job can be run again.
    #[error("the job has not failed")]
    NotFailed,
}

pub(super) type TransitionResult = Result<Transition, TransitionError>;

/// How a verb ends.
impl Job {
    pub(super) fn ledger_entry(&self, verb: Verb, amount: Credits, at: Timestamp) -> Option<LedgerEntry> {
        // A free job holds nothing and needs no entry.
        (amount > 0).then(|| LedgerEntry {
            id: format!("{}:{}:{verb}", self.id, self.hold.number),
            account: self.account(),
            job_id: Some(self.id.clone()),
            verb,
            amount,
            at,
        })
    }

    pub(super) fn failed(
        self,
        now: Timestamp,
        attempt: u32,
        error: JobError,
        dead_lettering: DeadLettering,
    ) -> Transition {
        self.released(State::Failed { attempt, error, dead_lettering, at: now }, now)
    }

    pub(super) fn released(self, state: State, now: Timestamp) -> Transition {
        let ledger = self.ledger_entry(Verb::Release, self.hold.amount(), now).into_iter().collect();
        Transition { ledger, ..self.with_state(state) }
    }

    pub(super) fn requeued(self, wait: Wait, now: Timestamp, policy: &JobPolicy) -> Transition {
        let not_before = wait.not_before;
        let is_published_now = policy.queue_delays || not_before <= now;
        let Transition { job, .. } = self.with_state(queued(wait, now, policy));
        if is_published_now { job.with_dispatch(Vec::new(), not_before) } else { job.without_dispatch() }
    }

    pub(super) fn take_operation(&mut self) -> Option<String> {
        match &mut self.0.state {
            State::Queued { operation, .. } | State::Running { operation, .. } => operation.take(),
            _ => None,
        }
    }

    pub(super) fn with_state(mut self, state: State) -> Transition {
        self.0.state = state;
        self.without_dispatch()
    }

    pub(super) fn without_dispatch(self) -> Transition {
        Transition { job: self, ledger: Vec::new(), dispatch: None, max_in_flight: None }
    }

    pub(super) fn with_dispatch(self, ledger: Vec<LedgerEntry>, not_before: Timestamp) -> Transition {
        let message = JobMessage::new(self.id.clone(), self.trace.clone());
        let dispatch = Some(Dispatch { message, not_before });
        Transition { job: self, ledger, dispatch, max_in_flight: None }
    }

    pub(super) fn not_running(&self) -> TransitionError {
        if self.status().is_final() { TransitionError::Finished } else { TransitionError::NotRunning }
    }
}

/// The data of a job that goes back to the queue.
pub(super) struct Wait {
    pub(super) attempt: u32,
    pub(super) not_before: Timestamp,
    pub(super) error: Option<JobError>,
    pub(super) operation: Option<String>,
}

impl Wait {
    pub(super) fn first(now: Timestamp) -> Self {
        Self { attempt: 0, not_before: now, error: None, operation: None }
    }
}

/// The state of a queued job. Its message is published with the commit, or by the sweeper when it is due.
pub(super) fn queued(wait: Wait, now: Timestamp, policy: &JobPolicy) -> State {
    let Wait { attempt, not_before, error: last_error, operation } = wait;
    let (publish_at, published) = if policy.queue_delays || not_before <= now {
        (after(not_before.max(now), policy.republish_after), 1)
    } else {
        (not_before, 0)
    };
    State::Queued { attempt, not_before, publish_at, published, last_error, operation }
}
