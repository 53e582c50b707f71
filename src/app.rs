//! The composition root: from a configuration to running roles. The only caller of the ports' `open` functions.

use std::{
    io,
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::net::{TcpListener, TcpSocket};
use url::Url;

pub use crate::config::Roles;
use crate::{
    config::{AckMode, AuthMode, Config, StoreBackend},
    domain::{
        brand::BrandLimits,
        breaker::BreakerPolicy,
        clock::{SystemClock, SystemRandom},
        ids::WorkerId,
        job::JobPolicy,
        pricing::Prices,
        request::RequestLimits,
        retry::RetryPolicy,
        style::InvalidCatalogue,
        upload::UploadLimits,
    },
    embedded::{self, Embedded, OpenError, Role},
    engine,
    error::BackendError,
    gateway::{self, Auth, GatewayLimits, GatewaySettings, GatewayState, InvalidSettings},
    jobs::{AttemptSettings, Jobs, Patience, Ports, Rules, UploadRules},
    lifecycle::{Drained, Shutdown},
    media, queue,
    server::{self, ServerLimits},
    store::{self, JobStore},
    worker::{self, Worker, WorkerSettings},
};

/// How long a process whose data cannot be written any more still answers.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Where the roles of this process are found.
#[derive(Debug, Clone)]
pub struct Places {
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
    pub places: Places,
    shutdown: Shutdown,
    drain: Duration,
    // Held to the end: the locks must not be free before the last write is durable.
    embedded: Embedded,
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
    let embedded = open_embedded(&data_dir, roles).await?;
    let jobs = Arc::new(Jobs::new(open_ports(config, &embedded)?, rules(config)?));

    let mut places = Places { gateway: None, worker: None, data_dir };
    let limits = server_limits(config);
    if roles.gateway {
        let listener = bind(config.gateway.listen, "gateway.listen")?;
        places.gateway = Some(base_url(&listener, config.gateway.listen));
        let settings = gateway_settings(config, limits.connections);
        let state = GatewayState::new(Arc::clone(&jobs), settings, shutdown.soft())?;
        shutdown.spawn(server::serve(listener, gateway::router(state), limits, shutdown.clone()));
    }
    if roles.worker {
        let listener = bind(config.worker.listen, "worker.listen")?;
        let url = base_url(&listener, config.worker.listen);
        start_worker(config, jobs, &embedded, (listener, limits), &url, &shutdown)?;
        places.worker = Some(url);
    }
    Ok(Running { places, shutdown, drain: config.worker.drain, embedded })
}

impl Running {
    /// Returns after the shutdown was requested and everything has drained, or after the data has become unwritable.
    pub async fn wait(self) -> Result<(), AppError> {
        tokio::select! {
            () = self.shutdown.requested() => {}
            () = self.embedded.broken() => self.give_up().await,
        }
        match self.shutdown.drain(self.drain).await {
            Drained::Finished => tracing::info!("drained"),
            Drained::Stopped => tracing::info!("drained; unfinished jobs were handed back"),
            Drained::Abandoned(tasks) => {
                tracing::error!(tasks, "some tasks did not end in time; their leases will lapse");
            }
        }
        let broken = self.embedded.why_broken().map(str::to_owned);
        // Dropping the last handle waits for the writer thread, which is no work for the runtime's threads.
        tokio::task::spawn_blocking(move || drop(self.embedded)).await?;
        broken.map_or(Ok(()), |why| Err(AppError::Broken(why)))
    }

    /// Says no for a moment, so that clients hear why and `/ready` is seen, and ends everything then: no work that still
    /// runs could write its result.
    async fn give_up(&self) {
        tracing::error!(reason = self.embedded.why_broken(), "the data cannot be written any more; shutting down");
        let _ = tokio::time::timeout(LAST_ANSWERS, self.shutdown.requested()).await;
        self.shutdown.force();
    }
}

/// The store alone, for operator commands: no role, no lock, beside whatever serves on the same data.
pub async fn open_store(config: &Config) -> Result<Arc<dyn JobStore>, AppError> {
    let embedded = open_embedded(&config.data_dir, Roles { gateway: false, worker: false }).await?;
    Ok(store::open(&config.store, &embedded))
}

/// Whether there is anything for [`open_store`] to open; otherwise it begins a new, empty store.
pub fn has_store(config: &Config) -> bool {
    config.data_dir.join(embedded::MARKER).exists() || config.data_dir.join(embedded::DATABASE).exists()
}

async fn open_embedded(data_dir: &Path, roles: Roles) -> Result<Embedded, AppError> {
    let mut locks = Vec::new();
    if roles.gateway {
        locks.push(Role::Gateway);
    }
    if roles.worker {
        locks.push(Role::Worker);
    }
    let data_dir = data_dir.to_owned();
    Ok(tokio::task::spawn_blocking(move || Embedded::open(&data_dir, &locks)).await??)
}

fn open_ports(config: &Config, embedded: &Embedded) -> Result<Ports, AppError> {
    Ok(Ports {
        store: store::open(&config.store, embedded),
        queue: queue::open(&config.queue, embedded),
        media: media::open(&config.media, embedded.directory())?,
        engine: engine::open(&config.engine, Arc::new(SystemRandom)),
        trainer: engine::open_trainer(&config.trainer, Arc::new(SystemRandom)),
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
    })
}

fn rules(config: &Config) -> Result<Rules, AppError> {
    let (jobs, credits, limits) = (&config.jobs, &config.credits, &config.limits);
    Ok(Rules {
        policy: JobPolicy {
            retry: RetryPolicy { max_attempts: jobs.max_attempts, base: jobs.backoff, cap: jobs.backoff_cap },
            republish_after: jobs.republish_after,
            republish_cap: jobs.backoff_cap.max(jobs.republish_after),
            cancel_grace: jobs.cancel_grace,
        },
        prices: Prices {
            image: credits.image,
            image_large: credits.image_large,
            large_above_px: credits.large_above_px,
            training: credits.training,
        },
        limits: RequestLimits {
            prompt_chars: limits.prompt_chars,
            min_side: limits.min_side,
            max_side: limits.max_side,
            max_count: limits.max_count,
        },
        catalogue: config.catalogue()?,
        starting_grant: credits.starting_grant,
        jobs_in_flight: NonZeroU32::new(limits.jobs_in_flight),
        illustration_deadline: jobs.illustration_deadline,
        brand_limits: BrandLimits {
            min_images: limits.min_training_images,
            max_images: limits.max_training_images,
            max_colors: 5,
            name_chars: 80,
            min_side: limits.min_training_side,
            max_aspect: 3,
            min_difference: 6,
        },
        training_deadline: jobs.training_deadline,
        training_estimate: jobs.training_estimate.clone(),
        uploads: UploadRules {
            limits: UploadLimits { max_bytes: limits.upload_bytes, max_pixels: limits.upload_pixels },
            keep: limits.upload_keep,
        },
        retention: jobs.retention,
        breaker: BreakerPolicy {
            failures: config.breaker.failures,
            cooldown: config.breaker.cooldown,
            cap: config.breaker.cap,
        },
        patience: Patience { backend: jobs.backend_timeout, media: jobs.media_timeout },
    })
}

fn gateway_settings(config: &Config, connections: usize) -> GatewaySettings {
    let gateway = &config.gateway;
    // Each stream keeps a connection. Some must be left for those who only ask, `/health` among them.
    let streams = gateway.streams.min(connections - connections.div_ceil(10));
    GatewaySettings {
        public_url: gateway.public_url.clone(),
        body_limit: gateway.body_limit,
        cors_origins: gateway.cors_origins.clone(),
        auth: match gateway.auth {
            AuthMode::None => Auth::None,
        },
        limits: GatewayLimits {
            body_timeout: config.server.body_timeout,
            upload_timeout: gateway.upload_timeout,
            requests: NonZeroUsize::new(config.server.requests),
            user_requests: NonZeroU32::new(gateway.user_requests),
            address_requests: NonZeroU32::new(gateway.address_requests),
            trusted_proxies: gateway.trusted_proxies,
            streams: NonZeroUsize::new(streams),
            streams_per_user: NonZeroUsize::new(gateway.streams_per_user),
        },
        version: env!("CARGO_PKG_VERSION"),
    }
}

/// What clients may cost either server, within what the system allows this process.
fn server_limits(config: &Config) -> ServerLimits {
    let server = &config.server;
    let connections = match open_files() {
        // The rest is for the database, for pictures, for calls of others and for the other server.
        Some(files) => server.connections.min((files / 4 * 3).max(16)),
        None => server.connections,
    };
    if connections < server.connections {
        tracing::warn!(
            connections,
            configured = server.connections,
            "this process may open too few files for server.connections; raise its limit (ulimit -n)"
        );
    }
    ServerLimits { connections, header_timeout: server.header_timeout, idle_timeout: server.idle_timeout }
}

/// How many files this process may have open, after asking for as many as the system allows: the usual limit of 1024 is
/// for programs that use select(2). `None` where there is no such limit.
#[cfg(unix)]
fn open_files() -> Option<usize> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    // macOS refuses what it names as the limit; then the old one stays.
    let raised = soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok();
    usize::try_from(if raised { hard } else { soft }).ok()
}

#[cfg(not(unix))]
fn open_files() -> Option<usize> {
    None
}

/// The worker's server, its sweeper, and the broker that pushes to it.
fn start_worker(
    config: &Config,
    jobs: Arc<Jobs>,
    embedded: &Embedded,
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

    let queue = &config.queue.embedded;
    let own = || Url::parse(url).map_err(|_| AppError::PushUrl(url.to_owned()));
    let push_url = queue.push_url.clone().map_or_else(own, Ok)?;
    let max_in_flight = queue.max_in_flight.unwrap_or(2 * config.worker.slots);
    let broker =
        queue::Broker::new(embedded, queue, &push_url, max_in_flight, Arc::new(SystemClock), Arc::new(SystemRandom))?;
    if config.store.backend == StoreBackend::Sqlite {
        // This process holds the worker's lock of the data directory, so every other worker that holds a lease is dead.
        shutdown.spawn(worker.clone().take_over());
    }
    shutdown.spawn(broker.run(shutdown.soft()));
    shutdown.spawn(worker::sweep_until(worker.clone(), shutdown.soft()));
    let server = server::serve(listener, worker::router(worker.clone()), limits, shutdown.clone());
    shutdown.spawn(async move {
        // A push that is being answered may still start an attempt, so the attempts are waited for after the server.
        server.await;
        worker.drained().await;
    });
    Ok(())
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
