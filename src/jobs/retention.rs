//! Retention: finished jobs are removed by age, with their pictures, where the configuration says so.

use super::Jobs;
use crate::{
    domain::{Timestamp, job::Job},
    error::{BackendError, ErrorKind},
    store::Versioned,
};

/// Jobs one sweep removes: few enough that what is overdue does not wait for them.
const BATCH: usize = 50;

impl Jobs {
    /// Removes a batch of jobs whose retention has ended. How many, and whether there may be more.
    pub(super) async fn remove_old(&self) -> Result<(usize, bool), BackendError> {
        let Some(retention) = self.config.retention else { return Ok((0, false)) };
        let before = self.now().checked_sub(retention).unwrap_or(Timestamp::MIN);
        let old = self.ports.store.removable(before, BATCH).await?;
        let is_full = old.len() == BATCH;
        let mut removed = 0;
        for found in old {
            removed += usize::from(self.remove_one(&found).await?);
        }
        if removed > 0 {
            tracing::info!(jobs = removed, "jobs removed at the end of their retention");
        }
        Ok((removed, is_full && removed > 0))
    }

    /// Whether the job was removed: not when somebody has run it again since it was found.
    async fn remove_one(&self, found: &Versioned<Job>) -> Result<bool, BackendError> {
        let job = &found.value;
        // Asked once more, just before its pictures go: those of a new run must stay.
        let now = self.ports.store.get(&job.id).await?;
        if now.is_none_or(|now| now.version != found.version) {
            return Ok(false);
        }
        match self.erase(job, found.version).await {
            Ok(()) => {
                tracing::debug!(job.id = %job.id, trace_id = super::trace_id(job), "job removed by age");
                Ok(true)
            }
            Err(error) if error.kind == ErrorKind::Conflict => Ok(false),
            Err(error) => Err(error),
        }
    }
}
