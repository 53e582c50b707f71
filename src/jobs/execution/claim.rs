//! Claim: the exclusive right to one attempt, by compare-and-set, and only while the engine may be called.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::stream::BoxStream;

use super::{Execution, attempt::Event, breakers::Permit};
use crate::{
    domain::{
        Timestamp,
        clock::after,
        ids::{JobId, WorkerId},
        job::{Job, Lease, State, Status, Transition, TransitionError},
    },
    error::{BackendError, ErrorKind},
    failpoint::failpoint,
    store::{Version, Versioned, Watch},
};

/// A job that this worker holds. Writing under its version is what keeps a late worker out.
#[derive(Debug)]
pub struct Claim {
    /// The job, running under our lease.
    pub job: Job,
    /// The version we last wrote or accepted.
    pub version: Version,
    /// The version our claim made: unique among all attempts, so it names what this one stores.
    pub fence: Version,
    owner: WorkerId,
    /// The provider's operation of this job, also while its name is not recorded yet.
    pub(super) operation: Option<String>,
    /// The right to call the engine, until it is used.
    pub(super) permit: Mutex<Option<Permit>>,
    pub(super) changes: Changes,
}

type Change = Result<Versioned<Job>, BackendError>;

/// What became of the job since it was claimed; watched from before the claim was written, so that nothing is missed.
pub(super) struct Changes(Mutex<Option<BoxStream<'static, Change>>>);

impl Changes {
    /// Of an attempt, once.
    pub(super) fn take(&self) -> BoxStream<'static, Change> {
        let changes = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        changes.unwrap_or_else(|| Box::pin(futures::stream::pending()))
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Changes")
    }
}

/// What came of an attempt to claim.
#[derive(Debug)]
pub enum Claimed {
    /// The job is ours.
    Ours(Box<Claim>),
    /// There is nothing to do now; the reason says why.
    Nothing(TransitionError),
    /// Its engine is left alone for now: the job waits in the queue, and no attempt was begun.
    Postponed {
        /// When it is delivered again.
        until: Timestamp,
    },
    /// No such job.
    Missing,
}

/// What is to be done with a job whose message has come.
enum Ask {
    Start(Transition, Permit),
    Later(Transition, Claimed),
    Never(TransitionError),
}

impl Execution {
    /// Claims a job for `owner`. Duplicates, finished jobs and jobs leased elsewhere are `Nothing`; a job whose engine is
    /// left alone is postponed.
    pub async fn claim(&self, id: &JobId, owner: &WorkerId, lease: Duration) -> Result<Claimed, BackendError> {
        let mut recent = self.claim_cache.take(id);
        loop {
            let is_recent = recent.is_some();
            let found = match recent.take() {
                Some(job) => job,
                None => match self.writer.store.get(id).await? {
                    Some(job) => job,
                    None => return Ok(Claimed::Missing),
                },
            };
            let now = self.now();
            let lease = Lease { owner: owner.clone(), expires_at: after(now, lease) };
            let (next, permit) = match self.ask_to_start(found.value, now, lease) {
                Ask::Start(next, permit) => (next, permit),
                // What is only remembered is good for a start, which the store checks, and for nothing else.
                _ if is_recent => continue,
                Ask::Later(next, answer) => match self.writer.commit(found.version, &next).await {
                    Ok(_) => return Ok(answer),
                    Err(error) if error.kind == ErrorKind::Conflict => continue,
                    Err(error) => return Err(error),
                },
                Ask::Never(reason) => return Ok(Claimed::Nothing(reason)),
            };
            let changes = self.writer.store.watch(Watch::Changes(id.clone()));
            let ours = |job: Job, version: Version| {
                let (permit, changes) = (Mutex::new(Some(permit)), Changes(Mutex::new(Some(changes))));
                let (owner, operation) = (owner.clone(), job.operation().map(str::to_owned));
                Ok(Claimed::Ours(Box::new(Claim { job, version, fence: version, owner, operation, permit, changes })))
            };
            // A claim that nobody works on would hold the job up until its lease lapses, and cost it an attempt.
            match self.writer.commit_or_verify(found.version, &next).await {
                Ok(version) => {
                    failpoint("after_start");
                    return ours(next.job, version);
                }
                // Somebody else's claim, or a cancel: what is there now decides.
                Err(error) if error.kind == ErrorKind::Conflict => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// What is to be done with a job whose message has come. Nothing is written yet.
    fn ask_to_start(&self, job: Job, now: Timestamp, lease: Lease) -> Ask {
        if let Some(at) = job.waits_until(now) {
            // The queue that brought it cannot wait. To refuse the message would slow the whole subscription down, and
            // the next one is due only when a message is lost: the sweeper is asked to publish when the time has come.
            let early = Claimed::Nothing(TransitionError::TooEarly { at });
            let is_due = job.due_at().is_some_and(|due| due <= at);
            return match job.reschedule(now) {
                Ok(next) if !is_due => Ask::Later(next, early),
                _ => Ask::Never(TransitionError::TooEarly { at }),
            };
        }
        let policy = &self.policy;
        let pause = match self.ask_engine(&job) {
            Ok(permit) => {
                return job.start(now, lease, policy).map_or_else(Ask::Never, |next| Ask::Start(next, permit));
            }
            Err(pause) => pause,
        };
        if let Err(reason) = job.clone().start(now, lease, policy) {
            return Ask::Never(reason);
        }
        let later = if job.status() == Status::Queued {
            let (until, reason) = self.breakers.come_back(&pause);
            tracing::debug!(reason = reason.message, "job postponed");
            job.postpone(now, until, reason, policy).map(|next| (next, Claimed::Postponed { until }))
        } else {
            // Its worker is gone. It goes back into the queue, and is asked for again from there.
            job.overdue(now, policy).map(|next| (next, Claimed::Postponed { until: now }))
        };
        later.map_or_else(Ask::Never, |(next, answer)| Ask::Later(next, answer))
    }
}

/// Tells the state of one attempt from those of others.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    version: Version,
    owner: WorkerId,
    attempt: u32,
    started_at: Option<Timestamp>,
}

impl Mark {
    /// Whether the job is still this attempt's, and if so, whether it is to be cancelled.
    fn reads(&self, now: &Job) -> Option<bool> {
        match &now.state {
            State::Running { attempt, lease, started_at, cancel_by, .. } => {
                // An attempt that was given back and started again by this very worker bears the same number.
                let is_ours =
                    lease.owner == self.owner && *attempt == self.attempt && Some(*started_at) == self.started_at;
                is_ours.then_some(cancel_by.is_some())
            }
            _ => None,
        }
    }

    /// Whether this news ends the attempt.
    pub(super) fn is_ended_by(&self, now: &Versioned<Job>) -> bool {
        now.version > self.version && self.reads(&now.value) != Some(false)
    }
}

impl Claim {
    /// Takes over what somebody else wrote, if the job is still ours.
    pub(super) fn adopt(&mut self, now: Versioned<Job>) -> Option<Event> {
        if now.version <= self.version {
            return None;
        }
        match self.mark().reads(&now.value) {
            Some(cancel) => {
                self.version = now.version;
                self.job = now.value;
                cancel.then_some(Event::Cancel)
            }
            None => Some(Event::Lost),
        }
    }

    pub(super) fn mark(&self) -> Mark {
        let started_at = match &self.job.state {
            State::Running { started_at, .. } => Some(*started_at),
            _ => None,
        };
        Mark { version: self.version, owner: self.owner.clone(), attempt: self.job.attempt(), started_at }
    }

    /// Whether anybody may have taken over by now.
    pub(super) fn lease_expired(&self, now: Timestamp) -> bool {
        match &self.job.state {
            State::Running { lease, .. } => lease.expires_at <= now,
            _ => true,
        }
    }

    /// Whether somebody may have worked on the job before: a first claim follows the submission at once.
    pub(super) fn may_have_predecessors(&self) -> bool {
        self.job.attempt() > 1 || self.fence > Version(2)
    }
}
