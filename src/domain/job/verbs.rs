//! The verbs: each consumes a job and returns what must happen, as data.
//!
//! What only the passing of time asks for is in `waiting.rs`.

use std::time::Duration;

use super::{
    record::{Job, JobRecord},
    state::{DeadLettering, Lease, Progress, State},
    transition::{JobPolicy, Transition, TransitionError, TransitionResult, Wait, queued},
    work::{Hold, Output, Work},
};
use crate::domain::{
    Timestamp,
    clock::after,
    credits::{Credits, LedgerEntry, Verb},
    failure::{AttemptFailure, Disposition, ErrorCode, JobError},
    ids::{JobId, RequestHash, TeamId, UserId},
    pricing::Prices,
    trace::TraceContext,
};

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
}
