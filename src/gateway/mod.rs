//! The HTTP API: identifies the caller, runs a use case, and responds with JSON, events or pictures.
//!
//! `router.rs` lists every route; each noun has its own file in `routes/`. Only `problem.rs` decides the HTTP status of an
//! error.

mod admission;
mod auth;
mod body;
mod idempotency;
mod image_check;
mod observe;
mod openapi;
mod params;
mod prefer;
mod present;
mod problem;
mod rate;
mod resource;
mod router;
mod routes;
mod sse;
mod streams;

use std::{
    num::{NonZeroU32, NonZeroUsize},
    sync::Arc,
    time::Duration,
};

use axum::http::HeaderValue;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use url::Url;

pub use auth::{Auth, FirebaseAuth};
pub use router::router;

use self::{rate::RateLimit, streams::Streams};
use crate::{
    domain::{
        Timestamp,
        clock::{Clock, Random},
    },
    jobs::{Control, Queries, Readiness, Submission, UseCases},
    net,
};

/// The settings of a gateway.
#[derive(Debug, Clone)]
pub struct GatewaySettings {
    /// The base of links in responses; `None` uses the `Host` of each request.
    pub public_url: Option<Url>,
    /// The maximum size of a JSON body, in bytes.
    pub body_limit: usize,
    /// Origins (`https://app.example`) whose pages may call the API; if empty, only pages of the gateway itself.
    pub cors_origins: Vec<String>,
    /// How callers are identified.
    pub auth: Auth,
    /// Limits on what callers may use.
    pub limits: GatewayLimits,
    /// The version in `/health` and in the API description.
    pub version: &'static str,
}

/// Limits on what callers may use; `None` means no limit.
#[derive(Debug, Clone)]
pub struct GatewayLimits {
    /// How long a JSON body may take to arrive, so that a slow client cannot hold a connection for ever.
    pub body_timeout: Duration,
    /// How long a file may take to arrive.
    pub upload_timeout: Duration,
    /// Concurrent requests. Streams, and submits that wait for the end of their job, do not count.
    pub requests: Option<NonZeroUsize>,
    /// Requests a minute from one user.
    pub user_requests: Option<NonZeroU32>,
    /// Requests a minute from one address.
    pub address_requests: Option<NonZeroU32>,
    /// The number of our own proxies before this gateway, each of which appends to `X-Forwarded-For`; with 0, the peer is
    /// the client.
    pub trusted_proxies: usize,
    /// Open streams in total.
    pub streams: Option<NonZeroUsize>,
    /// Open streams of one user.
    pub streams_per_user: Option<NonZeroUsize>,
}

impl Default for GatewayLimits {
    /// Only the timeouts.
    fn default() -> Self {
        Self {
            body_timeout: Duration::from_secs(15),
            upload_timeout: Duration::from_mins(1),
            requests: None,
            user_requests: None,
            address_requests: None,
            trusted_proxies: 0,
            streams: None,
            streams_per_user: None,
        }
    }
}

/// Why settings cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSettings {
    /// Browsers never send this CORS origin.
    #[error("cors origin {0:?} must be scheme://host or scheme://host:port, without a path")]
    Origin(String),
    /// Links cannot be built from this public URL.
    #[error("public url {0} must be http or https, without user, query or fragment")]
    PublicUrl(Url),
}

/// The gateway's shared state; cloning it is cheap.
#[derive(Clone)]
pub struct GatewayState(Arc<Inner>);

struct Inner {
    submission: Arc<Submission>,
    queries: Arc<Queries>,
    control: Arc<Control>,
    readiness: Arc<Readiness>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    /// Without the trailing slash.
    public_url: Option<Arc<str>>,
    body_limit: usize,
    cors_origins: Vec<HeaderValue>,
    auth: Auth,
    version: &'static str,
    body_timeout: Duration,
    upload_timeout: Duration,
    permits: Option<Arc<Semaphore>>,
    user_limit: Option<RateLimit>,
    address_limit: Option<RateLimit>,
    trusted_proxies: usize,
    streams: Streams,
    drain: CancellationToken,
}

impl GatewayState {
    /// The state of a gateway over these use cases. Once `drain` is cancelled, `/ready` responds 503 and streams end.
    pub fn new(
        jobs: &UseCases,
        settings: GatewaySettings,
        drain: CancellationToken,
    ) -> std::result::Result<Self, InvalidSettings> {
        let GatewaySettings { public_url, body_limit, cors_origins, auth, limits, version } = settings;
        let public_url = public_url.map(link_base).transpose()?;
        let cors_origins = cors_origins.into_iter().map(cors_origin).collect::<Result<_, _>>()?;
        let permits = |requests: NonZeroUsize| Arc::new(Semaphore::new(requests.get().min(Semaphore::MAX_PERMITS)));
        Ok(Self(Arc::new(Inner {
            submission: Arc::clone(&jobs.submission),
            queries: Arc::clone(&jobs.queries),
            control: Arc::clone(&jobs.control),
            readiness: Arc::clone(&jobs.readiness),
            clock: Arc::clone(&jobs.clock),
            random: Arc::clone(&jobs.random),
            public_url,
            body_limit,
            cors_origins,
            auth,
            version,
            body_timeout: limits.body_timeout,
            upload_timeout: limits.upload_timeout,
            permits: limits.requests.map(permits),
            user_limit: limits.user_requests.map(|quota| RateLimit::per_minute("user", quota)),
            address_limit: limits.address_requests.map(|quota| RateLimit::per_minute("address", quota)),
            trusted_proxies: limits.trusted_proxies,
            streams: Streams::new(limits.streams, limits.streams_per_user),
            drain,
        })))
    }

    fn submission(&self) -> &Submission {
        &self.0.submission
    }

    fn queries(&self) -> &Queries {
        &self.0.queries
    }

    fn control(&self) -> &Control {
        &self.0.control
    }

    fn readiness(&self) -> &Readiness {
        &self.0.readiness
    }

    fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    fn random(&self) -> &dyn Random {
        &*self.0.random
    }

    fn drain(&self) -> &CancellationToken {
        &self.0.drain
    }
}

fn link_base(url: Url) -> Result<Arc<str>, InvalidSettings> {
    if !net::is_http_base(&url) {
        return Err(InvalidSettings::PublicUrl(url));
    }
    Ok(Arc::from(url.as_str().trim_end_matches('/')))
}

fn cors_origin(text: String) -> Result<HeaderValue, InvalidSettings> {
    match HeaderValue::from_str(&text) {
        Ok(value) if net::is_http_origin(&text) => Ok(value),
        _ => Err(InvalidSettings::Origin(text)),
    }
}
