//! Release the leases of workers that are known to be dead.

use std::time::Duration;

use tracing::Instrument as _;

use super::Maintenance;
use crate::{
    domain::{
        clock::after,
        ids::WorkerId,
        job::{Job, State},
    },
    error::{BackendError, ErrorKind},
    store::Versioned,
};

/// How many running jobs are examined at the start. The others wait until their leases lapse.
const MAX_EXAMINED: usize = 10_000;

impl Maintenance {
    /// Takes jobs from dead workers, which are all lease holders except `alive`, and returns how many. Call this only in a
    /// process that has made sure that no other worker uses the same store.
    pub async fn release_leases_of_dead_workers(
        &self,
        alive: &WorkerId,
        lease: Duration,
    ) -> Result<usize, BackendError> {
        let now = self.now();
        // Every running job is due when its lease lapses.
        let mut taken = 0;
        for found in self.writer.store.due(after(now, lease), MAX_EXAMINED).await? {
            let is_dead = matches!(&found.value.state, State::Running { lease, .. } if lease.owner != *alive);
            if is_dead {
                let span = crate::jobs::span(&found.value);
                taken += usize::from(self.release_lease(found).instrument(span).await?);
            }
        }
        Ok(taken)
    }

    async fn release_lease(&self, found: Versioned<Job>) -> Result<bool, BackendError> {
        let operation = found.value.operation().map(str::to_owned);
        let Ok(next) = found.value.release_dead_lease(self.now(), &self.policy) else { return Ok(false) };
        match self.writer.commit_or_verify(found.version, &next).await {
            Ok(version) => {
                tracing::warn!("job taken from a worker that is gone");
                self.finish_taken_job(next.job, version, operation).await;
                Ok(true)
            }
            Err(error) if error.kind == ErrorKind::Conflict => Ok(false),
            Err(error) => Err(error),
        }
    }
}
