//! One delivery: a free slot, a claim, an answer, and the attempt behind it.

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tracing::{Instrument as _, Span};

use super::{Worker, envelope::Delivery};
use crate::{
    domain::{kind::JobKind, message::DeadLetter},
    failpoint::failpoint,
    jobs::{AttemptOutcome, Claim, ClaimResult},
};

/// What the queue hears about a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PushOutcome {
    /// Done with: the job is claimed (or done), or the message will never be of use.
    Acknowledged(&'static str),
    /// Deliver it again later; the reason says why.
    Refused(&'static str),
}

impl Worker {
    /// Deals with the body of a push.
    pub(super) async fn deliver(&self, body: &[u8], kind: JobKind) -> PushOutcome {
        let delivery = match Delivery::parse(body, kind) {
            Ok(delivery) => delivery,
            Err(dead_letter) => return self.record_dead_letter(*dead_letter).await,
        };
        let trace = delivery.message.trace.as_ref();
        let span = tracing::info_span!(
            "delivery",
            job.id = %delivery.message.job_id,
            attempt = tracing::field::Empty,
            trace_id = trace.map(crate::domain::trace::TraceContext::trace_id),
        );
        self.deliver_job(delivery, span.clone()).instrument(span).await
    }

    async fn deliver_job(&self, delivery: Delivery, span: Span) -> PushOutcome {
        tracing::debug!(
            message_id = delivery.message_id,
            subscription = delivery.subscription,
            delivery = delivery.attempt,
            "message delivered"
        );
        // The slot first: the wait for it is the back-pressure, and a claimed job must not wait under its lease.
        let Some(slot) = self.free_slot().await else { return PushOutcome::Refused("no free slot") };
        // A task of its own: when the caller hangs up, this future is dropped, and a claim that is being written would
        // leave a job that nobody works on until its lease lapses.
        let (tell, told) = oneshot::channel();
        let work = self.clone().work(delivery, slot, tell, span.clone());
        let work = self.attempts.spawn(work.instrument(span));
        let answer = told.await.unwrap_or(PushOutcome::Refused("the claim ended by a defect"));
        if !self.settings.ack_on_claim && work.await.is_err() {
            tracing::error!("the attempt panicked; its lease will lapse");
        }
        answer
    }

    /// Claims, says what to answer, and works.
    async fn work(
        self,
        delivery: Delivery,
        slot: OwnedSemaphorePermit,
        tell: oneshot::Sender<PushOutcome>,
        span: Span,
    ) {
        let (answer, claim) = self.claim(delivery).await;
        if let Some(claim) = &claim {
            span.record("attempt", claim.job().attempt());
            tracing::info!("job claimed");
        }
        failpoint("before_ack");
        // A caller who hung up does not want to know.
        let _ = tell.send(answer);
        if let Some(claim) = claim {
            self.attempt(claim, slot).await;
        }
    }

    async fn claim(&self, delivery: Delivery) -> (PushOutcome, Option<Claim>) {
        let claimed = self.execution.claim(&delivery.message.job_id, &self.id, self.settings.attempt.lease).await;
        let answer = match claimed {
            Ok(ClaimResult::Claimed(claim)) => return (PushOutcome::Acknowledged("claimed"), Some(*claim)),
            Ok(ClaimResult::NotStartable(reason)) => {
                tracing::debug!(%reason, "nothing to do for this message");
                PushOutcome::Acknowledged("nothing to do")
            }
            Ok(ClaimResult::Postponed { .. }) => PushOutcome::Acknowledged("postponed"),
            Ok(ClaimResult::Missing) => self.record_dead_letter(delivery.unknown_job()).await,
            Err(error) => {
                tracing::warn!(%error, "claim failed; the message will come again");
                PushOutcome::Refused("the store does not answer")
            }
        };
        (answer, None)
    }

    /// `None` when the worker drains or the wait is over.
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
            Ok(AttemptOutcome::Settled(_)) => {} // the settlement has its own line
            Ok(AttemptOutcome::Lost) => tracing::warn!("the job was taken over; this attempt's result is dropped"),
            Err(error) => tracing::error!(%error, "the attempt's end could not be written; its lease will lapse"),
        }
    }

    /// Records what can never be worked on and acknowledges it: a refusal would slow the whole subscription down.
    async fn record_dead_letter(&self, dead_letter: DeadLetter) -> PushOutcome {
        tracing::error!(code = %dead_letter.error.code, reason = dead_letter.error.message, key = dead_letter.key, "dead letter");
        match self.execution.record_dead_letter(&dead_letter).await {
            Ok(()) => PushOutcome::Acknowledged("dead letter"),
            Err(error) => {
                tracing::warn!(%error, "the dead letter was not recorded; the message will come again");
                PushOutcome::Refused("the dead letter was not recorded")
            }
        }
    }
}
