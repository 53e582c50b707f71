//! Delete a finished job with its images.

use super::Control;
use crate::{
    domain::ids::{JobId, UserId},
    error::{BackendError, ErrorKind},
    jobs::trace_id,
};

/// How often a delete is repeated when the job changes at the same time.
const MAX_TRIES: u32 = 4;

/// The result of a delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteResult {
    /// The job no longer exists.
    Deleted,
    /// The user has no such job.
    Missing,
    /// The job must be cancelled or finish first.
    NotFinished,
}

impl Control {
    /// Deletes a finished job that the user may see, with everything it stored. The ledger keeps what it cost.
    pub async fn delete(&self, user: &UserId, id: &JobId) -> Result<DeleteResult, BackendError> {
        for _ in 0..MAX_TRIES {
            let found = self.visible_jobs.get(user, id).await?;
            let Some(found) = found else { return Ok(DeleteResult::Missing) };
            if !found.value.status().is_final() {
                return Ok(DeleteResult::NotFinished);
            }
            match self.cleanup.delete_job(&found.value, found.version).await {
                Ok(()) => {
                    let (attempt, trace_id) = (found.value.attempt(), trace_id(&found.value));
                    tracing::info!(job.id = %id, attempt, trace_id, "job deleted");
                    return Ok(DeleteResult::Deleted);
                }
                // A finished job changes only when its dead letter is published or it is redriven.
                Err(error) if error.kind == ErrorKind::Conflict => {}
                Err(error) => return Err(error),
            }
        }
        Err(BackendError::new(ErrorKind::Conflict, "jobs.delete"))
    }
}
