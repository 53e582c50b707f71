//! Cloud Storage: fake-gcs-server, behind what it does not check by itself.
//!
//! The server keeps the objects. In front of it stands what the documentation promises and the server leaves out: V4
//! signatures with their expiry and signed headers, size limits and preconditions of signed uploads, preconditions of
//! copies and deletes, and that nobody reads without a right to.

mod front;
mod server;
mod signature;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, Method, Uri},
    middleware,
};
use tokio::{net::TcpListener, task::AbortHandle};

use crate::faults::{self, Faults};
pub use server::INSTALL;
use signature::SigningKey;

/// Cloud Storage on a port of its own. The server behind it is one for the whole process and ends with it; buckets are told
/// apart by their names. Dropping this closes the port.
#[derive(Debug)]
pub struct Storage {
    address: SocketAddr,
    front: Arc<Front>,
    faults: Faults,
    task: AbortHandle,
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Its method.
    pub method: Method,
    /// Its path and query, as they were sent.
    pub uri: Uri,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

#[derive(Debug)]
struct Front {
    /// Where the server is.
    server: String,
    client: reqwest::Client,
    key: SigningKey,
    /// Whether everybody may read.
    public: AtomicBool,
    /// Seconds by which its clock goes ahead.
    ahead: AtomicU64,
    requests: Mutex<Vec<Recorded>>,
    /// What has a condition is done one after the other.
    turn: tokio::sync::Mutex<()>,
}

impl Storage {
    /// Starts it on a free port of this machine.
    pub async fn start() -> io::Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts it at an address.
    pub async fn start_at(address: SocketAddr) -> io::Result<Self> {
        let server = tokio::task::spawn_blocking(server::shared).await.map_err(io::Error::other)??;
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let front = Arc::new(Front {
            server,
            client: client()?,
            key: SigningKey::shared()?,
            public: AtomicBool::new(false),
            ahead: AtomicU64::new(0),
            requests: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        });
        let faults = Faults::default();
        let routes = Router::new()
            .fallback(front::answer)
            .with_state(Arc::clone(&front))
            .layer(middleware::from_fn_with_state(faults.clone(), faults::apply));
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, routes).await {
                tracing::error!(%error, "the storage emulator ended");
            }
        });
        Ok(Self { address, front, faults, task: task.abort_handle() })
    }

    /// Where it is, as `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What makes it fail. A method is what a path ends in; objects are written at `/upload/storage/v1/b/BUCKET/o`, and
    /// named elsewhere with their slashes encoded.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// A new, empty bucket; its name.
    pub async fn create_bucket(&self) -> io::Result<String> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("bucket-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let body = serde_json::json!({ "name": name });
        let url = format!("{}/storage/v1/b?project=emulated", self.front.server);
        let answer = self.front.client.post(url).json(&body).send().await.map_err(io::Error::other)?;
        answer.error_for_status().map_err(io::Error::other)?;
        Ok(name)
    }

    /// The JSON key of the service account whose signatures it knows.
    pub fn signing_key(&self) -> &str {
        self.front.key.json()
    }

    /// From now on everybody may read every bucket.
    pub fn make_public(&self) {
        self.front.public.store(true, Ordering::SeqCst);
    }

    /// Its clock jumps ahead.
    pub fn advance(&self, by: Duration) {
        self.front.ahead.fetch_add(by.as_secs(), Ordering::SeqCst);
    }

    /// What came so far, in order.
    pub fn requests(&self) -> Vec<Recorded> {
        self.front.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A client without proxies: the server is on this machine.
fn client() -> io::Result<reqwest::Client> {
    // A second call finds it chosen: that is no error.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().map_err(io::Error::other)
}
