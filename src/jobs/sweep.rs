//! Sweep: whatever is overdue is published again, taken from a silent worker, failed at its deadline, or dead-lettered.
//! What is old is removed.

use std::{collections::HashSet, time::Duration};

use futures::future::join_all;
use tracing::Instrument as _;

use super::Jobs;
use crate::{
    domain::{
        clock::after,
        ids::{JobId, WorkerId},
        job::{Job, State, Status},
    },
    error::{BackendError, ErrorKind},
    store::{Version, Versioned},
};

/// What a sweep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Swept {
    /// Jobs whose message was published again.
    pub published: usize,
    /// Jobs that were failed or cancelled.
    pub settled: usize,
    /// Dead letters that were published.
    pub dead_lettered: usize,
    /// Finished jobs that were removed because of their age.
    pub removed: usize,
    /// Whether there may be more than one sweep looks at.
    pub more: bool,
}

/// What became of an overdue job.
enum Dealt {
    Published,
    Settled,
    DeadLettered,
    /// Somebody touched it meanwhile, which is all the sweep wanted.
    Elsewhere,
    /// It is as it was.
    Stuck,
}

/// Jobs one sweep deals with; the caller sweeps again while there is more.
const SWEEP_LIMIT: usize = 200;

/// Jobs that are dealt with at once: each waits for a distant store and queue, and what is behind it waits, too.
const AT_ONCE: usize = 16;

/// Jobs that one sweep can look past, because they cannot be dealt with now.
const MAX_STUCK: usize = 2000;

/// Running jobs that a start looks at, to take them from workers that are dead. What is beyond waits for its lease to lapse.
const MAX_DEAD_LEASES: usize = 10_000;

impl Jobs {
    /// Deals with overdue jobs, the most overdue first. Two sweeps at once do no harm: each change is compare-and-set.
    pub async fn sweep(&self) -> Result<Swept, BackendError> {
        let mut swept = Swept::default();
        let mut stuck: HashSet<JobId> = HashSet::new();
        let mut moved = 0;
        loop {
            let limit = SWEEP_LIMIT + stuck.len();
            let due = self.ports.store.due(self.now(), limit).await?;
            let is_full = due.len() == limit;
            let known = stuck.len();
            let fresh: Vec<_> = due.into_iter().filter(|found| !stuck.contains(&found.value.id)).collect();
            let mut broken = None;
            for some in fresh.chunks(AT_ONCE) {
                moved += self.sweep_some(some, &mut swept, &mut stuck, &mut broken).await?;
            }
            // Whatever is overdue, nothing can be written: that is no single account's damage.
            if let Some(error) = broken.filter(|_| is_full && moved == 0) {
                return Err(error);
            }
            swept.more = is_full && moved > 0;
            // A page on which nothing is stuck leaves the next one to the next sweep; one that is full of what cannot be
            // dealt with must not hide those that are less overdue.
            if !is_full || stuck.len() == known || moved >= SWEEP_LIMIT {
                break;
            }
            if stuck.len() >= MAX_STUCK {
                tracing::error!(
                    jobs = stuck.len(),
                    "too many overdue jobs cannot be dealt with; those behind them wait"
                );
                break;
            }
        }
        self.expire_uploads().await;
        let (removed, more_old) = self.remove_old().await?;
        swept.removed = removed;
        swept.more |= more_old;
        Ok(swept)
    }

    /// Deals with a few jobs at once; how many moved. What cannot be dealt with is noted as stuck.
    ///
    /// Each is brought to its end, also when one of them finds that the store does not answer: what follows a commit, such
    /// as stopping a training that costs money, must not be dropped.
    async fn sweep_some(
        &self,
        some: &[Versioned<Job>],
        swept: &mut Swept,
        stuck: &mut HashSet<JobId>,
        broken: &mut Option<BackendError>,
    ) -> Result<usize, BackendError> {
        let dealt = join_all(some.iter().map(|found| self.sweep_found(found.clone()))).await;
        let (mut moved, mut failed) = (0, None);
        for (found, dealt) in some.iter().zip(dealt) {
            match dealt {
                Ok(Dealt::Stuck) => {
                    stuck.insert(found.value.id.clone());
                    continue;
                }
                // Perhaps its user's account alone, and then each job of that user.
                Err(error) if error.kind == ErrorKind::Broken => {
                    if broken.is_none() {
                        super::span(&found.value).in_scope(|| tracing::error!(%error, "overdue jobs find broken data"));
                    }
                    stuck.insert(found.value.id.clone());
                    broken.get_or_insert(error);
                    continue;
                }
                Err(error) => {
                    failed.get_or_insert(error);
                    continue;
                }
                Ok(Dealt::Published) => swept.published += 1,
                Ok(Dealt::Settled) => swept.settled += 1,
                Ok(Dealt::DeadLettered) => swept.dead_lettered += 1,
                Ok(Dealt::Elsewhere) => {}
            }
            moved += 1;
        }
        failed.map_or(Ok(moved), Err)
    }

    /// Takes jobs from workers that are known to be dead: those that hold a lease and are not `alive`. Only for a process
    /// that has made sure that no other worker runs on the same store.
    pub async fn release_leases_of_dead_workers(
        &self,
        alive: &WorkerId,
        lease: Duration,
    ) -> Result<usize, BackendError> {
        let now = self.now();
        // Every running job is due when its lease lapses.
        let mut taken = 0;
        for found in self.ports.store.due(after(now, lease), MAX_DEAD_LEASES).await? {
            let is_dead = matches!(&found.value.state, State::Running { lease, .. } if lease.owner != *alive);
            if is_dead {
                let span = super::span(&found.value);
                taken += usize::from(self.release_lease(found).instrument(span).await?);
            }
        }
        Ok(taken)
    }

    async fn release_lease(&self, found: Versioned<Job>) -> Result<bool, BackendError> {
        let operation = found.value.operation().map(str::to_owned);
        let Ok(next) = found.value.release_dead_lease(self.now(), &self.config.policy) else { return Ok(false) };
        match self.commit_or_find(found.version, &next).await {
            Ok(version) => {
                tracing::warn!("job taken from a worker that is gone");
                self.after_taking(next.job, version, operation).await;
                Ok(true)
            }
            Err(error) if error.kind == ErrorKind::Conflict => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A defect that concerns one job must not keep the sweep from all that are less overdue.
    async fn sweep_found(&self, found: Versioned<Job>) -> Result<Dealt, BackendError> {
        let span = super::span(&found.value);
        match self.sweep_one(found).instrument(span.clone()).await {
            Err(error) if matches!(error.kind, ErrorKind::Internal | ErrorKind::Refused) => {
                span.in_scope(|| tracing::error!(%error, "overdue job cannot be dealt with"));
                Ok(Dealt::Stuck)
            }
            dealt => dealt,
        }
    }

    async fn sweep_one(&self, found: Versioned<Job>) -> Result<Dealt, BackendError> {
        if found.value.dead_letter().is_some() {
            let is_out = self.publish_dead_letter(found.value, found.version).await;
            return Ok(if is_out { Dealt::DeadLettered } else { Dealt::Stuck });
        }
        let (before, operation) = (found.value.status(), found.value.operation().map(str::to_owned));
        let Ok(next) = found.value.overdue(self.now(), &self.config.policy) else { return Ok(Dealt::Stuck) };
        let version = match self.commit_or_find(found.version, &next).await {
            Ok(version) => version,
            Err(error) if error.kind == ErrorKind::Conflict => return Ok(Dealt::Elsewhere),
            Err(error) => return Err(error),
        };
        let job = next.job;
        let status = job.status();
        let dealt = if status == Status::Queued {
            if before == Status::Running {
                tracing::warn!("job taken from a worker that stopped answering");
            } else {
                // A long queue does this to each of its jobs again and again: nothing is wrong with them.
                tracing::debug!("waiting job published again");
            }
            Dealt::Published
        } else {
            tracing::warn!(status = status.shown_as(job.kind()), "overdue job settled");
            Dealt::Settled
        };
        self.after_taking(job, version, operation).await;
        Ok(dealt)
    }

    /// What the worker of a job would have done at its end, had it been there.
    async fn after_taking(&self, job: Job, version: Version, operation: Option<String>) {
        if job.status().is_final() {
            if let Some(operation) = operation {
                self.abandon(&job.id, &operation).await;
            }
            if job.attempt() > 0 {
                self.sweep_orphans(&job.id, version).await;
            }
        }
        self.publish_dead_letter(job, version).await;
    }
}
