//! Sweep: whatever is overdue is published again, taken from a silent worker, failed at its deadline, or dead-lettered.

use super::Jobs;
use crate::{
    domain::job::Status,
    error::{BackendError, ErrorKind},
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
    /// Whether there may be more than one sweep looks at.
    pub more: bool,
}

/// Jobs one sweep looks at; the caller sweeps again while there is more.
const SWEEP_LIMIT: usize = 200;

impl Jobs {
    /// Deals with overdue jobs, the most overdue first. Two sweeps at once do no harm: each change is compare-and-set.
    pub async fn sweep(&self) -> Result<Swept, BackendError> {
        let due = self.ports.store.due(self.now(), SWEEP_LIMIT).await?;
        let mut swept = Swept { more: due.len() == SWEEP_LIMIT, ..Swept::default() };
        for found in due {
            if found.value.dead_letter().is_some() {
                self.publish_dead_letter(found.value, found.version).await;
                swept.dead_lettered += 1;
                continue;
            }
            let before = found.value.status();
            let Ok(next) = found.value.overdue(self.now(), &self.rules.policy) else { continue };
            let version = match self.commit(found.version, &next).await {
                Ok(version) => version,
                // Somebody touched it meanwhile, which is all the sweep wanted.
                Err(error) if error.kind == ErrorKind::Conflict => continue,
                Err(error) => return Err(error),
            };
            let job = next.job;
            let status = job.status();
            if status == Status::Queued {
                swept.published += 1;
                tracing::info!(job.id = %job.id, was = before.shown_as(job.kind()), "overdue job published again");
            } else {
                swept.settled += 1;
                tracing::warn!(job.id = %job.id, status = status.shown_as(job.kind()), "overdue job settled");
            }
            self.publish_dead_letter(job, version).await;
        }
        self.expire_uploads().await;
        Ok(swept)
    }
}
