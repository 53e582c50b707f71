//! Settle: write how an attempt ended, together with its credits, in one commit.

use std::time::Duration;

use super::{Claim, Execution, Outcome, attempt::Event};
use crate::{
    domain::{
        failure::AttemptFailure,
        job::{Job, Output, State, Status, Transition, TransitionError},
    },
    error::{BackendError, ErrorKind},
    failpoint::failpoint,
    store::{Version, Versioned},
};

/// How an attempt ended, before it is written.
#[derive(Debug, Clone)]
pub(super) enum Settled {
    Delivered(Output),
    /// A training that was begun is not lost by this.
    Failed(AttemptFailure),
    /// The provider's operation itself came to nothing.
    TrainingFailed(AttemptFailure),
    HandedBack,
    Cancelled,
}

/// The wait between two tries to write a result while the store does not answer.
pub(super) const SETTLE_RETRY: Duration = Duration::from_millis(250);

impl Execution {
    /// Writes the end of an attempt. A store that does not answer is tried again until the lease is at risk: the work
    /// is paid for at the provider, so it is worth the wait.
    pub(super) async fn settle(&self, claim: &mut Claim, settled: Settled) -> Result<Outcome, BackendError> {
        let jitter = self.random.unit();
        // Made once for each version it is written over, so that what an earlier try wrote is recognised.
        let mut made: Option<(Version, Transition)> = None;
        loop {
            let next = match made.take().filter(|(version, _)| *version == claim.version) {
                Some((_, next)) => next,
                None => match self.transition(claim, &settled, jitter) {
                    Ok(next) => next,
                    Err(reason) => {
                        tracing::warn!(%reason, "the attempt's end does not fit the job any more");
                        return Ok(Outcome::Lost);
                    }
                },
            };
            let error = match self.writer.commit(claim.version, &next).await {
                Ok(version) => return Ok(self.settled(Versioned { version, value: next.job }, &settled).await),
                Err(error) if error.kind == ErrorKind::Conflict => match self.after_conflict(claim, &next.job).await {
                    Ok(After::Ours(now)) => return Ok(self.settled(*now, &settled).await),
                    Ok(After::Lost) => return Ok(Outcome::Lost),
                    Ok(After::Again) => continue,
                    Err(error) => error,
                },
                Err(error) => error,
            };
            made = Some((claim.version, next));
            if !error.is_transient() || claim.lease_expired(self.now()) {
                return Err(error);
            }
            tracing::warn!(%error, "settling failed; trying again");
            tokio::time::sleep(error.retry_after.unwrap_or(SETTLE_RETRY)).await;
        }
    }

    fn transition(&self, claim: &Claim, settled: &Settled, jitter: f64) -> Result<Transition, TransitionError> {
        let (now, policy) = (self.now(), &self.policy);
        let job = match &claim.operation {
            // Begun, and not recorded before the end came: who comes next must find it, and who cancels must stop it.
            Some(begun) if claim.job.operation().is_none() => claim.job.clone().attach(begun.clone())?.job,
            _ => claim.job.clone(),
        };
        match settled {
            Settled::Delivered(output) => match job.clone().complete(now, output.clone()) {
                // The cancel was written first, so it counts: exactly one of the two happens.
                Err(TransitionError::CancelRequested) => job.cancel(now),
                verdict => verdict,
            },
            Settled::Failed(failure) => job.fail_keeping_operation(now, failure.clone(), policy, jitter),
            Settled::TrainingFailed(failure) => job.fail(now, failure.clone(), policy, jitter),
            Settled::HandedBack => job.hand_back(now, policy),
            Settled::Cancelled => job.cancel(now),
        }
    }

    /// The end is written: says so, and publishes what is owed.
    async fn settled(&self, now: Versioned<Job>, settled: &Settled) -> Outcome {
        failpoint("after_settle");
        log_settled(&now.value, settled);
        let status = now.value.status();
        self.writer.publish_dead_letter(now.value, now.version).await;
        Outcome::Settled(status)
    }

    /// What a conflict means: the job still is ours (somebody asked to cancel), our end was written after all and only the
    /// answer was lost, or it is somebody else's job now.
    async fn after_conflict(&self, claim: &mut Claim, ours: &Job) -> Result<After, BackendError> {
        let Some(now) = self.writer.store.get(&claim.job.id).await? else { return Ok(After::Lost) };
        let is_next = now.version.0 == claim.version.0 + 1;
        // After that only a final state is sure to be still there, with its dead letter perhaps published meanwhile.
        if (is_next && now.value == *ours) || ends_alike(&now.value.state, &ours.state) {
            return Ok(After::Ours(Box::new(now)));
        }
        Ok(if matches!(claim.adopt(now), Some(Event::Lost)) { After::Lost } else { After::Again })
    }
}

enum After {
    Ours(Box<Versioned<Job>>),
    Lost,
    Again,
}

/// Whether both are the same end of a job, down to the microsecond, whatever has become of its dead letter.
fn ends_alike(there: &State, ours: &State) -> bool {
    match (there, ours) {
        (State::Failed { error, at, attempt, .. }, State::Failed { error: why, at: when, attempt: which, .. }) => {
            (error, at, attempt) == (why, when, which)
        }
        (State::Succeeded { .. } | State::Cancelled { .. }, _) => there == ours,
        _ => false,
    }
}

fn log_settled(job: &Job, settled: &Settled) {
    let status = job.status().shown_as(job.kind());
    match settled {
        Settled::Failed(failure) | Settled::TrainingFailed(failure) if job.status() == Status::Failed => {
            tracing::error!(code = %failure.error.code, reason = failure.error.message, "job failed");
        }
        Settled::Failed(failure) | Settled::TrainingFailed(failure) => {
            tracing::warn!(code = %failure.error.code, reason = failure.error.message, "attempt failed; will retry");
        }
        Settled::Delivered(_) if job.status() == Status::Failed => tracing::info!(status, "every picture was withheld"),
        Settled::HandedBack => tracing::info!(status, "job handed back"),
        Settled::Delivered(_) | Settled::Cancelled => tracing::info!(status, "job settled"),
    }
}
