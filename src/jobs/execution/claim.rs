//! Claim: the exclusive right to one attempt, by compare-and-set, and only while the engine may be called.

use std::{fmt, time::Duration};

use super::{
    Execution,
    lease::{Changes, LeasedJob},
};
use crate::{
    domain::{
        Timestamp,
        clock::after,
        ids::{JobId, WorkerId},
        job::{Job, Lease, Status, Transition, TransitionError},
    },
    error::{BackendError, ErrorKind},
    failpoint::failpoint,
    jobs::breakers::RoutedPermit,
    store::{Version, Watch},
};

/// A claimed job, ready for [`Execution::run_attempt`].
pub struct Claim {
    pub(super) leased: LeasedJob,
    /// The right to call the engine.
    pub(super) permit: RoutedPermit,
    /// What other processes write, watched from before the claim was written, so that no change is missed.
    pub(super) changes: Changes,
}

impl Claim {
    /// The job, running under the worker's lease.
    pub fn job(&self) -> &Job {
        &self.leased.job
    }

    /// The version that the claim wrote. It is unique among all attempts, so it names what this attempt stores.
    pub fn fence(&self) -> Version {
        self.leased.fence
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").field("leased", &self.leased).finish_non_exhaustive()
    }
}

/// The result of a claim.
#[derive(Debug)]
pub enum ClaimResult {
    /// The worker holds the job.
    Claimed(Box<Claim>),
    /// The job cannot be started now: it is finished, leased to another worker, or must wait.
    NotStartable(TransitionError),
    /// The engine may not be called now, so the job went back into the queue without an attempt.
    Postponed {
        /// When it is delivered again.
        until: Timestamp,
    },
    /// There is no such job.
    Missing,
}

/// How to proceed with a job whose message has been delivered. Nothing is written yet.
enum ClaimPlan {
    Start(Transition, RoutedPermit),
    /// Write this instead of a claim, and return that.
    Requeue(Transition, ClaimResult),
}

impl Execution {
    /// Claims a job for `owner`. Duplicate messages are harmless: a job that is finished or leased is `NotStartable`.
    pub async fn claim(&self, id: &JobId, owner: &WorkerId, lease: Duration) -> Result<ClaimResult, BackendError> {
        let mut cached = self.claim_cache.take(id);
        loop {
            let is_cached = cached.is_some();
            let found = match cached.take() {
                Some(job) => job,
                None => match self.writer.store.get(id).await? {
                    Some(job) => job,
                    None => return Ok(ClaimResult::Missing),
                },
            };
            let now = self.now();
            let lease = Lease { owner: owner.clone(), expires_at: after(now, lease) };
            let (next, permit) = match self.plan_claim(found.value, now, lease) {
                Ok(ClaimPlan::Start(next, permit)) => (next, permit),
                // A cached job may be out of date. Only a start may rely on it, because the store checks the version.
                _ if is_cached => continue,
                Ok(ClaimPlan::Requeue(next, result)) => match self.writer.commit(found.version, &next).await {
                    Ok(_) => return Ok(result),
                    Err(error) if error.kind == ErrorKind::Conflict => continue,
                    Err(error) => return Err(error),
                },
                Err(reason) => return Ok(ClaimResult::NotStartable(reason)),
            };
            let changes = self.writer.store.watch(Watch::Changes(id.clone()));
            // If a claim is written and its reply is lost, the job would wait until the lease lapses and lose an attempt.
            match self.writer.commit_or_verify(found.version, &next).await {
                Ok(version) => {
                    failpoint("after_start");
                    let leased = LeasedJob::new(next.job, version, owner.clone());
                    return Ok(ClaimResult::Claimed(Box::new(Claim { leased, permit, changes })));
                }
                // Another worker's claim, or a cancel: decide again by what the store has now.
                Err(error) if error.kind == ErrorKind::Conflict => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Decides what to do with a delivered job. The breakers are asked last, because a permit for a half-open breaker is
    /// the only one until it is used.
    fn plan_claim(&self, job: Job, now: Timestamp, lease: Lease) -> Result<ClaimPlan, TransitionError> {
        if let Some(at) = job.waits_until(now) {
            // The queue cannot delay messages. A refusal would slow down the whole subscription, and the message would be
            // published again only when it counts as lost. So the sweeper is asked to publish at the right time.
            let early = TransitionError::TooEarly { at };
            let is_due_then = job.due_at().is_some_and(|due| due <= at);
            return match job.reschedule(now) {
                Ok(next) if !is_due_then => Ok(ClaimPlan::Requeue(next, ClaimResult::NotStartable(early))),
                _ => Err(early),
            };
        }
        let policy = &self.policy;
        let next = job.clone().start(now, lease, policy)?;
        let pause = match self.breakers.permit_for_any(self.routes(&job)) {
            Ok(permit) => return Ok(ClaimPlan::Start(next, permit)),
            Err(pause) => pause,
        };
        if job.status() == Status::Queued {
            let (until, reason) = self.breakers.next_try(&pause);
            tracing::debug!(reason = reason.message, "job postponed");
            let next = job.postpone(now, until, reason, policy)?;
            Ok(ClaimPlan::Requeue(next, ClaimResult::Postponed { until }))
        } else {
            // The worker of a running job is gone. The job goes back into the queue and is delivered again from there.
            let next = job.overdue(now, policy)?;
            Ok(ClaimPlan::Requeue(next, ClaimResult::Postponed { until: now }))
        }
    }
}
