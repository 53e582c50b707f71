//! The composition root: from a configuration to running roles. The only caller of the ports' `open` functions.

mod google_cloud;
mod identity;
mod ports;
#[cfg(feature = "google-cloud")]
pub mod provision;
mod settings;

use std::{io, net::SocketAddr, num::NonZeroUsize, path::PathBuf, sync::Arc, time::Duration};

use tokio::net::{TcpListener, TcpSocket};
use url::Url;

use self::{
    identity::{auth, push_callers},
    ports::{need, open_embedded, open_ports, open_the_store},
    settings::{gateway_settings, jobs_config, server_limits},
};
pub use crate::config::Roles;
use crate::{
    config::{AckMode, Config, QueueBackend, StoreBackend},
    domain::{
        clock::{Random, SystemClock, SystemRandom},
        ids::WorkerId,
        style::InvalidCatalogue,
    },
    embedded::{self, Embedded, OpenError},
    engine::{self, ImageEngine},
    error::BackendError,
    gateway::{self, GatewayState, InvalidSettings},
    jobs::{AttemptSettings, UseCases},
    lifecycle::{Drained, Shutdown},
    queue,
    server::{self, ServerLimits},
    store::Stores,
    worker::{self, Worker, WorkerSettings},
};

/// How long a process whose data cannot be written any more still answers.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Where the roles of this process are found.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// The gateway's base URL, for example `http://127.0.0.1:8080`; absent when it does not run here.
    pub gateway: Option<String>,
    /// The worker's base URL.
    pub worker: Option<String>,
    /// Where the data lies.
    pub data_dir: PathBuf,
}

/// Roles that listen.
#[derive(Debug)]
pub struct Running {
    /// Where they are found.
    pub addresses: Addresses,
    shutdown: Shutdown,
    drain: Duration,
    // Held to the end: the locks must not be free before the last write is durable.
    embedded: Option<Embedded>,
}

/// Why the roles could not start.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Data(#[from] OpenError),
    /// A backend cannot be used.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address} ({key})")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// Where it is configured.
        key: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The configured styles are no catalogue.
    #[error(transparent)]
    Styles(#[from] InvalidCatalogue),
    /// The gateway's settings do not fit.
    #[error(transparent)]
    Gateway(#[from] InvalidSettings),
    /// The HTTP client cannot be made.
    #[error("cannot make an HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    /// A push address that cannot be parsed.
    #[error("{0:?} is no address to push to")]
    PushUrl(String),
    /// The data could not be written any more.
    #[error("{0}")]
    Broken(String),
    /// A thread of the start ended by a defect.
    #[error("opening the data directory crashed: {0}")]
    Crashed(#[from] tokio::task::JoinError),
}

/// Starts the roles; returns once they listen.
pub async fn start(config: &Config, roles: Roles, shutdown: Shutdown) -> Result<Running, AppError> {
    let data_dir = config.data_dir.clone();
    let embedded = open_embedded(config, roles).await?;
    let jobs = UseCases::new(open_ports(config, embedded.as_ref())?, jobs_config(config)?);

    let mut addresses = Addresses { gateway: None, worker: None, data_dir };
    let limits = server_limits(config);
    if roles.gateway {
        let listener = bind(config.gateway.listen, "gateway.listen")?;
        addresses.gateway = Some(base_url(&listener, config.gateway.listen));
        let settings = gateway_settings(config, limits.connections, auth(config)?);
        let state = GatewayState::new(&jobs, settings, shutdown.soft())?;
        shutdown.spawn(server::serve(listener, gateway::router(state), limits, shutdown.clone()));
    }
    if roles.worker {
        let listener = bind(config.worker.listen, "worker.listen")?;
        let url = base_url(&listener, config.worker.listen);
        start_worker(config, &jobs, embedded.as_ref(), (listener, limits), &url, &shutdown)?;
        addresses.worker = Some(url);
    }
    Ok(Running { addresses, shutdown, drain: config.worker.drain, embedded })
}

impl Running {
    /// Returns after the shutdown was requested and everything has drained, or after the data has become unwritable.
    pub async fn wait(self) -> Result<(), AppError> {
        tokio::select! {
            () = self.shutdown.requested() => {}
            () = broken(self.embedded.as_ref()) => self.give_up().await,
        }
        match self.shutdown.drain(self.drain).await {
            Drained::Finished => tracing::info!("drained"),
            Drained::Stopped => tracing::info!("drained; unfinished jobs were handed back"),
            Drained::Abandoned(tasks) => {
                tracing::error!(tasks, "some tasks did not end in time; their leases will lapse");
            }
        }
        let broken = self.why_broken().map(str::to_owned);
        // Dropping the last handle waits for the writer thread, which is no work for the runtime's threads.
        tokio::task::spawn_blocking(move || drop(self.embedded)).await?;
        broken.map_or(Ok(()), |why| Err(AppError::Broken(why)))
    }

    fn why_broken(&self) -> Option<&str> {
        self.embedded.as_ref().and_then(Embedded::why_broken)
    }

    /// Says no for a moment, so that clients hear why and `/ready` is seen, and ends everything then: no work that still
    /// runs could write its result.
    async fn give_up(&self) {
        tracing::error!(reason = self.why_broken(), "the data cannot be written any more; shutting down");
        let _ = tokio::time::timeout(LAST_ANSWERS, self.shutdown.requested()).await;
        self.shutdown.force();
    }
}

/// Resolves when the data cannot be written any more.
async fn broken(embedded: Option<&Embedded>) {
    match embedded {
        Some(embedded) => embedded.broken().await,
        None => std::future::pending().await,
    }
}

/// The store alone, for operator commands: no role, no lock, beside whatever serves on the same data.
pub async fn open_store(config: &Config) -> Result<Stores, AppError> {
    let embedded = open_embedded(config, Roles { gateway: false, worker: false }).await?;
    Ok(open_the_store(config, embedded.as_ref())?)
}

/// The engine alone, for whoever wants to know whether it works.
pub fn open_engine(config: &Config) -> Result<Arc<dyn ImageEngine>, AppError> {
    let random: Arc<dyn Random> = Arc::new(SystemRandom);
    Ok(engine::open(config, &random)?)
}

/// Whether there is anything for [`open_store`] to open; otherwise it begins a new, empty store.
pub fn has_store(config: &Config) -> bool {
    config.store.backend != StoreBackend::Sqlite
        || config.data_dir.join(embedded::MARKER).exists()
        || config.data_dir.join(embedded::DATABASE).exists()
}

/// The worker's server, its sweeper, and the broker that pushes to it.
fn start_worker(
    config: &Config,
    jobs: &UseCases,
    embedded: Option<&Embedded>,
    (listener, limits): (TcpListener, ServerLimits),
    url: &str,
    shutdown: &Shutdown,
) -> Result<(), AppError> {
    let settings = WorkerSettings {
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
    };
    let id = WorkerId::new(std::process::id(), &SystemRandom);
    let worker = Worker::new(jobs, settings, id, shutdown.soft(), shutdown.hard());
    let worker = match push_callers(config)? {
        Some(callers) => worker.for_callers(callers),
        None => worker,
    };

    if config.queue.backend == QueueBackend::Embedded {
        let broker = open_broker(config, need(embedded, "queue.open")?, url)?;
        shutdown.spawn(broker.run(shutdown.soft()));
    }
    if config.store.backend == StoreBackend::Sqlite {
        // This process holds the worker's lock of the data directory, so every other worker that holds a lease is dead.
        shutdown.spawn(worker.clone().release_leases_of_dead_workers());
    }
    shutdown.spawn(worker::sweep_until(worker.clone(), shutdown.soft()));
    shutdown.spawn(worker::check_until(worker.clone(), shutdown.soft()));
    let server = server::serve(listener, worker::router(worker.clone()), limits, shutdown.clone());
    shutdown.spawn(async move {
        // A push that is being answered may still start an attempt, so the attempts are waited for after the server.
        server.await;
        worker.drained().await;
    });
    Ok(())
}

/// The broker that pushes to the worker at `url`.
fn open_broker(config: &Config, embedded: &Embedded, url: &str) -> Result<queue::Broker, AppError> {
    let queue = &config.queue.embedded;
    let own = || Url::parse(url).map_err(|_| AppError::PushUrl(url.to_owned()));
    let push_url = queue.push_url.clone().map_or_else(own, Ok)?;
    let max_in_flight = queue.max_in_flight.unwrap_or(2 * config.worker.slots);
    let random = Arc::new(SystemRandom);
    Ok(queue::Broker::new(embedded, queue, &push_url, max_in_flight, Arc::new(SystemClock), random)?)
}

/// Connections that may wait to be accepted. With fewer, a burst of new clients waits a second for its next try.
const BACKLOG: u32 = 4096;

fn bind(address: SocketAddr, key: &'static str) -> Result<TcpListener, AppError> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // Without it a restart finds the address taken by connections that linger.
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|source| AppError::Listen { address, key, source })
}

/// Where a client on this machine finds the listener.
fn base_url(listener: &TcpListener, configured: SocketAddr) -> String {
    let mut address = listener.local_addr().unwrap_or(configured);
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            std::net::Ipv4Addr::LOCALHOST.into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        });
    }
    format!("http://{address}")
}
