//! Cancel a job: at once while it waits, by its worker while it runs. A finished job stays as it is.

use super::Control;
use crate::{
    domain::{
        ids::{JobId, UserId},
        job::{Job, State},
    },
    error::{BackendError, ErrorKind},
    jobs::trace_id,
    store::Versioned,
};

/// How often a cancel is repeated when the worker writes at the same time; each conflict is one heartbeat or result.
const MAX_TRIES: u32 = 8;

impl Control {
    /// Requests the end of the user's job and returns the job as it then is; `None` when the user has no such job.
    ///
    /// A finished job is returned unchanged. A running job is cancelled by its worker shortly after.
    pub async fn cancel(&self, user: &UserId, id: &JobId) -> Result<Option<Versioned<Job>>, BackendError> {
        for _ in 0..MAX_TRIES {
            let Some(found) = self.visible_jobs.get(user, id).await? else { return Ok(None) };
            let is_requested = matches!(found.value.state, State::Running { cancel_by: Some(_), .. });
            if is_requested || found.value.status().is_final() {
                return Ok(Some(found));
            }
            let Ok(next) = found.value.clone().request_cancel(self.now(), &self.policy) else {
                return Ok(Some(found));
            };
            match self.writer.commit_or_verify(found.version, &next).await {
                Ok(version) => {
                    // The job's own trace, because the request may have another; the job id connects the two.
                    let (attempt, trace_id) = (next.job.attempt(), trace_id(&next.job));
                    tracing::info!(job.id = %id, attempt, trace_id, "cancel requested");
                    let is_final = next.job.status().is_final();
                    // A waiting job ends here, so no worker will stop a training that goes on at the provider.
                    if let Some(operation) = found.value.operation().filter(|_| is_final) {
                        self.cleanup.stop_training(id, operation).await;
                    }
                    if attempt > 0 && is_final {
                        self.cleanup.delete_orphans(id, version).await;
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
