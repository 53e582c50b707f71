//! The verbs that time asks for: a job that waits, waits too long, or whose worker is gone.

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
    /// Nobody can work on it before a moment: it waits until then, and says why. No attempt has begun.
    ///
    /// A moment beyond the deadline is the deadline: there the sweeper ends it.
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

    /// Until when nobody may start it; `None` when its time has come, or it waits for nothing.
    ///
    /// What is new or was handed back may start at once, whatever the clock says: the moment was written by another
    /// machine, whose clock may be ahead.
    pub fn waits_until(&self, now: Timestamp) -> Option<Timestamp> {
        match &self.state {
            State::Queued { not_before, last_error: Some(_), .. } => Some(*not_before).filter(|at| *at > now),
            _ => None,
        }
    }

    /// Its message came before its time and is gone: another is published when the time has come.
    pub fn recall(mut self, now: Timestamp) -> TransitionResult {
        let waits_until = self.waits_until(now);
        match (&mut self.0.state, waits_until) {
            (State::Queued { publish_at, .. }, Some(at)) => {
                *publish_at = (*publish_at).min(at);
                Ok(self.quiet())
            }
            (State::Queued { .. } | State::Running { .. }, _) => Err(TransitionError::NotEarly),
            _ => Err(TransitionError::Finished),
        }
    }

    /// What the sweeper does with a job whose [`Job::due_at`] has passed.
    pub fn overdue(mut self, now: Timestamp, policy: &JobPolicy) -> TransitionResult {
        if self.due_at().is_none_or(|due| due > now) || self.status().is_final() {
            return Err(TransitionError::NotOverdue);
        }
        if now >= self.deadline || !matches!(self.state, State::Queued { .. }) {
            return self.taken(now, policy);
        }
        if let State::Queued { publish_at, published, .. } = &mut self.0.state {
            *publish_at = after(now, doubled(policy.republish_after, *published, policy.republish_cap));
            *published = published.saturating_add(1);
        }
        let not_before = self.not_before().unwrap_or(now);
        Ok(self.dispatched(Vec::new(), not_before))
    }

    /// Its worker is known to be dead, whatever its lease says: the next one may have it.
    pub fn release_dead_lease(self, now: Timestamp, policy: &JobPolicy) -> TransitionResult {
        if !matches!(self.state, State::Running { .. }) {
            return Err(self.not_running());
        }
        self.taken(now, policy)
    }

    /// Ends a job that is cancelled or too late; any other goes from its worker back into the queue.
    fn taken(mut self, now: Timestamp, policy: &JobPolicy) -> TransitionResult {
        let attempt = self.attempt();
        if let State::Running { cancel_by: Some(_), .. } = self.state {
            return self.cancel(now);
        }
        if now >= self.deadline {
            let error = self.too_late();
            return Ok(self.failed(now, attempt, error, DeadLettering::NotNeeded));
        }
        let error = JobError::new(ErrorCode::WorkerLost, "the worker stopped answering in mid-attempt");
        if attempt >= policy.retry.max_attempts {
            return Ok(self.failed(now, attempt, error, DeadLettering::Pending));
        }
        let operation = self.take_operation();
        Ok(self.requeued(Wait { attempt, not_before: now, error: Some(error), operation }, now, policy))
    }

    fn too_late(&self) -> JobError {
        let reason = match &self.state {
            State::Queued { last_error: Some(last), .. } => {
                format!("the job was not done by its deadline; it last waited because: {}", last.message)
            }
            State::Queued { attempt: 0, .. } => "no worker was free before the job's deadline".to_owned(),
            _ => "the job was not done by its deadline".to_owned(),
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
