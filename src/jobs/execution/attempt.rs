//! Run one attempt at a claimed job, under a lease that a heartbeat keeps alive.

use std::{pin::pin, time::Duration};

use futures::{StreamExt as _, stream::FusedStream};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, Interval, MissedTickBehavior, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Execution,
    claim::Claim,
    context::{Attempt, AttemptSettings, StartedTraining},
    end::{AttemptEnd, AttemptOutcome},
    lease::{AttemptIdentity, Changes, LeasedJob},
    settle::SETTLE_RETRY,
    stored_keys::StoredKeys,
};
use crate::{
    domain::{
        clock::after,
        job::{Job, Progress, Status},
    },
    engine::AttemptContext,
    error::{BackendError, ErrorKind},
    failpoint::failpoint,
    jobs::breakers::RoutedPermit,
    store::{Version, Versioned},
};

/// The shortest time between two writes of the progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

/// The next step of the attempt's loop.
enum Step {
    RenewLease,
    RecordTraining,
    Change(Box<Result<Versioned<Job>, BackendError>>),
}

impl Execution {
    /// Works on a claimed job until it is settled, lost, cancelled, or handed back because of `stop`.
    pub async fn run_attempt(
        &self,
        claim: Claim,
        settings: &AttemptSettings,
        stop: &CancellationToken,
    ) -> Result<AttemptOutcome, BackendError> {
        let Claim { mut leased, permit, changes } = claim;
        let stored = StoredKeys::default();
        let end = self.work_until_end(&mut leased, permit, changes, settings, stop, &stored).await;
        let is_delivered = matches!(&end, Ok(AttemptEnd::Delivered(_)));
        let outcome = match end {
            Ok(end) => self.settle(&mut leased, end).await,
            Err(error) => Err(error),
        };
        let keeps_images = match &outcome {
            Ok(outcome) => *outcome == AttemptOutcome::Settled(Status::Succeeded),
            // The result may have been written, so its images stay.
            Err(_) => is_delivered,
        };
        if !keeps_images {
            self.delete_stored(&stored).await;
        }
        if let (Some(operation), Ok(outcome)) = (&leased.operation, &outcome)
            && self.must_stop_training(&leased, *outcome).await
        {
            self.cleanup.stop_training(&leased.job.id, operation).await;
        }
        if let Ok(AttemptOutcome::Settled(status)) = outcome
            && status.is_final()
            && leased.may_have_predecessors()
        {
            self.cleanup.delete_orphans(&leased.job.id, leased.fence).await;
        }
        outcome
    }

    /// The work with its heartbeat, until something ends it. A write to the store that hangs does not delay the end.
    async fn work_until_end(
        &self,
        leased: &mut LeasedJob,
        permit: RoutedPermit,
        changes: Changes,
        settings: &AttemptSettings,
        stop: &CancellationToken,
        stored: &StoredKeys,
    ) -> Result<AttemptEnd, BackendError> {
        let (progress, mut progress_updates) = watch::channel(None);
        let cx = AttemptContext { job_id: leased.job.id.clone(), attempt: leased.job.attempt(), progress };
        let job = leased.job.clone();
        let (sender, mut started_trainings) = mpsc::channel(1);
        let attempt = Attempt { job: &job, fence: leased.fence, cx: &cx, settings, stored, started: sender };
        let mut work = pin!(self.work(&attempt, permit));
        let mut changes = changes.fuse();
        let mut heartbeat = tokio::time::interval(settings.heartbeat);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeat.reset();
        let mut next_progress = Instant::now() + PROGRESS_INTERVAL;
        let mut unrecorded: Option<(StartedTraining, Instant)> = None;
        loop {
            let due_at = unrecorded.as_ref().map(|(_, at)| *at);
            let next_step = tokio::select! {
                biased;
                end = &mut work => return Ok(end),
                () = stop.cancelled() => return Ok(AttemptEnd::Stopped),
                () = renewal_due(&mut heartbeat, &mut progress_updates, next_progress) => Step::RenewLease,
                () = sleep_until_some(due_at) => Step::RecordTraining,
                Some(training) = started_trainings.recv() => {
                    leased.operation = Some(training.operation.0.clone());
                    unrecorded = Some((training, Instant::now()));
                    continue;
                }
                Some(change) = changes.next() => Step::Change(Box::new(change)),
            };
            let (identity, version) = (leased.identity.clone(), leased.version);
            let write = async {
                match next_step {
                    Step::RenewLease => {
                        let mut progress = None;
                        if Instant::now() >= next_progress && progress_updates.has_changed().unwrap_or(false) {
                            progress = *progress_updates.borrow_and_update();
                            next_progress = Instant::now() + PROGRESS_INTERVAL;
                        }
                        let end = self.renew_lease(leased, settings, progress).await;
                        heartbeat.reset();
                        end
                    }
                    Step::RecordTraining => self.record_training(leased, &mut unrecorded).await,
                    Step::Change(change) => Ok(change.map_or_else(watch_failed, |stored| leased.adopt(stored))),
                }
            };
            // A write that is dropped here may still reach the store. The next write then conflicts and reads what is there.
            let end = tokio::select! {
                biased;
                end = write => end?,
                end = &mut work => Some(end),
                () = stop.cancelled() => Some(AttemptEnd::Stopped),
                stored = interrupting_change(&mut changes, &identity, version) => leased.adopt(stored),
            };
            if let Some(end) = end {
                return Ok(end);
            }
        }
    }

    /// Whether it is this attempt that must stop the training at the provider.
    async fn must_stop_training(&self, leased: &LeasedJob, outcome: AttemptOutcome) -> bool {
        match outcome {
            AttemptOutcome::Settled(status) => status.is_final() && status != Status::Succeeded,
            // The operation was recorded, so the process that settled the job has stopped it.
            AttemptOutcome::Lost if leased.job.operation().is_some() => false,
            AttemptOutcome::Lost => match self.writer.store.get(&leased.job.id).await {
                Ok(found) => found.is_none_or(|found| found.value.status().is_final()),
                Err(_) => false,
            },
        }
    }

    /// Commits the id of a training that has been started, and only then lets the work go on.
    async fn record_training(
        &self,
        leased: &mut LeasedJob,
        unrecorded: &mut Option<(StartedTraining, Instant)>,
    ) -> Result<Option<AttemptEnd>, BackendError> {
        let Some((training, due_at)) = unrecorded else { return Ok(None) };
        let operation = &training.operation.0;
        if leased.job.operation() != Some(operation.as_str()) {
            *due_at = Instant::now();
            let Ok(next) = leased.job.clone().attach(operation.clone()) else {
                return Ok(Some(AttemptEnd::LeaseLost));
            };
            match self.writer.commit(leased.version, &next).await {
                Ok(version) => (leased.version, leased.job) = (version, next.job),
                Err(error) if error.kind == ErrorKind::Conflict => return self.reload(leased).await,
                Err(error) if error.is_transient() && !leased.lease_expired(self.now()) => {
                    tracing::warn!(%error, "recording the training failed; trying again");
                    *due_at = Instant::now() + error.retry_after.unwrap_or(SETTLE_RETRY);
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
        failpoint("after_attach");
        if let Some((training, _)) = unrecorded.take() {
            let _ = training.recorded.send(()); // the receiver waits in the same task
        }
        Ok(None)
    }

    /// Renews the lease and writes the progress, if any. While the store does not answer, each heartbeat tries again, until
    /// the lease has lapsed and another worker may have the job.
    async fn renew_lease(
        &self,
        leased: &mut LeasedJob,
        settings: &AttemptSettings,
        progress: Option<Progress>,
    ) -> Result<Option<AttemptEnd>, BackendError> {
        let now = self.now();
        let Ok(next) = leased.job.clone().renew(after(now, settings.lease), progress) else {
            return Ok(Some(AttemptEnd::LeaseLost));
        };
        let error = match self.writer.commit(leased.version, &next).await {
            Ok(version) => {
                leased.version = version;
                leased.job = next.job;
                return Ok(None);
            }
            Err(error) if error.kind == ErrorKind::Conflict => match self.reload(leased).await {
                Ok(end) => return Ok(end),
                Err(error) => error,
            },
            Err(error) => error,
        };
        if leased.lease_expired(now) {
            return Err(error);
        }
        tracing::warn!(%error, "heartbeat failed; trying again");
        Ok(None)
    }

    async fn reload(&self, leased: &mut LeasedJob) -> Result<Option<AttemptEnd>, BackendError> {
        match self.writer.store.get(&leased.job.id).await? {
            Some(stored) => Ok(leased.adopt(stored)),
            None => Ok(Some(AttemptEnd::LeaseLost)),
        }
    }
}

/// Returns when the lease must be renewed: at the next heartbeat, or sooner when there is progress to write.
async fn renewal_due(
    heartbeat: &mut Interval,
    progress_updates: &mut watch::Receiver<Option<Progress>>,
    next_progress: Instant,
) {
    let progress = async {
        sleep_until(next_progress).await;
        if progress_updates.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        progress_updates.mark_changed(); // the renewal that writes it marks it as seen
    };
    tokio::select! {
        biased;
        _ = heartbeat.tick() => {}
        () = progress => {}
    }
}

/// A failed watch ends. The heartbeat reads the same store, so it notices every interruption a little later.
#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_or_else` calls")]
fn watch_failed(error: BackendError) -> Option<AttemptEnd> {
    tracing::debug!(%error, "watching the claimed job failed");
    None
}

/// Sleeps until that moment; for ever without one.
async fn sleep_until_some(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// The first change after `version` that ends the attempt: a cancel, or another worker's claim.
async fn interrupting_change(
    changes: &mut (impl FusedStream<Item = Result<Versioned<Job>, BackendError>> + Unpin),
    identity: &AttemptIdentity,
    version: Version,
) -> Versioned<Job> {
    loop {
        match changes.next().await {
            Some(Ok(stored)) if stored.version > version && identity.interruption(&stored.value).is_some() => {
                return stored;
            }
            Some(_) => {}
            None => std::future::pending().await,
        }
    }
}
