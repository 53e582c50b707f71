//! Run one attempt at a claimed job, under a lease that a heartbeat keeps alive.

use std::{
    pin::pin,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt as _, stream::FusedStream};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, Interval, MissedTickBehavior, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Execution,
    claim::{Claim, Mark},
    illustration::{Attempt, StoredKeys},
    settle::{SETTLE_RETRY, Settled},
    training::Begun,
};
use crate::{
    domain::{
        clock::after,
        job::{Job, Progress, Status},
    },
    engine::AttemptContext,
    error::{BackendError, ErrorKind},
    failpoint::failpoint,
    store::Versioned,
};

/// How long an attempt may be silent, and how long it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptSettings {
    /// How long a claim lasts without a heartbeat.
    pub lease: Duration,
    /// How often it is renewed.
    pub heartbeat: Duration,
    /// How long one call of an engine may take. A training takes as long as it takes, up to the job's deadline.
    pub timeout: Duration,
    /// How often a training is asked how far it is.
    pub poll_every: Duration,
}

/// Progress is written this often, at most; and as often while it changes.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The job moved to this status by our commit.
    Settled(Status),
    /// Somebody else has the job now; what we made was dropped.
    Lost,
}

/// What the loop of an attempt does next.
enum NextStep {
    Beat,
    Attach,
    Change(Box<Result<Versioned<Job>, BackendError>>),
}

pub(super) enum Event {
    Done(Settled),
    Stop,
    Cancel,
    Lost,
}

impl Execution {
    /// Works on a claimed job until it is settled, lost, cancelled, or `stop` says to hand it back.
    pub async fn run_attempt(
        &self,
        mut claim: Claim,
        settings: &AttemptSettings,
        stop: &CancellationToken,
    ) -> Result<Outcome, BackendError> {
        let stored = StoredKeys::default();
        let ended = self.work(&mut claim, settings, stop, &stored).await;
        let delivers = matches!(&ended, Ok(Event::Done(Settled::Delivered(_))));
        let outcome = match ended {
            Ok(Event::Done(settled)) => self.settle(&mut claim, settled).await,
            Ok(Event::Stop) => self.settle(&mut claim, Settled::HandedBack).await,
            Ok(Event::Cancel) => self.settle(&mut claim, Settled::Cancelled).await,
            Ok(Event::Lost) => Ok(Outcome::Lost),
            Err(error) => Err(error),
        };
        let count = match &outcome {
            Ok(outcome) => *outcome == Outcome::Settled(Status::Succeeded),
            // It is open whether the result was written, so its pictures stay.
            Err(_) => delivers,
        };
        if !count {
            self.drop_stored(&stored).await;
        }
        if let (Some(operation), Ok(outcome)) = (&claim.operation, &outcome)
            && self.orphaned(&claim, *outcome).await
        {
            self.cleanup.stop_training(&claim.job.id, operation).await;
        }
        if let Ok(Outcome::Settled(status)) = outcome
            && status.is_final()
            && claim.may_have_predecessors()
        {
            self.cleanup.delete_orphans(&claim.job.id, claim.fence).await;
        }
        outcome
    }

    /// The attempt itself, with its heartbeat, until something ends it. A write that hangs holds none of it up.
    async fn work(
        &self,
        claim: &mut Claim,
        settings: &AttemptSettings,
        stop: &CancellationToken,
        stored: &StoredKeys,
    ) -> Result<Event, BackendError> {
        let (progress, mut reached) = watch::channel(None);
        let cx = AttemptContext { job_id: claim.job.id.clone(), attempt: claim.job.attempt(), progress };
        let job = claim.job.clone();
        let permit = Mutex::new(claim.permit.lock().unwrap_or_else(PoisonError::into_inner).take());
        let (sender, mut begun) = mpsc::channel(1);
        let attempt = Attempt { job: &job, fence: claim.fence, cx: &cx, settings, stored, begun: sender, permit };
        let mut work = pin!(self.run_work(&attempt));
        let mut changes = claim.changes.take().fuse();
        let mut heartbeat = tokio::time::interval(settings.heartbeat);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeat.reset();
        let mut next_progress = Instant::now() + PROGRESS_EVERY;
        let mut attaching: Option<(Begun, Instant)> = None;
        loop {
            let try_at = attaching.as_ref().map(|(_, at)| *at);
            let step = tokio::select! {
                biased;
                settled = &mut work => return Ok(Event::Done(settled)),
                () = stop.cancelled() => return Ok(Event::Stop),
                () = due(&mut heartbeat, &mut reached, next_progress) => NextStep::Beat,
                () = at(try_at) => NextStep::Attach,
                Some(begun) = begun.recv() => {
                    claim.operation = Some(begun.operation.0.clone());
                    attaching = Some((begun, Instant::now()));
                    continue;
                }
                Some(change) = changes.next() => NextStep::Change(Box::new(change)),
            };
            let mark = claim.mark();
            let write = async {
                match step {
                    NextStep::Beat => {
                        let mut progress = None;
                        if Instant::now() >= next_progress && reached.has_changed().unwrap_or(false) {
                            progress = *reached.borrow_and_update();
                            next_progress = Instant::now() + PROGRESS_EVERY;
                        }
                        let event = self.beat(claim, settings, progress).await;
                        heartbeat.reset();
                        event
                    }
                    NextStep::Attach => self.attach(claim, &mut attaching).await,
                    NextStep::Change(change) => Ok(change.map_or_else(unwatched, |now| claim.adopt(now))),
                }
            };
            // Dropped, a write may still happen; the next one then conflicts, and reads what is there.
            let event = tokio::select! {
                biased;
                event = write => event?,
                settled = &mut work => Some(Event::Done(settled)),
                () = stop.cancelled() => Some(Event::Stop),
                now = ending(&mut changes, &mark) => claim.adopt(now),
            };
            if let Some(event) = event {
                return Ok(event);
            }
        }
    }

    /// Whether nobody else will stop the training of an attempt that ended like this.
    async fn orphaned(&self, claim: &Claim, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Settled(status) => status.is_final() && status != Status::Succeeded,
            // Whoever settled the job knew the operation and stopped it.
            Outcome::Lost if claim.job.operation().is_some() => false,
            Outcome::Lost => match self.writer.store.get(&claim.job.id).await {
                Ok(found) => found.is_none_or(|found| found.value.status().is_final()),
                Err(_) => false,
            },
        }
    }

    /// Commits the name of a training that has begun, and only then lets the work go on.
    async fn attach(
        &self,
        claim: &mut Claim,
        attaching: &mut Option<(Begun, Instant)>,
    ) -> Result<Option<Event>, BackendError> {
        let Some((begun, try_at)) = attaching else { return Ok(None) };
        if claim.job.operation() != Some(begun.operation.0.as_str()) {
            *try_at = Instant::now();
            let Ok(next) = claim.job.clone().attach(begun.operation.0.clone()) else { return Ok(Some(Event::Lost)) };
            match self.writer.commit(claim.version, &next).await {
                Ok(version) => (claim.version, claim.job) = (version, next.job),
                Err(error) if error.kind == ErrorKind::Conflict => return self.refresh(claim).await,
                Err(error) if error.is_transient() && !claim.lease_expired(self.now()) => {
                    tracing::warn!(%error, "recording the training failed; trying again");
                    *try_at = Instant::now() + error.retry_after.unwrap_or(SETTLE_RETRY);
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
        failpoint("after_attach");
        if let Some((begun, _)) = attaching.take() {
            let _ = begun.known.send(()); // the receiver waits in the same task
        }
        Ok(None)
    }

    /// Renews the lease and writes the progress, if there is any. A store that does not answer is tried again at the next
    /// beat, until the lease has lapsed and the job may be somebody else's.
    async fn beat(
        &self,
        claim: &mut Claim,
        settings: &AttemptSettings,
        progress: Option<Progress>,
    ) -> Result<Option<Event>, BackendError> {
        let now = self.now();
        let Ok(next) = claim.job.clone().renew(after(now, settings.lease), progress) else {
            return Ok(Some(Event::Lost));
        };
        let error = match self.writer.commit(claim.version, &next).await {
            Ok(version) => {
                claim.version = version;
                claim.job = next.job;
                return Ok(None);
            }
            Err(error) if error.kind == ErrorKind::Conflict => match self.refresh(claim).await {
                Ok(event) => return Ok(event),
                Err(error) => error,
            },
            Err(error) => error,
        };
        if claim.lease_expired(now) {
            return Err(error);
        }
        tracing::warn!(%error, "heartbeat failed; trying again");
        Ok(None)
    }

    async fn refresh(&self, claim: &mut Claim) -> Result<Option<Event>, BackendError> {
        match self.writer.store.get(&claim.job.id).await? {
            Some(now) => Ok(claim.adopt(now)),
            None => Ok(Some(Event::Lost)),
        }
    }
}

/// Returns when the lease is to be renewed: after a heartbeat's time, or sooner when there is progress to be written.
async fn due(heartbeat: &mut Interval, reached: &mut watch::Receiver<Option<Progress>>, next_progress: Instant) {
    let progress = async {
        sleep_until(next_progress).await;
        if reached.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        reached.mark_changed(); // whoever writes it marks it as seen
    };
    tokio::select! {
        biased;
        _ = heartbeat.tick() => {}
        () = progress => {}
    }
}

/// The heartbeat reads the same store and decides; a watch that fails, and thereby ends, only makes it slower.
#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_or_else` asks for")]
fn unwatched(error: BackendError) -> Option<Event> {
    tracing::debug!(%error, "watching the claimed job failed");
    None
}

/// Returns at that moment; never without one.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// The first change that ends the attempt: a cancel, or somebody else's claim.
async fn ending(
    changes: &mut (impl FusedStream<Item = Result<Versioned<Job>, BackendError>> + Unpin),
    mark: &Mark,
) -> Versioned<Job> {
    loop {
        match changes.next().await {
            Some(Ok(now)) if mark.is_ended_by(&now) => return now,
            Some(_) => {}
            None => std::future::pending().await,
        }
    }
}
