//! Delete: a finished job with its pictures.

use super::Jobs;
use crate::{
    domain::{
        ids::{JobId, UserId},
        job::Job,
    },
    error::{BackendError, ErrorKind},
    media::MediaKey,
    store::Version,
};

/// How often a delete races with the last writes to a finished job before it gives up.
const ROUNDS: u32 = 4;

/// What came of a delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// It is gone.
    Deleted,
    /// The user has no such job.
    Missing,
    /// It must be cancelled or finish first.
    NotFinished,
}

impl Jobs {
    /// Deletes a finished job that the user may see, with everything it stored. The ledger keeps what it cost.
    pub async fn delete(&self, user: &UserId, id: &JobId) -> Result<Deletion, BackendError> {
        for _ in 0..ROUNDS {
            let Some(found) = self.get(user, id).await? else { return Ok(Deletion::Missing) };
            if !found.value.status().is_final() {
                return Ok(Deletion::NotFinished);
            }
            match self.erase(&found.value, found.version).await {
                Ok(()) => {
                    let (attempt, trace_id) = (found.value.attempt(), super::trace_id(&found.value));
                    tracing::info!(job.id = %id, attempt, trace_id, "job deleted");
                    return Ok(Deletion::Deleted);
                }
                // Its dead letter was published meanwhile; nothing else changes a finished job, short of a redrive.
                Err(error) if error.kind == ErrorKind::Conflict => {}
                Err(error) => return Err(error),
            }
        }
        Err(BackendError::new(ErrorKind::Conflict, "jobs.delete"))
    }

    /// Removes a finished job with everything it stored, if it still is at `version`; a conflict otherwise.
    pub(super) async fn erase(&self, job: &Job, version: Version) -> Result<(), BackendError> {
        // Pictures first: what dies in between can be deleted again, while pictures without a job are never found.
        self.ports.media.delete_prefix(&MediaKey::job_prefix(&job.user, &job.id)).await?;
        self.ports.store.delete(&job.id, version).await
    }
}
