//! Starts the worker role: its server, its periodic work, and the broker of the embedded queue.

use std::{num::NonZeroUsize, sync::Arc};

use url::Url;

use super::{AppError, identity::push_callers, listen::Bound, ports::need};
use crate::{
    config::{AckMode, Config, QueueBackend, StoreBackend},
    domain::{
        clock::{SystemClock, SystemRandom},
        ids::WorkerId,
    },
    embedded::Embedded,
    jobs::{AttemptSettings, UseCases},
    lifecycle::Shutdown,
    queue::Broker,
    server::{self, ServerLimits},
    worker::{self, Worker, WorkerSettings},
};

pub(super) fn start(
    config: &Config,
    jobs: &UseCases,
    embedded: Option<&Embedded>,
    bound: Bound,
    limits: ServerLimits,
    shutdown: &Shutdown,
) -> Result<(), AppError> {
    let id = WorkerId::new(std::process::id(), &SystemRandom);
    let worker = Worker::new(jobs, settings(config), id, shutdown.soft(), shutdown.hard());
    let worker = match push_callers(config)? {
        Some(callers) => worker.for_callers(callers),
        None => worker,
    };
    if config.queue.backend == QueueBackend::Embedded {
        let broker = open_broker(config, need(embedded, "queue.open")?, &bound.url)?;
        shutdown.spawn(broker.run(shutdown.soft()));
    }
    if config.store.backend == StoreBackend::Sqlite {
        // This process holds the worker lock of the data directory, so every other worker that holds a lease is dead.
        shutdown.spawn(worker.clone().release_leases_of_dead_workers());
    }
    shutdown.spawn(worker::sweep_until(worker.clone(), shutdown.soft()));
    shutdown.spawn(worker::check_until(worker.clone(), shutdown.soft()));
    let router = worker::router(worker.clone());
    let server = server::serve(bound.listener, router, limits, shutdown.clone());
    shutdown.spawn(async move {
        // The attempts come last, because a push in progress may still start one.
        server.await;
        worker.drained().await;
    });
    Ok(())
}

fn settings(config: &Config) -> WorkerSettings {
    WorkerSettings {
        slots: config.worker.slots,
        attempt: AttemptSettings {
            lease: config.worker.lease,
            heartbeat: config.worker.heartbeat(),
            timeout: config.jobs.attempt_timeout,
            poll_every: config.trainer.poll_every,
        },
        ack_on_claim: config.worker.ack == AckMode::OnClaim,
        slot_wait: config.worker.slot_wait,
        sweep_every: config.worker.sweep_every,
        body_timeout: config.server.body_timeout,
        requests: NonZeroUsize::new(config.server.requests),
    }
}

/// The broker that pushes to the worker, by default to the one at `worker_url`.
fn open_broker(config: &Config, embedded: &Embedded, worker_url: &str) -> Result<Broker, AppError> {
    let queue = &config.queue.embedded;
    let push_url = match &queue.push_url {
        Some(url) => url.clone(),
        None => Url::parse(worker_url).map_err(|_| AppError::PushUrl(worker_url.to_owned()))?,
    };
    let max_in_flight = queue.max_in_flight.unwrap_or(2 * config.worker.slots);
    let random = Arc::new(SystemRandom);
    Ok(Broker::new(embedded, queue, &push_url, max_in_flight, Arc::new(SystemClock), random)?)
}
