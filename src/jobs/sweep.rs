//! Sweep: whatever is overdue is published again, taken from a silent worker, failed at its deadline, or dead-lettered. What is old is
//! removed.

use tracing::Instrument as _;

use super::Jobs;
use crate::{
    domain::job::{Job, Status},
    error::{BackendError, ErrorKind},
    store::Versioned,
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

/// Jobs one sweep looks at; the caller sweeps again while there is more.
const SWEEP_LIMIT: usize = 200;

impl Jobs {
    /// Deals with overdue jobs, the most overdue first. Two sweeps at once do no harm: each change is compare-and-set.
    pub async fn sweep(&self) -> Result<Swept, BackendError> {
        let due = self.ports.store.due(self.now(), SWEEP_LIMIT).await?;
        let is_full = due.len() == SWEEP_LIMIT;
        let mut swept = Swept::default();
        let mut is_stuck = true;
        for found in due {
            let job = &found.value;
            let span = super::span(job);
            match self.sweep_one(found, &mut swept).instrument(span.clone()).await {
                Ok(moved) => is_stuck &= !moved,
                // A defect that concerns one job must not keep the sweep from all that are less overdue.
                Err(error) if error.kind == ErrorKind::Internal => {
                    span.in_scope(|| tracing::error!(%error, "overdue job cannot be dealt with"));
                }
                Err(error) => return Err(error),
            }
        }
        self.expire_uploads().await;
        let (removed, more_old) = self.remove_old().await?;
        swept.removed = removed;
        // When none could be moved, the same ones would be found again at once.
        swept.more = (is_full && !is_stuck) || more_old;
        Ok(swept)
    }

    /// Whether the job is no longer what the sweep found.
    async fn sweep_one(&self, found: Versioned<Job>, swept: &mut Swept) -> Result<bool, BackendError> {
        if found.value.dead_letter().is_some() {
            let is_out = self.publish_dead_letter(found.value, found.version).await;
            swept.dead_lettered += usize::from(is_out);
            return Ok(is_out);
        }
        let (before, operation) = (found.value.status(), found.value.operation().map(str::to_owned));
        let Ok(next) = found.value.overdue(self.now(), &self.rules.policy) else { return Ok(false) };
        let version = match self.commit(found.version, &next).await {
            Ok(version) => version,
            // Somebody touched it meanwhile, which is all the sweep wanted.
            Err(error) if error.kind == ErrorKind::Conflict => return Ok(true),
            Err(error) => return Err(error),
        };
        let job = next.job;
        let status = job.status();
        if status == Status::Queued {
            swept.published += 1;
            if before == Status::Running {
                tracing::warn!("job taken from a worker that stopped answering");
            } else {
                // A long queue does this to each of its jobs again and again: nothing is wrong with them.
                tracing::debug!("waiting job published again");
            }
        } else {
            swept.settled += 1;
            tracing::warn!(status = status.shown_as(job.kind()), "overdue job settled");
        }
        // What its worker would have stopped, had it been there.
        if let Some(operation) = operation.filter(|_| status.is_final()) {
            self.abandon(&job.id, &operation).await;
        }
        self.publish_dead_letter(job, version).await;
        Ok(true)
    }
}
