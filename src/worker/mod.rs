//! The worker: takes pushes, waits for a free slot, claims, and works under a lease; sweeps what is overdue.

mod delivery;
pub mod envelope;
mod observe;
mod push;
mod sweeper;

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    domain::{
        clock::{Clock, Random},
        ids::WorkerId,
    },
    identity::Oidc,
    jobs::{AttemptSettings, Execution, Maintenance, Readiness, UseCases},
};

pub use push::router;
pub use sweeper::{check_until, sweep_until};

/// How a worker works.
#[derive(Debug, Clone, Copy)]
pub struct WorkerSettings {
    /// Attempts that run at once.
    pub slots: usize,
    /// Lease, heartbeat and time limit of an attempt.
    pub attempt: AttemptSettings,
    /// Whether a push is answered once the job is claimed (`true`) or only when it is done.
    pub ack_on_claim: bool,
    /// How long a push may wait for a free slot.
    pub slot_wait: Duration,
    /// How often overdue jobs are looked for.
    pub sweep_every: Duration,
    /// How long the body of a push may take to arrive.
    pub body_timeout: Duration,
    /// Requests in hand at once, pushes that wait for a slot among them; `None`: any number.
    pub requests: Option<NonZeroUsize>,
}

/// A worker process: its slots and what it needs to shut down in order.
#[derive(Clone)]
pub struct Worker {
    execution: Arc<Execution>,
    maintenance: Arc<Maintenance>,
    readiness: Arc<Readiness>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    settings: WorkerSettings,
    id: WorkerId,
    slots: Arc<Semaphore>,
    permits: Option<Arc<Semaphore>>,
    /// Who may push and call for a sweep; `None`: anybody.
    callers: Option<Arc<Oidc>>,
    /// No new claims once this is cancelled.
    draining: CancellationToken,
    /// Running attempts hand their jobs back once this is cancelled.
    stop: CancellationToken,
    attempts: TaskTracker,
}

impl Worker {
    /// A worker of these settings. `draining` ends claiming; `stop`, later, ends running attempts.
    pub fn new(
        jobs: &UseCases,
        settings: WorkerSettings,
        id: WorkerId,
        draining: CancellationToken,
        stop: CancellationToken,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(settings.slots));
        let permits = |requests: NonZeroUsize| Arc::new(Semaphore::new(requests.get().min(Semaphore::MAX_PERMITS)));
        let permits = settings.requests.map(permits);
        Self {
            execution: Arc::clone(&jobs.execution),
            maintenance: Arc::clone(&jobs.maintenance),
            readiness: Arc::clone(&jobs.readiness),
            clock: Arc::clone(&jobs.clock),
            random: Arc::clone(&jobs.random),
            settings,
            id,
            slots,
            permits,
            callers: None,
            draining,
            stop,
            attempts: TaskTracker::new(),
        }
    }

    /// The same, closed to everybody but these callers.
    #[must_use]
    pub fn for_callers(self, callers: Oidc) -> Self {
        Self { callers: Some(Arc::new(callers)), ..self }
    }

    /// Takes the jobs of workers that died without handing them back. Only for a worker that is known to be alone on its
    /// store: it would rob another one.
    pub async fn release_leases_of_dead_workers(self) {
        match self.maintenance.release_leases_of_dead_workers(&self.id, self.settings.attempt.lease).await {
            Ok(0) => {}
            Ok(jobs) => tracing::info!(jobs, "took over from a worker that is gone"),
            Err(error) => tracing::warn!(%error, "jobs of dead workers wait for their leases to lapse"),
        }
    }

    /// Waits until no attempt runs any more. Call it after `draining`; it does not stop anything itself.
    pub async fn drained(&self) {
        self.attempts.close();
        self.attempts.wait().await;
    }
}
