//! Retention: remove finished jobs by age, with their images, where the configuration says so.

use super::Maintenance;
use crate::{
    domain::{Timestamp, job::Job},
    error::{BackendError, ErrorKind},
    jobs::trace_id,
    store::Versioned,
};

/// How many jobs one sweep removes: few enough that overdue jobs do not wait for them.
const BATCH: usize = 50;

impl Maintenance {
    /// Removes a batch of jobs whose retention has ended. Returns how many, and whether there may be more.
    pub(super) async fn remove_old_jobs(&self) -> Result<(usize, bool), BackendError> {
        let Some(retention) = self.retention else { return Ok((0, false)) };
        let before = self.now().checked_sub(retention).unwrap_or(Timestamp::MIN);
        let old = self.writer.store.removable(before, BATCH).await?;
        let is_full = old.len() == BATCH;
        let mut removed = 0;
        for found in old {
            removed += usize::from(self.remove_if_unchanged(&found).await?);
        }
        if removed > 0 {
            tracing::info!(jobs = removed, "jobs removed at the end of their retention");
        }
        Ok((removed, is_full && removed > 0))
    }

    /// Removes a job unless it has changed since it was found, and returns whether it did.
    async fn remove_if_unchanged(&self, found: &Versioned<Job>) -> Result<bool, BackendError> {
        let job = &found.value;
        // Read it again just before its images are deleted: after a redrive, the images of the new run must stay.
        let current = self.writer.store.get(&job.id).await?;
        if current.is_none_or(|current| current.version != found.version) {
            return Ok(false);
        }
        match self.cleanup.delete_job(job, found.version).await {
            Ok(()) => {
                tracing::debug!(job.id = %job.id, trace_id = trace_id(job), "job removed by age");
                Ok(true)
            }
            Err(error) if error.kind == ErrorKind::Conflict => Ok(false),
            Err(error) => Err(error),
        }
    }
}
