//! A push endpoint whose answers a case decides.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
};
use url::Url;

use crate::support::soon;

/// A push that waits for its answer. Dropping it answers 500.
pub struct Push {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    answer: oneshot::Sender<StatusCode>,
}

impl Push {
    pub fn answer(self, status: u16) {
        // Fails if the push was aborted.
        let _ = self.answer.send(StatusCode::from_u16(status).expect("a status"));
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    pub fn attempt(&self) -> u64 {
        self.json()["deliveryAttempt"].as_u64().expect("deliveryAttempt")
    }

    pub fn id(&self) -> String {
        self.json()["message"]["messageId"].as_str().expect("messageId").to_owned()
    }
}

#[derive(Clone)]
struct Counters {
    pushes: mpsc::UnboundedSender<Push>,
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

pub struct Endpoint {
    pub url: Url,
    pushes: mpsc::UnboundedReceiver<Push>,
    most: Arc<AtomicUsize>,
}

impl Endpoint {
    pub async fn open() -> Self {
        Self::at("127.0.0.1:0".parse().expect("an address")).await
    }

    pub async fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (sender, pushes) = mpsc::unbounded_channel();
        let (now, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let counters = Counters { pushes: sender, now, most: Arc::clone(&most) };
        let router = Router::new().fallback(receive).with_state(counters);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url: url.parse().expect("a URL"), pushes, most }
    }

    /// The next push.
    pub async fn next(&mut self) -> Push {
        soon("a push", self.pushes.recv()).await.expect("an open endpoint")
    }

    /// The largest number of pushes that were in progress at once.
    pub fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

async fn receive(State(counters): State<Counters>, uri: Uri, headers: HeaderMap, body: Bytes) -> StatusCode {
    let now = counters.now.fetch_add(1, Ordering::SeqCst) + 1;
    counters.most.fetch_max(now, Ordering::SeqCst);
    let (answer, answered) = oneshot::channel();
    let push = Push { path: uri.path().to_owned(), headers, body, answer };
    let _ = counters.pushes.send(push);
    let status = answered.await.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    counters.now.fetch_sub(1, Ordering::SeqCst);
    status
}
