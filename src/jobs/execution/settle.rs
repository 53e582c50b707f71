//! Settle: write how an attempt ended, together with its credits, in one commit.

use std::time::Duration;

use super::{
    Execution,
    end::{AttemptEnd, AttemptOutcome},
    lease::LeasedJob,
};
use crate::{
    domain::job::{Job, State, Status, Transition, TransitionError},
    error::{BackendError, ErrorKind},
    failpoint::failpoint,
    store::{Version, Versioned},
};

/// The wait between two tries to write a result while the store does not answer.
pub(super) const SETTLE_RETRY: Duration = Duration::from_millis(250);

impl Execution {
    /// Writes the end of an attempt. While the store does not answer, it tries again until the lease is at risk: the
    /// provider is already paid for the work.
    pub(super) async fn settle(&self, leased: &mut LeasedJob, end: AttemptEnd) -> Result<AttemptOutcome, BackendError> {
        let jitter = self.random.unit();
        // One transition for each version it is written over, so that a commit whose reply was lost is recognised.
        let mut prepared: Option<(Version, Transition)> = None;
        loop {
            let next = match prepared.take().filter(|(version, _)| *version == leased.version) {
                Some((_, next)) => next,
                None => match self.transition(leased, &end, jitter) {
                    Ok(Some(next)) => next,
                    Ok(None) => return Ok(AttemptOutcome::Lost),
                    Err(reason) => {
                        tracing::warn!(%reason, "the attempt's end no longer fits the job");
                        return Ok(AttemptOutcome::Lost);
                    }
                },
            };
            let error = match self.writer.commit(leased.version, &next).await {
                Ok(version) => return Ok(self.after_settle(Versioned { version, value: next.job }, &end).await),
                Err(error) if error.kind == ErrorKind::Conflict => {
                    match self.resolve_conflict(leased, &next.job, &end).await {
                        Ok(Some(outcome)) => return Ok(outcome),
                        Ok(None) => continue,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            prepared = Some((leased.version, next));
            if !error.is_transient() || leased.lease_expired(self.now()) {
                return Err(error);
            }
            tracing::warn!(%error, "settling failed; trying again");
            tokio::time::sleep(error.retry_after.unwrap_or(SETTLE_RETRY)).await;
        }
    }

    /// The transition that writes this end; `None` when the job is not ours and there is nothing to write.
    fn transition(
        &self,
        leased: &LeasedJob,
        end: &AttemptEnd,
        jitter: f64,
    ) -> Result<Option<Transition>, TransitionError> {
        let (now, policy) = (self.now(), &self.policy);
        let job = match &leased.operation {
            // The training was started but not recorded before the end. The next attempt must find it, and a cancel must
            // stop it.
            Some(operation) if leased.job.operation().is_none() => leased.job.clone().attach(operation.clone())?.job,
            _ => leased.job.clone(),
        };
        let next = match end {
            AttemptEnd::Delivered(output) => match job.clone().complete(now, output.clone()) {
                // The cancel was written first, so it counts: exactly one of the two happens.
                Err(TransitionError::CancelRequested) => job.cancel(now),
                completed => completed,
            },
            AttemptEnd::Failed(failure) => job.fail_keeping_operation(now, failure.clone(), policy, jitter),
            AttemptEnd::TrainingFailed(failure) => job.fail(now, failure.clone(), policy, jitter),
            AttemptEnd::Stopped => job.hand_back(now, policy),
            AttemptEnd::Cancelled => job.cancel(now),
            AttemptEnd::LeaseLost => return Ok(None),
        };
        next.map(Some)
    }

    /// Logs the end that is now written, and publishes the dead letter that it owes.
    async fn after_settle(&self, settled: Versioned<Job>, end: &AttemptEnd) -> AttemptOutcome {
        failpoint("after_settle");
        log_settled(&settled.value, end);
        let status = settled.value.status();
        self.writer.publish_dead_letter(settled.value, settled.version).await;
        AttemptOutcome::Settled(status)
    }

    /// Finds out what a conflict means. Our end may have been written and only the reply was lost, or another process has
    /// the job. `None`: the job is still ours, because only a cancel was requested, so try again.
    async fn resolve_conflict(
        &self,
        leased: &mut LeasedJob,
        ours: &Job,
        end: &AttemptEnd,
    ) -> Result<Option<AttemptOutcome>, BackendError> {
        let Some(stored) = self.writer.store.get(&leased.job.id).await? else {
            return Ok(Some(AttemptOutcome::Lost));
        };
        let is_next = stored.version.0 == leased.version.0 + 1;
        // Later versions can only be recognised by their final state. Its dead letter may have been published meanwhile.
        if (is_next && stored.value == *ours) || is_same_end(&stored.value.state, &ours.state) {
            return Ok(Some(self.after_settle(stored, end).await));
        }
        let is_lost = matches!(leased.adopt(stored), Some(AttemptEnd::LeaseLost));
        Ok(is_lost.then_some(AttemptOutcome::Lost))
    }
}

/// Whether both are the same end of a job, down to the microsecond, regardless of its dead letter.
fn is_same_end(stored: &State, ours: &State) -> bool {
    match (stored, ours) {
        (
            State::Failed { error, at, attempt, .. },
            State::Failed { error: our_error, at: our_at, attempt: our, .. },
        ) => (error, at, attempt) == (our_error, our_at, our),
        (State::Succeeded { .. } | State::Cancelled { .. }, _) => stored == ours,
        _ => false,
    }
}

fn log_settled(job: &Job, end: &AttemptEnd) {
    let status = job.status().shown_as(job.kind());
    match end {
        AttemptEnd::Failed(failure) | AttemptEnd::TrainingFailed(failure) if job.status() == Status::Failed => {
            tracing::error!(code = %failure.error.code, reason = failure.error.message, "job failed");
        }
        AttemptEnd::Failed(failure) | AttemptEnd::TrainingFailed(failure) => {
            tracing::warn!(code = %failure.error.code, reason = failure.error.message, "attempt failed; will retry");
        }
        AttemptEnd::Delivered(_) if job.status() == Status::Failed => {
            tracing::info!(status, "every picture was withheld");
        }
        AttemptEnd::Stopped => tracing::info!(status, "job handed back"),
        AttemptEnd::Delivered(_) | AttemptEnd::Cancelled | AttemptEnd::LeaseLost => {
            tracing::info!(status, "job settled");
        }
    }
}
