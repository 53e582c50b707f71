//! The HTTP API: identifies the caller, permits requests into use cases and their answers into JSON, events or pictures.
//!
//! `router.rs` shows every route at a glance; each noun has its file in `routes/`. HTTP statuses of errors are decided
//! in `problem.rs` and nowhere else.

mod admission;
mod auth;
mod body;
mod idempotency;
mod observe;
mod openapi;
mod params;
mod prefer;
mod present;
mod problem;
mod rate;
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

pub use auth::{Auth, SignIn};
pub use router::router;

use self::{rate::Rate, streams::Streams};
use crate::{
    domain::{
        Timestamp,
        clock::{Clock, Random},
    },
    jobs::{Control, Queries, Readiness, Submission, UseCases},
};

/// What the gateway needs to be told.
#[derive(Debug, Clone)]
pub struct GatewaySettings {
    /// The address clients use, for links in answers; `None`: the request's own `Host`.
    pub public_url: Option<Url>,
    /// Bytes of a JSON body, at most.
    pub body_limit: usize,
    /// Origins (`https://app.example`) whose pages may call the API; empty: none but its own.
    pub cors_origins: Vec<String>,
    /// How callers are known.
    pub auth: Auth,
    /// What callers may cost.
    pub limits: GatewayLimits,
    /// The version that `/health` and the API description name.
    pub version: &'static str,
}

/// What callers may cost; `None` where there is no bound.
#[derive(Debug, Clone)]
pub struct GatewayLimits {
    /// How long a JSON body may take to arrive: who sends a byte now and then is not to hold a connection for ever.
    pub body_timeout: Duration,
    /// The same for a file, which may come over a slow line.
    pub upload_timeout: Duration,
    /// Requests in hand at once. Streams and submits that wait for their end are not among them.
    pub requests: Option<NonZeroUsize>,
    /// Requests a minute of one user.
    pub user_requests: Option<NonZeroU32>,
    /// Requests a minute of one address.
    pub address_requests: Option<NonZeroU32>,
    /// Our own proxies before this gateway, each of which appends to `X-Forwarded-For`; 0: the peer is the client.
    pub trusted_proxies: usize,
    /// Streams open at once.
    pub streams: Option<NonZeroUsize>,
    /// Streams of one user open at once.
    pub streams_per_user: Option<NonZeroUsize>,
}

impl Default for GatewayLimits {
    /// No bounds but those of time.
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

/// Settings that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSettings {
    /// A CORS origin that no browser would send.
    #[error("cors origin {0:?} must be scheme://host or scheme://host:port, without a path")]
    Origin(String),
    /// A public URL that links cannot begin with.
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
    /// `public_url` without its trailing slash.
    public_url: Option<Arc<str>>,
    body_limit: usize,
    cors_origins: Vec<HeaderValue>,
    auth: Auth,
    version: &'static str,
    body_timeout: Duration,
    upload_timeout: Duration,
    permits: Option<Arc<Semaphore>>,
    user_rate: Option<Rate>,
    address_rate: Option<Rate>,
    trusted_proxies: usize,
    streams: Streams,
    drain: CancellationToken,
}

impl GatewayState {
    /// The state of a gateway over these use cases. Once `drain` is cancelled, `/ready` says no and streams end.
    pub fn new(
        jobs: &UseCases,
        settings: GatewaySettings,
        drain: CancellationToken,
    ) -> std::result::Result<Self, InvalidSettings> {
        let GatewaySettings { public_url, body_limit, cors_origins, auth, limits, version } = settings;
        let public_url = public_url.map(|url| base(&url).ok_or(InvalidSettings::PublicUrl(url))).transpose()?;
        let cors_origins = cors_origins.into_iter().map(origin).collect::<Result<_, _>>()?;
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
            user_rate: limits.user_requests.map(|quota| Rate::per_minute("user", quota)),
            address_rate: limits.address_requests.map(|quota| Rate::per_minute("address", quota)),
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

    fn random(&self) -> &dyn Random {
        &*self.0.random
    }

    fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    fn drain(&self) -> &CancellationToken {
        &self.0.drain
    }
}

fn base(url: &Url) -> Option<Arc<str>> {
    let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    let usable = matches!(url.scheme(), "http" | "https") && plain && url.fragment().is_none();
    usable.then(|| Arc::from(url.as_str().trim_end_matches('/')))
}

/// An origin exactly as browsers spell it, so that comparing bytes is enough.
fn origin(text: String) -> Result<HeaderValue, InvalidSettings> {
    let exact =
        Url::parse(&text).is_ok_and(|url| url.origin().is_tuple() && url.origin().ascii_serialization() == text);
    match HeaderValue::from_str(&text) {
        Ok(value) if exact => Ok(value),
        _ => Err(InvalidSettings::Origin(text)),
    }
}
