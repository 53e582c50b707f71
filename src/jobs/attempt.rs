//! Claim a job and run one attempt at it, under a lease that a heartbeat keeps alive.

use std::{pin::pin, time::Duration};

use futures::StreamExt as _;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, Interval, MissedTickBehavior, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Jobs,
    perform::{Attempt, StoredKeys},
    settle::{SETTLE_RETRY, Settled},
    training::Begun,
};
use crate::{
    domain::{
        Timestamp,
        clock::after,
        ids::{JobId, WorkerId},
        job::{Job, Lease, Progress, State, Status, TransitionError},
    },
    engine::AttemptContext,
    error::{BackendError, ErrorKind},
    store::{Version, Versioned, Watch},
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

/// A job that this worker holds. Writing under its version is what keeps a late worker out.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The job, running under our lease.
    pub job: Job,
    /// The version we last wrote or accepted.
    pub version: Version,
    /// The version our claim made: unique among all attempts, so it names what this one stores.
    pub fence: Version,
    owner: WorkerId,
}

/// What came of an attempt to claim.
#[derive(Debug)]
pub enum Claimed {
    /// The job is ours.
    Ours(Box<Claim>),
    /// There is nothing to do now; the reason says why.
    Nothing(TransitionError),
    /// No such job.
    Missing,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The job moved to this status by our commit.
    Settled(Status),
    /// Somebody else has the job now; what we made was dropped.
    Lost,
}

pub(super) enum Event {
    Done(Settled),
    Stop,
    Cancel,
    Lost,
}

impl Jobs {
    /// Claims a job for `owner`. Duplicates, finished jobs and jobs leased elsewhere are `Nothing`.
    pub async fn claim(&self, id: &JobId, owner: &WorkerId, lease: Duration) -> Result<Claimed, BackendError> {
        loop {
            let Some(found) = self.ports.store.get(id).await? else { return Ok(Claimed::Missing) };
            let now = self.now();
            let lease = Lease { owner: owner.clone(), expires_at: after(now, lease) };
            let next = match found.value.start(now, lease, &self.rules.policy) {
                Ok(next) => next,
                Err(reason) => return Ok(Claimed::Nothing(reason)),
            };
            match self.commit(found.version, &next).await {
                Ok(version) => {
                    let claim = Claim { job: next.job, version, fence: version, owner: owner.clone() };
                    return Ok(Claimed::Ours(Box::new(claim)));
                }
                // Somebody else's claim, or a cancel: what is there now decides.
                Err(error) if error.kind == ErrorKind::Conflict => {}
                // It may have been written all the same. A claim that nobody works on would hold the job up until its
                // lease lapses, and cost it an attempt.
                Err(error) if error.kind == ErrorKind::Timeout => {
                    let written = self.ports.store.get(id).await?.filter(|now| now.value == next.job);
                    let Some(Versioned { version, value: job }) = written else { return Err(error) };
                    let claim = Claim { job, version, fence: version, owner: owner.clone() };
                    return Ok(Claimed::Ours(Box::new(claim)));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Works on a claimed job until it is settled, lost, cancelled, or `stop` says to hand it back.
    pub async fn run_attempt(
        &self,
        mut claim: Claim,
        settings: &AttemptSettings,
        stop: &CancellationToken,
    ) -> Result<Outcome, BackendError> {
        let (progress, mut reached) = watch::channel(None);
        let cx = AttemptContext { job_id: claim.job.id.clone(), attempt: claim.job.attempt(), progress };
        let stored = StoredKeys::default();
        let mut operation = claim.job.operation().map(str::to_owned);
        let ended = {
            let job = claim.job.clone();
            let (sender, mut begun) = mpsc::channel(1);
            let attempt = Attempt { job: &job, fence: claim.fence, cx: &cx, settings, stored: &stored, begun: sender };
            let mut work = pin!(self.perform(&attempt));
            let mut changes = self.ports.store.watch(Watch::Job(claim.job.id.clone())).fuse();
            let mut heartbeat = tokio::time::interval(settings.heartbeat);
            heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
            heartbeat.reset();
            let mut next_progress = Instant::now() + PROGRESS_EVERY;
            loop {
                let event = tokio::select! {
                    biased;
                    settled = &mut work => Ok(Some(Event::Done(settled))),
                    () = stop.cancelled() => Ok(Some(Event::Stop)),
                    () = due(&mut heartbeat, &mut reached, next_progress) => {
                        let mut progress = None;
                        if Instant::now() >= next_progress && reached.has_changed().unwrap_or(false) {
                            progress = *reached.borrow_and_update();
                            next_progress = Instant::now() + PROGRESS_EVERY;
                        }
                        let event = self.beat(&mut claim, settings, progress).await;
                        heartbeat.reset();
                        event
                    }
                    Some(begun) = begun.recv() => {
                        operation = Some(begun.operation.0.clone());
                        self.attach(&mut claim, begun).await
                    }
                    Some(change) = changes.next() => match change {
                        Ok(now) => Ok(claim.adopt(now)),
                        // The heartbeat reads the same store and decides; a watch that fails, and thereby ends, only
                        // makes it slower.
                        Err(error) => {
                            tracing::debug!(%error, "watching the claimed job failed");
                            Ok(None)
                        }
                    },
                };
                match event {
                    Ok(None) => {}
                    Ok(Some(event)) => break Ok(event),
                    Err(error) => break Err(error),
                }
            }
        };
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
        if let (Some(operation), Ok(outcome)) = (operation, &outcome)
            && self.orphaned(&claim, *outcome).await
        {
            self.abandon(&claim.job.id, &operation).await;
        }
        outcome
    }

    /// Whether nobody else will stop the training of an attempt that ended like this.
    async fn orphaned(&self, claim: &Claim, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Settled(status) => status.is_final() && status != Status::Succeeded,
            // Whoever settled the job knew the operation and stopped it.
            Outcome::Lost if claim.job.operation().is_some() => false,
            Outcome::Lost => match self.ports.store.get(&claim.job.id).await {
                Ok(found) => found.is_none_or(|found| found.value.status().is_final()),
                Err(_) => false,
            },
        }
    }

    /// Commits the name of a training that has begun, and only then lets the work go on.
    async fn attach(&self, claim: &mut Claim, begun: Begun) -> Result<Option<Event>, BackendError> {
        loop {
            let Ok(next) = claim.job.clone().attach(begun.operation.0.clone()) else { return Ok(Some(Event::Lost)) };
            match self.commit(claim.version, &next).await {
                Ok(version) => {
                    (claim.version, claim.job) = (version, next.job);
                    let _ = begun.known.send(()); // the receiver waits in the same task
                    return Ok(None);
                }
                Err(error) if error.kind == ErrorKind::Conflict => {
                    if let Some(event) = self.refresh(claim).await? {
                        return Ok(Some(event));
                    }
                }
                Err(error) if error.is_transient() && !claim.lease_expired(self.now()) => {
                    tracing::warn!(%error, "recording the training failed; trying again");
                    sleep(error.retry_after.unwrap_or(SETTLE_RETRY)).await;
                }
                Err(error) => return Err(error),
            }
        }
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
        let error = match self.commit(claim.version, &next).await {
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
        match self.ports.store.get(&claim.job.id).await? {
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

impl Claim {
    /// Takes over what somebody else wrote, if the job is still ours.
    pub(super) fn adopt(&mut self, now: Versioned<Job>) -> Option<Event> {
        if now.version <= self.version {
            return None;
        }
        match &now.value.state {
            State::Running { attempt, lease, started_at, cancel_by, .. }
                if lease.owner == self.owner
                    && *attempt == self.job.attempt()
                    // An attempt that was given back and started again by this very worker bears the same number.
                    && Some(*started_at) == self.started_at() =>
            {
                let cancel = cancel_by.is_some();
                self.version = now.version;
                self.job = now.value;
                cancel.then_some(Event::Cancel)
            }
            _ => Some(Event::Lost),
        }
    }

    fn started_at(&self) -> Option<Timestamp> {
        match &self.job.state {
            State::Running { started_at, .. } => Some(*started_at),
            _ => None,
        }
    }

    /// Whether anybody may have taken over by now.
    pub(super) fn lease_expired(&self, now: Timestamp) -> bool {
        match &self.job.state {
            State::Running { lease, .. } => lease.expires_at <= now,
            _ => true,
        }
    }
}
