//! Cancel: at once while a job waits, by its worker while it runs, not at all when it is finished.

use super::Jobs;
use crate::{
    domain::{
        ids::{JobId, UserId},
        job::{Job, State},
    },
    error::{BackendError, ErrorKind},
    store::Versioned,
};

/// How often a cancel races with the worker's writes before it gives up; each round lost is one heartbeat or result.
const ROUNDS: u32 = 8;

impl Jobs {
    /// Asks for the end of the user's job and answers the job as it then is; `None` when they have no such job.
    ///
    /// A finished job is answered unchanged. A running one is cancelled by its worker shortly after.
    pub async fn cancel(&self, user: &UserId, id: &JobId) -> Result<Option<Versioned<Job>>, BackendError> {
        for _ in 0..ROUNDS {
            let Some(found) = self.get(user, id).await? else { return Ok(None) };
            let requested = matches!(found.value.state, State::Running { cancel_by: Some(_), .. });
            if requested || found.value.status().is_final() {
                return Ok(Some(found));
            }
            let Ok(next) = found.value.clone().request_cancel(self.now(), &self.config.policy) else {
                return Ok(Some(found));
            };
            match self.commit_or_find(found.version, &next).await {
                Ok(version) => {
                    // The job's own trace: the request, which may have another, is named by its id.
                    let (attempt, trace_id) = (next.job.attempt(), super::trace_id(&next.job));
                    tracing::info!(job.id = %id, attempt, trace_id, "cancel requested");
                    // A job that waited is over now, with no worker to stop a training that goes on meanwhile.
                    if let Some(operation) = found.value.operation().filter(|_| next.job.status().is_final()) {
                        self.abandon(id, operation).await;
                    }
                    if attempt > 0 && next.job.status().is_final() {
                        self.sweep_orphans(id, version).await;
                    }
                    return Ok(Some(Versioned { version, value: next.job }));
                }
                Err(error) if error.kind == ErrorKind::Conflict => {}
                Err(error) => return Err(error),
            }
        }
        Err(BackendError::new(ErrorKind::Unavailable, "jobs.cancel").because("the job keeps changing"))
    }
}
