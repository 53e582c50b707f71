//! The verbs: each consumes a job and returns what must happen, as data. The verbs about waiting are in `waiting.rs`.

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

/// Everything that a new job needs.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// Its id; the prefix names the kind.
    pub id: JobId,
    /// The user who submits it.
    pub user: UserId,
    /// The team that pays, if any.
    pub team: Option<TeamId>,
    /// What the job does.
    pub work: Work,
    /// Distinguishes a repeated request from a different one under the same idempotency key.
    pub request_hash: RequestHash,
    /// The trace of the submitting request.
    pub trace: Option<TraceContext>,
    /// The time from now to the deadline.
    pub time_limit: Duration,
    /// Credits that an account is granted with its first job.
    pub starting_grant: Credits,
}

impl Job {
    /// Makes a new job with its hold, and the starting grant of an account that has not had one.
    pub fn submit(new_job: NewJob, now: Timestamp, prices: &Prices, policy: &JobPolicy) -> Transition {
        let NewJob { id, user, team, work, request_hash, trace, time_limit, starting_grant } = new_job;
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
        ledger.extend(job.ledger_entry(Verb::Hold, hold.amount(), now));
        job.with_dispatch(ledger, now)
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
        Ok(self.with_state(State::Running {
            attempt: attempts + 1,
            lease,
            started_at: now,
            operation,
            progress: None,
            cancel_by: None,
        }))
    }

    /// Extends the lease (the heartbeat) and records the progress, which never decreases.
    pub fn renew(mut self, expires_at: Timestamp, latest: Option<Progress>) -> TransitionResult {
        let State::Running { lease, progress, .. } = &mut self.0.state else { return Err(self.not_running()) };
        lease.expires_at = expires_at;
        if let Some(latest) = latest {
            let floor = progress.map_or(0.0, |before| before.fraction);
            let fraction = if latest.fraction.is_finite() { latest.fraction.clamp(floor, 1.0) } else { floor };
            *progress = Some(Progress { fraction, ..latest });
        }
        Ok(self.without_dispatch())
    }

    /// Records the provider's long-running operation, so that the next attempt can re-attach to it.
    pub fn attach(mut self, started: String) -> TransitionResult {
        let State::Running { operation, .. } = &mut self.0.state else { return Err(self.not_running()) };
        *operation = Some(started);
        Ok(self.without_dispatch())
    }

    /// Delivers the output: captures the credits of the delivered units and releases the rest. If nothing was delivered,
    /// the job fails.
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
        let mut ledger: Vec<_> = self.ledger_entry(Verb::Capture, captured, now).into_iter().collect();
        ledger.extend(self.ledger_entry(Verb::Release, self.hold.amount() - captured, now));
        Ok(Transition { ledger, ..self.with_state(State::Succeeded { attempt, output, at: now }) })
    }

    /// Ends a failed attempt and forgets the provider's operation: the job waits for another attempt, or fails. `jitter` is
    /// from 0 to 1.
    pub fn fail(
        mut self,
        now: Timestamp,
        failure: AttemptFailure,
        policy: &JobPolicy,
        jitter: f64,
    ) -> TransitionResult {
        self.take_operation();
        self.fail_keeping_operation(now, failure, policy, jitter)
    }

    /// As [`Job::fail`], but the provider's operation is unaffected: the next attempt re-attaches to it.
    pub fn fail_keeping_operation(
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

    /// Cancels a queued job at once. A running job is cancelled by its worker, or by the sweeper after the grace period.
    pub fn request_cancel(mut self, now: Timestamp, policy: &JobPolicy) -> TransitionResult {
        match &mut self.0.state {
            State::Queued { .. } => self.cancel(now),
            State::Running { cancel_by, .. } => {
                // A second request must not postpone the cancellation.
                *cancel_by = cancel_by.or(Some(after(now, policy.cancel_grace)));
                Ok(self.without_dispatch())
            }
            _ => Err(TransitionError::Finished),
        }
    }

    /// Cancels the job and releases its hold.
    pub fn cancel(self, now: Timestamp) -> TransitionResult {
        if self.status().is_final() {
            return Err(TransitionError::Finished);
        }
        let attempt = self.attempt();
        Ok(self.released(State::Cancelled { attempt, at: now }, now))
    }

    /// Returns the job to the queue without counting the attempt, because its worker shuts down.
    pub fn hand_back(mut self, now: Timestamp, policy: &JobPolicy) -> TransitionResult {
        let State::Running { attempt, cancel_by, .. } = self.state else { return Err(self.not_running()) };
        if cancel_by.is_some() {
            return self.cancel(now);
        }
        let operation = self.take_operation();
        Ok(self.requeued(Wait { attempt: attempt - 1, not_before: now, error: None, operation }, now, policy))
    }

    /// Notes that the dead letter is recorded.
    pub fn mark_dead_lettered(mut self) -> TransitionResult {
        match &mut self.0.state {
            State::Failed { dead_lettering: pending @ DeadLettering::Pending, .. } => {
                *pending = DeadLettering::Done;
                Ok(self.without_dispatch())
            }
            _ => Err(TransitionError::NotFailed),
        }
    }

    /// Runs a failed job again, with a new hold, no attempts used and a new deadline.
    pub fn redrive(mut self, now: Timestamp, time_limit: Duration, policy: &JobPolicy) -> TransitionResult {
        if !matches!(self.state, State::Failed { .. }) {
            return Err(TransitionError::NotFailed);
        }
        self.0.hold.number += 1;
        self.0.deadline = after(now, time_limit);
        self.0.started_at = None;
        self.0.state = queued(Wait::first(now), now, policy);
        let ledger = self.ledger_entry(Verb::Hold, self.hold.amount(), now).into_iter().collect();
        Ok(self.with_dispatch(ledger, now))
    }
}
