//! A running gateway or worker: the real use cases over the ports of one process.

use std::sync::{Arc, Mutex};

use axum::Router;
use mediaforge::{
    domain::ids::WorkerId,
    jobs::{Ports, UseCases},
    lifecycle::Shutdown,
    worker::{self, Worker},
};

use crate::{
    engine::SimEngine, media::SimMedia, process::Process, queue::SimQueue, store::SimStore, trainer::SimTrainer,
    world::World,
};

pub struct Serving {
    pub process: Arc<Process>,
    pub jobs: UseCases,
    /// The push endpoints of a worker; `None` for a gateway.
    pub router: Option<Router>,
    pub shutdown: Shutdown,
}

fn jobs(process: &Arc<Process>) -> UseCases {
    let of = || Arc::clone(process);
    let ports = Ports {
        store: Arc::new(SimStore(of())),
        accounts: Arc::new(SimStore(of())),
        queue: Arc::new(SimQueue(of())),
        media: Arc::new(SimMedia(of())),
        engine: Arc::new(SimEngine(of())),
        trainer: Arc::new(SimTrainer(of())),
        clock: of(),
        random: of(),
    };
    UseCases::new(ports, process.world.plan.config.clone())
}

impl Serving {
    /// Starts a gateway.
    pub fn gateway(world: &Arc<World>, name: String) -> Arc<Self> {
        let process = Process::new(world, name);
        world.event(&process.name, "starts", "", String::new);
        let jobs = jobs(&process);
        Arc::new(Self { process, jobs, router: None, shutdown: Shutdown::new() })
    }

    /// Starts a worker with its sweeper, wired like the program.
    pub fn worker(world: &Arc<World>, name: String) -> Arc<Self> {
        let process = Process::new(world, name);
        world.event(&process.name, "starts", "", String::new);
        let (jobs, shutdown) = (jobs(&process), Shutdown::new());
        let id = process.worker_id.get_or_init(|| WorkerId::new(1, &*process)).clone();
        let worker = Worker::new(&jobs, world.plan.worker, id, shutdown.soft(), shutdown.hard());
        let router = Some(worker::router(worker.clone()));
        shutdown.spawn(worker::sweep_until(worker.clone(), shutdown.soft()));
        let requested = shutdown.requested();
        shutdown.spawn(async move {
            requested.await;
            worker.drained().await;
        });
        Arc::new(Self { process, jobs, router, shutdown })
    }
}

/// Removes the process at this index.
pub fn take(places: &Mutex<Vec<Option<Arc<Serving>>>>, place: usize) -> Option<Arc<Serving>> {
    places.lock().expect("a lock")[place].take()
}

/// Puts a process at this index.
pub fn put(places: &Mutex<Vec<Option<Arc<Serving>>>>, place: usize, serving: Arc<Serving>) {
    places.lock().expect("a lock")[place] = Some(serving);
}
