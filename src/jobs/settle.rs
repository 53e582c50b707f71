//! Settle: write how an attempt ended, together with its credits, in one commit.

use std::time::Duration;

use super::{Claim, Jobs, Outcome, attempt::Event};
use crate::{
    domain::job::{AttemptFailure, Job, Output, Status, Transition, TransitionError},
    error::{BackendError, ErrorKind},
    store::Version,
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

impl Jobs {
    /// Writes the end of an attempt. A store that does not answer is tried again until the lease is at risk: the work
    /// is paid for at the provider, so it is worth the wait.
    pub(super) async fn settle(&self, claim: &mut Claim, settled: Settled) -> Result<Outcome, BackendError> {
        let jitter = self.ports.random.unit();
        // What may have been written although no answer came.
        let mut unanswered = Vec::new();
        loop {
            let next = match self.transition(claim.job.clone(), &settled, jitter) {
                Ok(next) => next,
                Err(reason) => {
                    tracing::warn!(%reason, "the attempt's end does not fit the job any more");
                    return Ok(Outcome::Lost);
                }
            };
            let error = match self.commit(claim.version, &next).await {
                Ok(version) => return Ok(self.settled(next.job, version, &settled).await),
                Err(error) if error.kind == ErrorKind::Conflict => {
                    match self.after_conflict(claim, &settled, &unanswered).await {
                        Ok(Some(outcome)) => return Ok(outcome),
                        Ok(None) => continue,
                        Err(error) => error,
                    }
                }
                Err(error) => {
                    if error.kind == ErrorKind::Timeout {
                        unanswered.push(next.job);
                    }
                    error
                }
            };
            if !error.is_transient() || claim.lease_expired(self.now()) {
                return Err(error);
            }
            tracing::warn!(%error, "settling failed; trying again");
            tokio::time::sleep(error.retry_after.unwrap_or(SETTLE_RETRY)).await;
        }
    }

    fn transition(&self, job: Job, settled: &Settled, jitter: f64) -> Result<Transition, TransitionError> {
        let (now, policy) = (self.now(), &self.rules.policy);
        match settled {
            Settled::Delivered(output) => match job.clone().complete(now, output.clone()) {
                // The cancel was written first, so it counts: exactly one of the two happens.
                Err(TransitionError::CancelRequested) => job.cancel(now),
                verdict => verdict,
            },
            Settled::Failed(failure) => job.set_back(now, failure.clone(), policy, jitter),
            Settled::TrainingFailed(failure) => job.fail(now, failure.clone(), policy, jitter),
            Settled::HandedBack => job.hand_back(now, policy),
            Settled::Cancelled => job.cancel(now),
        }
    }

    /// What follows once the end of an attempt is written.
    async fn settled(&self, job: Job, version: Version, settled: &Settled) -> Outcome {
        log_settled(&job, settled);
        let status = job.status();
        self.publish_dead_letter(job, version).await;
        Outcome::Settled(status)
    }

    /// What a conflict means: the job still is ours (somebody asked to cancel), our result was written after all and
    /// only the answer was lost, or it is somebody else's job now.
    async fn after_conflict(
        &self,
        claim: &mut Claim,
        settled: &Settled,
        unanswered: &[Job],
    ) -> Result<Option<Outcome>, BackendError> {
        let Some(now) = self.ports.store.get(&claim.job.id).await? else { return Ok(Some(Outcome::Lost)) };
        if unanswered.contains(&now.value) {
            return Ok(Some(self.settled(now.value, now.version, settled).await));
        }
        Ok(matches!(claim.adopt(now), Some(Event::Lost)).then_some(Outcome::Lost))
    }

    /// Publishes the dead letter a failed job owes, if it owes one; whether it did. What fails here is left to the
    /// sweeper.
    pub(super) async fn publish_dead_letter(&self, job: Job, version: Version) -> bool {
        let Some(letter) = job.dead_letter() else { return false };
        let id = job.id.clone();
        let written = async {
            self.ports.queue.dead_letter(&letter).await?;
            match job.dead_lettered() {
                Ok(next) => self.ports.store.commit(version, &next).await.map(drop),
                Err(_) => Ok(()),
            }
        };
        match written.await {
            Ok(()) => {
                tracing::info!(job.id = %id, "dead letter published");
                true
            }
            Err(error) => {
                tracing::warn!(job.id = %id, %error, "dead letter failed; the sweeper will try again");
                false
            }
        }
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
