//! The worker: receives messages, waits for a free slot, claims the job and works on it under a lease; sweeps overdue
//! jobs. [`Worker::deliver`] takes messages of any queue; `push` is the way in for queues that push over HTTP.

mod delivery;
pub mod envelope;
mod observe;
mod push;
mod router;
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

pub use router::router;
pub use sweeper::{check_until, sweep_until};

/// The settings of a worker.
#[derive(Debug, Clone, Copy)]
pub struct WorkerSettings {
    /// How many attempts run at once.
    pub slots: usize,
    /// Lease, heartbeat and time limit of an attempt.
    pub attempt: AttemptSettings,
    /// Whether the worker acknowledges a message once the job is claimed (`true`) or when the attempt has ended.
    pub ack_on_claim: bool,
    /// How long a message may wait for a free slot.
    pub slot_wait: Duration,
    /// The interval between sweeps.
    pub sweep_every: Duration,
    /// How long the body of a push may take to arrive.
    pub body_timeout: Duration,
    /// How many requests may be in progress at once, including pushes that wait for a slot; `None`: no limit.
    pub requests: Option<NonZeroUsize>,
}

/// The worker of this process. Clones share its slots and its shutdown.
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
    /// The callers that may push and sweep; `None`: any caller.
    callers: Option<Arc<Oidc>>,
    /// When cancelled, the worker claims no further jobs.
    draining: CancellationToken,
    /// When cancelled, running attempts hand their jobs back.
    stop: CancellationToken,
    attempts: TaskTracker,
}

impl Worker {
    /// Creates a worker. Cancelling `draining` ends claiming; cancelling `stop`, later, ends running attempts.
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

    /// Accepts pushes and sweeps from these callers only.
    #[must_use]
    pub fn for_callers(self, callers: Oidc) -> Self {
        Self { callers: Some(Arc::new(callers)), ..self }
    }

    /// Takes over the jobs of workers that died without handing them back. Call it only in the one worker of its store:
    /// it also takes the jobs of a worker that is alive.
    pub async fn release_leases_of_dead_workers(self) {
        match self.maintenance.release_leases_of_dead_workers(&self.id, self.settings.attempt.lease).await {
            Ok(0) => {}
            Ok(jobs) => tracing::info!(jobs, "took over the jobs of a dead worker"),
            Err(error) => {
                tracing::warn!(%error, "cannot take over the jobs of dead workers; they wait for their leases to lapse");
            }
        }
    }

    /// Waits until the last attempt has ended. Cancel `draining` first: this stops nothing itself.
    pub async fn drained(&self) {
        self.attempts.close();
        self.attempts.wait().await;
    }
}
