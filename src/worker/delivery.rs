//! One delivery: waits for a free slot, claims the job, replies to the queue, and runs the attempt.

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tracing::{Instrument as _, Span};

use super::Worker;
use crate::{
    domain::{
        failure::{ErrorCode, JobError},
        message::{DeadLetter, DeliveryInfo, JobMessage, PushOutcome},
        trace::TraceContext,
    },
    failpoint::failpoint,
    jobs::{AttemptOutcome, Claim, ClaimResult},
};

impl Worker {
    /// Works on a message of any queue and returns the reply to it. With `ack_on_claim` the attempt goes on after the
    /// reply.
    pub async fn deliver(&self, message: JobMessage, delivery: DeliveryInfo) -> PushOutcome {
        let span = tracing::info_span!(
            "delivery",
            job.id = %message.job_id,
            attempt = tracing::field::Empty,
            trace_id = message.trace.as_ref().map(TraceContext::trace_id),
        );
        self.deliver_in(message, delivery, span.clone()).instrument(span).await
    }

    async fn deliver_in(&self, message: JobMessage, delivery: DeliveryInfo, span: Span) -> PushOutcome {
        tracing::debug!(
            message_id = delivery.message_id,
            subscription = delivery.subscription,
            delivery = delivery.attempt,
            "message delivered"
        );
        // The slot comes before the claim: this wait is the back-pressure, and a claimed job must not wait under its lease.
        let Some(slot) = self.free_slot().await else { return PushOutcome::Refused("no free slot") };
        // A task of its own, because this future is dropped when the caller disconnects. Dropping a claim during its write
        // would leave a claimed job without a worker until its lease lapses.
        let (reply, outcome) = oneshot::channel();
        let work = self.clone().work(message, delivery, slot, reply, span.clone());
        let work = self.attempts.spawn(work.instrument(span));
        let outcome = outcome.await.unwrap_or(PushOutcome::Refused("the claim panicked"));
        if !self.settings.ack_on_claim && work.await.is_err() {
            tracing::error!("the attempt panicked; its lease will lapse");
        }
        outcome
    }

    /// Claims the job, sends the reply, and runs the attempt.
    async fn work(
        self,
        message: JobMessage,
        delivery: DeliveryInfo,
        slot: OwnedSemaphorePermit,
        reply: oneshot::Sender<PushOutcome>,
        span: Span,
    ) {
        let (outcome, claim) = self.claim(message, delivery).await;
        if let Some(claim) = &claim {
            span.record("attempt", claim.job().attempt());
            tracing::info!("job claimed");
        }
        failpoint("before_ack");
        // Fails if the caller has disconnected; the queue then delivers again and the duplicate finds the job claimed.
        let _ = reply.send(outcome);
        if let Some(claim) = claim {
            self.attempt(claim, slot).await;
        }
    }

    async fn claim(&self, message: JobMessage, delivery: DeliveryInfo) -> (PushOutcome, Option<Claim>) {
        let claimed = self.execution.claim(&message.job_id, &self.id, self.settings.attempt.lease).await;
        let outcome = match claimed {
            Ok(ClaimResult::Claimed(claim)) => return (PushOutcome::Acknowledged("claimed"), Some(*claim)),
            Ok(ClaimResult::NotStartable(reason)) => {
                tracing::debug!(%reason, "nothing to do for this message");
                PushOutcome::Acknowledged("nothing to do")
            }
            Ok(ClaimResult::Postponed { .. }) => PushOutcome::Acknowledged("postponed"),
            Ok(ClaimResult::Missing) => {
                let error = JobError::new(ErrorCode::UnknownJob, format!("there is no job {}", message.job_id));
                self.record_dead_letter(delivery.into_dead_letter(Some(message.job_id), error)).await
            }
            Err(error) => {
                tracing::warn!(%error, "the claim failed; the queue will deliver the message again");
                PushOutcome::Refused("the store does not answer")
            }
        };
        (outcome, None)
    }

    /// Waits for a slot. `None` if the worker starts to drain or the wait takes too long.
    async fn free_slot(&self) -> Option<OwnedSemaphorePermit> {
        let slot = tokio::select! {
            biased;
            () = self.draining.cancelled() => return None,
            slot = tokio::time::timeout(self.settings.slot_wait, self.slots.clone().acquire_owned()) => slot,
        };
        slot.ok()?.ok()
    }

    async fn attempt(&self, claim: Claim, slot: OwnedSemaphorePermit) {
        let outcome = self.execution.run_attempt(claim, &self.settings.attempt, &self.stop).await;
        drop(slot);
        match outcome {
            Ok(AttemptOutcome::Settled(_)) => {} // logged where the job is settled
            Ok(AttemptOutcome::Lost) => tracing::warn!("the job was taken over; this attempt's result is dropped"),
            Err(error) => {
                tracing::error!(%error, "the result of the attempt could not be written; its lease will lapse");
            }
        }
    }

    /// Records a message that no worker can ever work on, and acknowledges it: a refusal would slow down the whole
    /// subscription.
    pub(super) async fn record_dead_letter(&self, dead_letter: DeadLetter) -> PushOutcome {
        tracing::error!(code = %dead_letter.error.code, reason = dead_letter.error.message, key = dead_letter.key, "dead letter");
        match self.execution.record_dead_letter(&dead_letter).await {
            Ok(()) => PushOutcome::Acknowledged("dead letter"),
            Err(error) => {
                tracing::warn!(%error, "the dead letter was not recorded; the queue will deliver the message again");
                PushOutcome::Refused("the dead letter was not recorded")
            }
        }
    }
}
