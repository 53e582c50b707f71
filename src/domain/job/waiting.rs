//! The verbs about waiting: a job that must start later, waits too long, or has lost its worker.

use super::{
    record::Job,
    state::{DeadLettering, State},
    transition::{JobPolicy, TransitionError, TransitionResult, Wait},
};
use crate::domain::{
    Timestamp,
    clock::after,
    failure::{ErrorCode, JobError},
    retry::doubled,
};

impl Job {
    /// Lets a queued job wait until a moment, for a reason that is shown. No attempt is counted.
    ///
    /// The wait ends at the deadline at the latest; then the sweeper fails the job.
    pub fn postpone(
        mut self,
        now: Timestamp,
        until: Timestamp,
        reason: JobError,
        policy: &JobPolicy,
    ) -> TransitionResult {
        let State::Queued { attempt, .. } = self.state else {
            return Err(if self.status().is_final() { TransitionError::Finished } else { TransitionError::NotQueued });
        };
        let operation = self.take_operation();
        let not_before = until.min(self.deadline).max(now);
        Ok(self.requeued(Wait { attempt, not_before, error: Some(reason), operation }, now, policy))
    }

    /// The earliest start, if that is in the future and the job was retried or postponed.
    ///
    /// A job that is new or was handed back may start at once, whatever the clock says: its `not_before` was written by
    /// another machine, whose clock may be ahead.
    pub fn waits_until(&self, now: Timestamp) -> Option<Timestamp> {
        match &self.state {
            State::Queued { not_before, last_error: Some(_), .. } => Some(*not_before).filter(|at| *at > now),
            _ => None,
        }
    }

    /// Schedules a new message for the earliest start, because the last message arrived too early and is gone.
    pub fn reschedule(mut self, now: Timestamp) -> TransitionResult {
        let waits_until = self.waits_until(now);
        match (&mut self.0.state, waits_until) {
            (State::Queued { publish_at, .. }, Some(at)) => {
                *publish_at = (*publish_at).min(at);
                Ok(self.without_dispatch())
            }
            (State::Queued { .. } | State::Running { .. }, _) => Err(TransitionError::NotScheduled),
            _ => Err(TransitionError::Finished),
        }
    }

    /// What the sweeper does when [`Job::due_at`] has passed: it publishes the message again, takes the job from a worker
    /// whose lease has lapsed, or ends a job that is cancelled or past its deadline.
    pub fn overdue(mut self, now: Timestamp, policy: &JobPolicy) -> TransitionResult {
        if self.due_at().is_none_or(|due| due > now) || self.status().is_final() {
            return Err(TransitionError::NotOverdue);
        }
        if now >= self.deadline || !matches!(self.state, State::Queued { .. }) {
            return self.end_or_requeue(now, policy);
        }
        if let State::Queued { publish_at, published, .. } = &mut self.0.state {
            *publish_at = after(now, doubled(policy.republish_after, *published, policy.republish_cap));
            *published = published.saturating_add(1);
        }
        let not_before = self.not_before().unwrap_or(now);
        Ok(self.with_dispatch(Vec::new(), not_before))
    }

    /// Takes the job from a worker that is known to be dead, even if its lease has not lapsed.
    pub fn release_dead_lease(self, now: Timestamp, policy: &JobPolicy) -> TransitionResult {
        if !matches!(self.state, State::Running { .. }) {
            return Err(self.not_running());
        }
        self.end_or_requeue(now, policy)
    }

    /// Ends a job that is cancelled or past its deadline, and returns any other to the queue.
    fn end_or_requeue(mut self, now: Timestamp, policy: &JobPolicy) -> TransitionResult {
        let attempt = self.attempt();
        if let State::Running { cancel_by: Some(_), .. } = self.state {
            return self.cancel(now);
        }
        if now >= self.deadline {
            let error = self.deadline_error();
            return Ok(self.failed(now, attempt, error, DeadLettering::NotNeeded));
        }
        let error = JobError::new(ErrorCode::WorkerLost, "the worker stopped responding during the attempt");
        if attempt >= policy.retry.max_attempts {
            return Ok(self.failed(now, attempt, error, DeadLettering::Pending));
        }
        let operation = self.take_operation();
        Ok(self.requeued(Wait { attempt, not_before: now, error: Some(error), operation }, now, policy))
    }

    fn deadline_error(&self) -> JobError {
        let reason = match &self.state {
            State::Queued { last_error: Some(last), .. } => {
                format!("the job was not finished by its deadline; the last reason to wait was: {}", last.message)
            }
            State::Queued { attempt: 0, .. } => "no worker was free before the job's deadline".to_owned(),
            _ => "the job was not finished by its deadline".to_owned(),
        };
        JobError::new(ErrorCode::DeadlineExceeded, reason)
    }

    fn not_before(&self) -> Option<Timestamp> {
        match self.state {
            State::Queued { not_before, .. } => Some(not_before),
            _ => None,
        }
    }
}
