//! The HTTP server of gateway and worker: hyper, with limits on what a client costs before its first request.
//!
//! A connection is closed if its first request does not arrive in time, if it is idle for too long, or if the head of a
//! request is too large (431). When the limit of connections is reached, new clients wait in the listener's backlog, and
//! the server closes connections that have no request in progress.

use std::{
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::ConnectInfo,
    http::{HeaderMap, HeaderName, HeaderValue, header},
};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, sleep},
};
use tokio_util::task::TaskTracker;
use tower::Service as _;

use crate::lifecycle::Shutdown;

/// The size limit of a request's head in bytes; a larger one is answered with 431. Also the read buffer of a connection.
const HEAD_BYTES: usize = 32 << 10;
/// The most headers of a request; a request with more is answered with 431.
const HEADERS: usize = 100;
/// The pause after `accept` failed, most often because the process has too many open files.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a new connection is kept although it has sent nothing: its first request may be on its way.
const GRACE: Duration = Duration::from_millis(500);
/// The shortest interval between two log lines about too many connections.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Limits on the connections of a server.
#[derive(Debug, Clone, Copy)]
pub struct ServerLimits {
    /// How many connections may be open at once.
    pub connections: usize,
    /// The time from the start of a connection to the end of its first request's head.
    pub header_timeout: Duration,
    /// The time from a response to the end of the next request's head.
    pub idle_timeout: Duration,
}

/// A command to every open connection.
#[derive(Debug, Clone, Copy)]
enum Command {
    /// Finish the request in progress, then close.
    Finish,
    /// Close at once.
    Abort,
}

/// Serves until the shutdown is requested and every connection has finished, or until the shutdown is forced.
pub async fn serve(listener: TcpListener, router: Router, limits: ServerLimits, shutdown: Shutdown) {
    let server = Server {
        router,
        http: http(&limits),
        header_timeout: limits.header_timeout,
        permits: Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS))),
        commands: watch::Sender::new(Command::Finish),
        connections: TaskTracker::new(),
    };
    tokio::select! {
        () = shutdown.requested() => {}
        () = server.accept(&listener) => {}
    }
    // Without a listener, new connections are refused at once and clients can try another instance.
    drop(listener);
    server.commands.send_replace(Command::Finish);
    server.connections.close();
    tokio::select! {
        () = server.connections.wait() => {}
        () = shutdown.forced() => {
            server.commands.send_replace(Command::Abort);
            server.connections.wait().await;
        }
    }
}

fn http(limits: &ServerLimits) -> http1::Builder {
    let mut http = http1::Builder::new();
    // hyper has one timer for the first head and for idle time; `connection` applies the shorter limit to the first head.
    http.timer(TokioTimer::new()).header_read_timeout(limits.idle_timeout.max(limits.header_timeout));
    http.max_buf_size(HEAD_BYTES).max_headers(HEADERS);
    http
}

struct Server {
    router: Router,
    http: http1::Builder,
    header_timeout: Duration,
    permits: Arc<Semaphore>,
    /// Connections react to changes only, so the initial value has no effect.
    commands: watch::Sender<Command>,
    connections: TaskTracker,
}

impl Server {
    /// Accepts connections for ever.
    async fn accept(&self, listener: &TcpListener) {
        let mut throttle = LogThrottle::default();
        loop {
            let Some(permit) = self.permit(&mut throttle).await else { return };
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let connection = self.connection(stream, peer);
                    self.connections.spawn(async move {
                        connection.await;
                        drop(permit);
                    });
                }
                Err(error) if is_client_error(&error) => {
                    tracing::debug!(%error, "a client disconnected before it was accepted");
                }
                Err(error) => {
                    // Neither end the server nor spin: the cause disappears when connections close.
                    throttle
                        .log(|| tracing::error!(%error, open = self.connections.len(), "cannot accept connections"));
                    self.close_idle_connections();
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Waits for the permit of one more connection.
    async fn permit(&self, throttle: &mut LogThrottle) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Some(permit);
        }
        throttle.log(|| tracing::warn!(open = self.connections.len(), "too many connections; closing idle ones"));
        self.close_idle_connections();
        Arc::clone(&self.permits).acquire_owned().await.ok()
    }

    fn close_idle_connections(&self) {
        self.commands.send_replace(Command::Finish);
    }

    /// Serves one connection to its end.
    fn connection(&self, stream: TcpStream, peer: SocketAddr) -> impl Future<Output = ()> + Send + 'static {
        // Responses are small and must not wait for more data.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let has_request = Arc::new(AtomicBool::new(false));
        let service = {
            let (router, has_request) = (self.router.clone(), Arc::clone(&has_request));
            service_fn(move |mut request: Request<Incoming>| {
                has_request.store(true, Ordering::Relaxed);
                request.extensions_mut().insert(ConnectInfo(peer));
                router.clone().call(request)
            })
        };
        let connection = self.http.serve_connection(TokioIo::new(stream), service);
        let (mut commands, header_timeout) = (self.commands.subscribe(), self.header_timeout);
        async move {
            let mut connection = pin!(connection);
            let start = Instant::now();
            let mut first_head = pin!(sleep(header_timeout));
            let (mut is_first_head, mut must_finish) = (true, false);
            loop {
                tokio::select! {
                    // Processes received data before it checks whether a request has arrived.
                    biased;
                    ended = &mut connection => {
                        if let Err(error) = ended {
                            tracing::debug!(error = &error as &dyn std::error::Error, "connection ended");
                        }
                        return;
                    }
                    changed = commands.changed() => {
                        let abort = matches!(*commands.borrow_and_update(), Command::Abort);
                        let has_request = has_request.load(Ordering::Relaxed);
                        if changed.is_err() || abort || (!has_request && start.elapsed() >= GRACE) {
                            return;
                        }
                        if has_request {
                            connection.as_mut().graceful_shutdown();
                        } else {
                            must_finish = true;
                            first_head.as_mut().reset(start + GRACE);
                        }
                    }
                    () = &mut first_head, if is_first_head => {
                        if !has_request.load(Ordering::Relaxed) {
                            return;
                        }
                        is_first_head = false;
                        if must_finish {
                            connection.as_mut().graceful_shutdown();
                        }
                    }
                }
            }
        }
    }
}

/// Identifies a request, in responses and in the log.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Whether a proxy says that the client uses https. A client can forge this, but over http browsers ignore the one header
/// that depends on it.
pub fn is_forwarded_https(headers: &HeaderMap) -> bool {
    headers.get(FORWARDED_PROTO).is_some_and(|proto| proto == "https")
}

/// Adds the security headers of every response. A handler may set its own `Content-Security-Policy` and `Cache-Control`. After
/// `Strict-Transport-Security`, browsers use only https for a year.
pub fn add_security_headers(headers: &mut HeaderMap, is_https: bool) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    let nothing = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(nothing);
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if is_https {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
}

/// Limits how often a line is logged.
#[derive(Default)]
struct LogThrottle {
    logged_at: Option<Instant>,
}

impl LogThrottle {
    fn log(&mut self, line: impl FnOnce()) {
        if self.logged_at.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
            self.logged_at = Some(Instant::now());
            line();
        }
    }
}

/// Whether the error concerns one client only, so that the next one can be accepted.
fn is_client_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionRefused | ConnectionAborted | ConnectionReset)
}
