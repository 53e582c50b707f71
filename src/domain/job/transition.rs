//! What a verb returns: the next state, ledger entries and a message, as data.
//!
//! The store applies a [`Transition`] atomically: next state, ledger entries and balance together or not at all.

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

/// What happens by one atomic commit.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// The next state.
    pub job: Job,
    /// Movements of credits; an entry whose id exists already is a no-op.
    pub ledger: Vec<LedgerEntry>,
    /// A message to publish once the commit is durable.
    pub dispatch: Option<Dispatch>,
    /// Of a new job: how many unfinished ones its user may have with it. The store counts, because only there do
    /// several gateways see each other's.
    pub max_in_flight: Option<NonZeroU32>,
}

impl Transition {
    /// The same, for a user who may have that many unfinished jobs; `None`: any number.
    #[must_use]
    pub fn with_max_in_flight(self, max_in_flight: Option<NonZeroU32>) -> Self {
        Self { max_in_flight, ..self }
    }
}

/// A message to publish, not to be delivered before a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Dispatch {
    /// What to publish.
    pub message: JobMessage,
    /// When it may be delivered.
    pub not_before: Timestamp,
}

/// The numbers that govern every job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobPolicy {
    /// Attempts and backoff.
    pub retry: RetryPolicy,
    /// How long a published message may stay without effect before it is published again; doubles each time.
    pub republish_after: Duration,
    /// The longest wait between two publications of a queued job.
    pub republish_cap: Duration,
    /// How long a worker has to act on a cancellation before the sweeper does it.
    pub cancel_grace: Duration,
    /// Whether the queue keeps a message until its time. If not, what is to be done later is published by the sweeper.
    pub queue_delays: bool,
}

/// Why a verb does not apply. None of these is an error of the person who asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransitionError {
    /// The job is in a final state.
    #[error("the job is finished")]
    Finished,
    /// The verb needs a running job.
    #[error("the job is not running")]
    NotRunning,
    /// The verb needs a waiting job.
    #[error("the job is not queued")]
    NotQueued,
    /// Another worker's lease has not lapsed.
    #[error("the job is leased until {until}")]
    Leased {
        /// When it lapses.
        until: Timestamp,
    },
    /// It waits for its backoff.
    #[error("the job must not start before {at}")]
    TooEarly {
        /// When it may.
        at: Timestamp,
    },
    /// Its time has come already.
    #[error("the job does not wait for a later moment")]
    NotEarly,
    /// Nothing is overdue.
    #[error("the job is not overdue")]
    NotOverdue,
    /// Its deadline has passed or its attempts are used up; the sweeper settles it.
    #[error("the job is to be settled, not started")]
    Exhausted,
    /// Somebody asked to cancel it.
    #[error("the job is being cancelled")]
    CancelRequested,
    /// Only a failed job can be run again.
    #[error("the job has not failed")]
    NotFailed,
}

pub(super) type TransitionResult = Result<Transition, TransitionError>;

impl Job {
    pub(super) fn entry(&self, verb: Verb, amount: Credits, at: Timestamp) -> Option<LedgerEntry> {
        // A free job holds nothing; an entry of zero credits would say nothing.
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
        let ledger = self.entry(Verb::Release, self.hold.amount(), now).into_iter().collect();
        Transition { ledger, ..self.becomes(state) }
    }

    pub(super) fn requeued(self, wait: Wait, now: Timestamp, policy: &JobPolicy) -> Transition {
        let not_before = wait.not_before;
        let is_kept = policy.queue_delays || not_before <= now;
        let Transition { job, .. } = self.becomes(queued(wait, now, policy));
        if is_kept { job.dispatched(Vec::new(), not_before) } else { job.quiet() }
    }

    pub(super) fn take_operation(&mut self) -> Option<String> {
        match &mut self.0.state {
            State::Queued { operation, .. } | State::Running { operation, .. } => operation.take(),
            _ => None,
        }
    }

    pub(super) fn becomes(mut self, state: State) -> Transition {
        self.0.state = state;
        self.quiet()
    }

    pub(super) fn quiet(self) -> Transition {
        Transition { job: self, ledger: Vec::new(), dispatch: None, max_in_flight: None }
    }

    pub(super) fn dispatched(self, ledger: Vec<LedgerEntry>, not_before: Timestamp) -> Transition {
        let message = JobMessage::new(self.id.clone(), self.trace.clone());
        let dispatch = Some(Dispatch { message, not_before });
        Transition { job: self, ledger, dispatch, max_in_flight: None }
    }

    pub(super) fn not_running(&self) -> TransitionError {
        if self.status().is_final() { TransitionError::Finished } else { TransitionError::NotRunning }
    }
}

/// What a job carries along while it waits.
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

/// The state of a job that waits: published with the commit, or by the sweeper when its time has come.
pub(super) fn queued(wait: Wait, now: Timestamp, policy: &JobPolicy) -> State {
    let Wait { attempt, not_before, error: last_error, operation } = wait;
    let (publish_at, published) = if policy.queue_delays || not_before <= now {
        (after(not_before.max(now), policy.republish_after), 1)
    } else {
        (not_before, 0)
    };
    State::Queued { attempt, not_before, publish_at, published, last_error, operation }
}
