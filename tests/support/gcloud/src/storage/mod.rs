//! Cloud Storage: fake-gcs-server behind a proxy.
//!
//! The server keeps the objects. The proxy checks what the documentation promises and the server does not check: V4
//! signatures with their expiry and signed headers, size limits and preconditions of signed uploads, preconditions of
//! copies and deletes, and the right to read.

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

/// Cloud Storage on its own port. All instances of a process share one server, which ends with the process; each bucket
/// has its own name. Dropping this closes the port.
#[derive(Debug)]
pub struct Storage {
    address: SocketAddr,
    front: Arc<Front>,
    faults: Faults,
    task: AbortHandle,
}

/// A received request.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Its method.
    pub method: Method,
    /// Its path and query, as sent.
    pub uri: Uri,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

#[derive(Debug)]
struct Front {
    /// The address of the server.
    server: String,
    client: reqwest::Client,
    key: SigningKey,
    /// Whether reads need no signature.
    public: AtomicBool,
    /// Seconds by which its clock is ahead.
    ahead: AtomicU64,
    requests: Mutex<Vec<Recorded>>,
    /// Requests with a condition run one at a time.
    turn: tokio::sync::Mutex<()>,
}

impl Storage {
    /// Starts it on a free local port.
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

    /// Its URL, `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes its calls fail. The end of the path names the method. Objects are written to
    /// `/upload/storage/v1/b/BUCKET/o`; elsewhere their names have encoded slashes.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Creates an empty bucket and returns its name.
    pub async fn create_bucket(&self) -> io::Result<String> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("bucket-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let body = serde_json::json!({ "name": name });
        let url = format!("{}/storage/v1/b?project=emulated", self.front.server);
        let answer = self.front.client.post(url).json(&body).send().await.map_err(io::Error::other)?;
        answer.error_for_status().map_err(io::Error::other)?;
        Ok(name)
    }

    /// The JSON key of the service account whose signatures it accepts.
    pub fn signing_key(&self) -> &str {
        self.front.key.json()
    }

    /// From now on reads of every bucket need no signature.
    pub fn make_public(&self) {
        self.front.public.store(true, Ordering::SeqCst);
    }

    /// Moves its clock ahead.
    pub fn advance(&self, by: Duration) {
        self.front.ahead.fetch_add(by.as_secs(), Ordering::SeqCst);
    }

    /// The requests so far, in order.
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
    // After the first call a provider is already installed, which is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().map_err(io::Error::other)
}
