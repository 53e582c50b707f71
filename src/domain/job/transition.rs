//! The verbs: each consumes a job and returns what must happen, as data.
//!
//! What only the passing of time asks for is in `waiting.rs`. The store applies a [`Transition`] atomically: next state,
//! ledger entries and balance together or not at all.

use std::{num::NonZeroU32, time::Duration};

use super::{
    AttemptFailure, DeadLettering, Disposition, ErrorCode, Hold, Job, JobError, JobRecord, Lease, Output, Progress,
    State, Work,
    waiting::{Wait, queued},
};
use crate::domain::{
    Timestamp,
    clock::after,
    credits::{Credits, LedgerEntry, Verb},
    ids::{JobId, RequestHash, TeamId, UserId},
    message::JobMessage,
    pricing::Prices,
    retry::RetryPolicy,
    trace::TraceContext,
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

/// What a new job is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Submission {
    /// Its name.
    pub id: JobId,
    /// Who asks.
    pub user: UserId,
    /// The team that pays, if any.
    pub team: Option<TeamId>,
    /// What is to be done.
    pub work: Work,
    /// Tells a repeat from another request.
    pub request_hash: RequestHash,
    /// The trace of the submitting request.
    pub trace: Option<TraceContext>,
    /// How long the job may take in all.
    pub time_limit: Duration,
    /// What a first-time account is granted.
    pub starting_grant: Credits,
}

pub(super) type TransitionResult = Result<Transition, TransitionError>;

impl Job {
    /// A new job, its hold, and the welcome grant of an account that has never had one.
    pub fn submit(submission: Submission, now: Timestamp, prices: &Prices, policy: &JobPolicy) -> Transition {
        let Submission { id, user, team, work, request_hash, trace, time_limit, starting_grant } = submission;
        let hold = match &work {
            Work::Illustration(spec) => {
                Hold { number: 1, unit: prices.per_image(spec.width, spec.height), units: spec.count }
            }
            Work::Brand(_) => Hold { number: 1, unit: prices.training, units: 1 },
        };
        let state = queued(Wait::first(now), now, policy);
        let deadline = after(now, time_limit);
        let record = JobRecord {
            id,
            user,
            team,
            work,
            state,
            hold,
            request_hash,
            trace,
            created_at: now,
            started_at: None,
            deadline,
        };
        let job = Self(record);
        let mut ledger = Vec::with_capacity(2);
        if starting_grant > 0 {
            ledger.push(LedgerEntry::grant(job.account(), "welcome", starting_grant, now));
        }
        ledger.extend(job.entry(Verb::Hold, hold.amount(), now));
        job.dispatched(ledger, now)
    }

    /// Claims the job: the next attempt begins, under this lease.
    pub fn start(mut self, now: Timestamp, lease: Lease, policy: &JobPolicy) -> TransitionResult {
        let attempts = match &self.state {
            State::Queued { attempt, .. } => match self.waits_until(now) {
                Some(at) => return Err(TransitionError::TooEarly { at }),
                None => *attempt,
            },
            State::Running { cancel_by: Some(_), .. } => return Err(TransitionError::CancelRequested),
            State::Running { attempt, lease, .. } if lease.expires_at <= now => *attempt,
            State::Running { lease, .. } => return Err(TransitionError::Leased { until: lease.expires_at }),
            _ => return Err(TransitionError::Finished),
        };
        if attempts >= policy.retry.max_attempts || now >= self.deadline {
            return Err(TransitionError::Exhausted);
        }
        let operation = self.take_operation();
        self.0.started_at = self.0.started_at.or(Some(now));
        Ok(self.becomes(State::Running {
            attempt: attempts + 1,
            lease,
            started_at: now,
            operation,
            progress: None,
            cancel_by: None,
        }))
    }

    /// The heartbeat: the lease lasts longer, and the progress is what it is by now (it never falls).
    pub fn renew(mut self, expires_at: Timestamp, reached: Option<Progress>) -> TransitionResult {
        let State::Running { lease, progress, .. } = &mut self.0.state else { return Err(self.not_running()) };
        lease.expires_at = expires_at;
        if let Some(reached) = reached {
            let floor = progress.map_or(0.0, |before| before.fraction);
            let fraction = if reached.fraction.is_finite() { reached.fraction.clamp(floor, 1.0) } else { floor };
            *progress = Some(Progress { fraction, ..reached });
        }
        Ok(self.quiet())
    }

    /// The provider's long-running operation has begun: whoever comes next re-attaches to it.
    pub fn attach(mut self, begun: String) -> TransitionResult {
        let State::Running { operation, .. } = &mut self.0.state else { return Err(self.not_running()) };
        *operation = Some(begun);
        Ok(self.quiet())
    }

    /// Delivers: what was delivered is captured, what was not is released. Nothing delivered is a failure.
    pub fn complete(self, now: Timestamp, output: Output) -> TransitionResult {
        let State::Running { attempt, cancel_by, .. } = self.state else { return Err(self.not_running()) };
        if cancel_by.is_some() {
            return Err(TransitionError::CancelRequested);
        }
        let delivered = output.delivered().min(self.hold.units);
        if delivered == 0 {
            let error = JobError::new(ErrorCode::ContentFiltered, "the engine withheld every picture for its content");
            return Ok(self.failed(now, attempt, error, DeadLettering::NotNeeded));
        }
        let captured = self.hold.unit.saturating_mul(delivered.into());
        let mut ledger: Vec<_> = self.entry(Verb::Capture, captured, now).into_iter().collect();
        ledger.extend(self.entry(Verb::Release, self.hold.amount() - captured, now));
        Ok(Transition { ledger, ..self.becomes(State::Succeeded { attempt, output, at: now }) })
    }

    /// The attempt failed, and its operation with it: again later, or never. `jitter` lies in `[0, 1)`.
    pub fn fail(
        mut self,
        now: Timestamp,
        failure: AttemptFailure,
        policy: &JobPolicy,
        jitter: f64,
    ) -> TransitionResult {
        self.take_operation();
        self.set_back(now, failure, policy, jitter)
    }

    /// As [`Job::fail`], but the provider's operation is sound: the next attempt re-attaches to it.
    pub fn set_back(
        mut self,
        now: Timestamp,
        failure: AttemptFailure,
        policy: &JobPolicy,
        jitter: f64,
    ) -> TransitionResult {
        let State::Running { attempt, cancel_by, .. } = self.state else { return Err(self.not_running()) };
        if cancel_by.is_some() {
            return self.cancel(now);
        }
        let AttemptFailure { error, disposition } = failure;
        let (counted, wait) = match disposition {
            Disposition::Fail => return Ok(self.failed(now, attempt, error, DeadLettering::NotNeeded)),
            Disposition::Retry { .. } if attempt >= policy.retry.max_attempts => {
                return Ok(self.failed(now, attempt, error, DeadLettering::Pending));
            }
            Disposition::Retry { after } => (attempt, policy.retry.delay(attempt, jitter, after)),
            Disposition::Throttled { after } => (attempt - 1, policy.retry.delay(attempt, jitter, after)),
            Disposition::Misconfigured => (attempt - 1, policy.retry.delay(attempt, jitter, None)),
        };
        let not_before = after(now, wait);
        let operation = self.take_operation();
        Ok(self.requeued(Wait { attempt: counted, not_before, error: Some(error), operation }, now, policy))
    }

    /// Somebody wants it stopped: at once while it waits, by its worker (or, late, the sweeper) while it runs.
    pub fn request_cancel(mut self, now: Timestamp, policy: &JobPolicy) -> TransitionResult {
        match &mut self.0.state {
            State::Queued { .. } => self.cancel(now),
            State::Running { cancel_by, .. } => {
                // A second request must not push the moment away.
                *cancel_by = cancel_by.or(Some(after(now, policy.cancel_grace)));
                Ok(self.quiet())
            }
            _ => Err(TransitionError::Finished),
        }
    }

    /// Stops it: everything held is released.
    pub fn cancel(self, now: Timestamp) -> TransitionResult {
        if self.status().is_final() {
            return Err(TransitionError::Finished);
        }
        let attempt = self.attempt();
        Ok(self.released(State::Cancelled { attempt, at: now }, now))
    }

    /// A worker that shuts down gives the job and its attempt back.
    pub fn hand_back(mut self, now: Timestamp, policy: &JobPolicy) -> TransitionResult {
        let State::Running { attempt, cancel_by, .. } = self.state else { return Err(self.not_running()) };
        if cancel_by.is_some() {
            return self.cancel(now);
        }
        let operation = self.take_operation();
        Ok(self.requeued(Wait { attempt: attempt - 1, not_before: now, error: None, operation }, now, policy))
    }

    /// The dead letter is out.
    pub fn dead_lettered(mut self) -> TransitionResult {
        match &mut self.0.state {
            State::Failed { dead_lettering: owed @ DeadLettering::Pending, .. } => {
                *owed = DeadLettering::Done;
                Ok(self.quiet())
            }
            _ => Err(TransitionError::NotFailed),
        }
    }

    /// Runs a failed job again: a fresh hold, attempts from zero, a new deadline.
    pub fn redrive(mut self, now: Timestamp, time_limit: Duration, policy: &JobPolicy) -> TransitionResult {
        if !matches!(self.state, State::Failed { .. }) {
            return Err(TransitionError::NotFailed);
        }
        self.0.hold.number += 1;
        self.0.deadline = after(now, time_limit);
        self.0.started_at = None;
        self.0.state = queued(Wait::first(now), now, policy);
        let ledger = self.entry(Verb::Hold, self.hold.amount(), now).into_iter().collect();
        Ok(self.dispatched(ledger, now))
    }

    fn entry(&self, verb: Verb, amount: Credits, at: Timestamp) -> Option<LedgerEntry> {
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

    fn released(self, state: State, now: Timestamp) -> Transition {
        let ledger = self.entry(Verb::Release, self.hold.amount(), now).into_iter().collect();
        Transition { ledger, ..self.becomes(state) }
    }

    pub(super) fn requeued(self, wait: Wait, now: Timestamp, policy: &JobPolicy) -> Transition {
        let not_before = wait.not_before;
        let is_kept = policy.queue_delays || not_before <= now;
        let Transition { job, .. } = self.becomes(queued(wait, now, policy));
        if is_kept { job.dispatched(Vec::new(), not_before) } else { job.quiet() }
    }

    /// The provider's operation that goes on, if any.
    pub fn operation(&self) -> Option<&str> {
        match &self.state {
            State::Queued { operation, .. } | State::Running { operation, .. } => operation.as_deref(),
            _ => None,
        }
    }

    pub(super) fn take_operation(&mut self) -> Option<String> {
        match &mut self.0.state {
            State::Queued { operation, .. } | State::Running { operation, .. } => operation.take(),
            _ => None,
        }
    }

    fn becomes(mut self, state: State) -> Transition {
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
