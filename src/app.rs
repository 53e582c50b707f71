//! The composition root: turns a configuration into running roles. Nothing else calls the `open` functions of the ports.

mod google_cloud;
mod identity;
mod listen;
mod ports;
#[cfg(feature = "google-cloud")]
pub mod provision;
mod settings;
mod worker;

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use self::{
    identity::auth,
    listen::bind,
    ports::{open_embedded, open_ports, open_stores},
    settings::{gateway_settings, jobs_config, server_limits},
};
pub use crate::config::Roles;
use crate::{
    config::{Config, StoreBackend},
    domain::{
        clock::{Random, SystemRandom},
        style::InvalidCatalogue,
    },
    embedded::{self, Embedded, OpenError},
    engine::{self, ImageEngine},
    error::BackendError,
    gateway::{self, GatewayState, InvalidSettings},
    jobs::UseCases,
    lifecycle::{Drained, Shutdown},
    server,
    store::Stores,
};

/// How long the process keeps answering after its data has become unwritable.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// The addresses of the roles of this process.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// The gateway's base URL, for example `http://127.0.0.1:8080`; absent if this process does not run the gateway.
    pub gateway: Option<String>,
    /// The worker's base URL.
    pub worker: Option<String>,
    /// The data directory.
    pub data_dir: PathBuf,
}

/// The running roles of this process.
#[derive(Debug)]
pub struct Running {
    /// Their addresses.
    pub addresses: Addresses,
    shutdown: Shutdown,
    drain: Duration,
    // Kept to the end, because it holds the locks: they must not be released before the last write is durable.
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
    /// A role cannot listen on its address.
    #[error("cannot listen on {address} ({key})")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// The configuration key.
        key: &'static str,
        /// The error of the system.
        source: io::Error,
    },
    /// The configured styles are invalid.
    #[error(transparent)]
    Styles(#[from] InvalidCatalogue),
    /// The gateway's settings are invalid.
    #[error(transparent)]
    Gateway(#[from] InvalidSettings),
    /// The HTTP client cannot be built.
    #[error("cannot build an HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    /// The push address cannot be parsed.
    #[error("{0:?} is not a valid push address")]
    PushUrl(String),
    /// The data has become unwritable.
    #[error("{0}")]
    Broken(String),
    /// A thread panicked while it opened or closed the data directory.
    #[error("opening or closing the data directory panicked: {0}")]
    Crashed(#[from] tokio::task::JoinError),
}

/// Starts the roles; returns once they listen.
pub async fn start(config: &Config, roles: Roles, shutdown: Shutdown) -> Result<Running, AppError> {
    let data_dir = config.data_dir.clone();
    let embedded = open_embedded(config, roles).await?;
    let ports = open_ports(config, embedded.as_ref())?;
    let jobs_config = jobs_config(config, ports.queue.delays())?;
    let jobs = UseCases::new(ports, jobs_config);

    let mut addresses = Addresses { gateway: None, worker: None, data_dir };
    let limits = server_limits(config);
    if roles.gateway {
        let bound = bind(config.gateway.listen, "gateway.listen")?;
        addresses.gateway = Some(bound.url);
        let settings = gateway_settings(config, limits.connections, auth(config)?);
        let state = GatewayState::new(&jobs, settings, shutdown.soft())?;
        shutdown.spawn(server::serve(bound.listener, gateway::router(state), limits, shutdown.clone()));
    }
    if roles.worker {
        let bound = bind(config.worker.listen, "worker.listen")?;
        addresses.worker = Some(bound.url.clone());
        worker::start(config, &jobs, embedded.as_ref(), bound, limits, &shutdown)?;
    }
    Ok(Running { addresses, shutdown, drain: config.worker.drain, embedded })
}

impl Running {
    /// Waits for the shutdown and drains, also if the data becomes unwritable.
    pub async fn wait(self) -> Result<(), AppError> {
        tokio::select! {
            () = self.shutdown.requested() => {}
            () = broken(self.embedded.as_ref()) => self.stop_after_last_answers().await,
        }
        match self.shutdown.drain(self.drain).await {
            Drained::Finished => tracing::info!("drained"),
            Drained::Stopped => tracing::info!("drained; unfinished jobs were handed back"),
            Drained::Abandoned(tasks) => {
                tracing::error!(tasks, "some tasks did not end in time; the leases of their jobs will lapse");
            }
        }
        let broken = self.why_broken().map(str::to_owned);
        // Dropping the last handle waits for the writer thread, which would block a thread of the runtime.
        tokio::task::spawn_blocking(move || drop(self.embedded)).await?;
        broken.map_or(Ok(()), |why| Err(AppError::Broken(why)))
    }

    fn why_broken(&self) -> Option<&str> {
        self.embedded.as_ref().and_then(Embedded::why_broken)
    }

    /// Keeps answering for a moment, so that clients and `/ready` report the reason. Then stops at once, because no running
    /// work can store its result.
    async fn stop_after_last_answers(&self) {
        tracing::error!(reason = self.why_broken(), "the data has become unwritable; shutting down");
        let _ = tokio::time::timeout(LAST_ANSWERS, self.shutdown.requested()).await;
        self.shutdown.force();
    }
}

/// Resolves when the data has become unwritable.
async fn broken(embedded: Option<&Embedded>) {
    match embedded {
        Some(embedded) => embedded.broken().await,
        None => std::future::pending().await,
    }
}

/// Opens the stores for operator commands, without a role and without a lock. Roles may run on the same data.
pub async fn open_store(config: &Config) -> Result<Stores, AppError> {
    let embedded = open_embedded(config, Roles { gateway: false, worker: false }).await?;
    Ok(open_stores(config, embedded.as_ref())?)
}

/// Opens the engine for `doctor`.
pub fn open_engine(config: &Config) -> Result<Arc<dyn ImageEngine>, AppError> {
    let random: Arc<dyn Random> = Arc::new(SystemRandom);
    Ok(engine::open(config, &random)?)
}

/// Whether a store exists. If not, [`open_store`] creates an empty one.
pub fn has_store(config: &Config) -> bool {
    config.store.backend != StoreBackend::Sqlite
        || config.data_dir.join(embedded::MARKER).exists()
        || config.data_dir.join(embedded::DATABASE).exists()
}
