//! The HTTP server under gateway and worker: hyper, with bounds on what a client costs before it has asked anything.
//!
//! A connection is closed when its first request does not arrive in time, when it idles too long, and when a request's
//! head is too large (431). At the cap of connections nobody is turned away: those without a request under way are
//! asked to go, and whoever waits in the listener's backlog gets their permit.

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

/// Bytes of a request's head; a longer one is answered 431. Also what is read of a body at once, per connection.
const HEAD_BYTES: usize = 32 << 10;
/// Headers of a request; more are answered 431.
const HEADERS: usize = 100;
/// The pause after the system has refused a connection, most often because the process has too many files open.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a connection may be silent before it counts as one that asks nothing: its request may be on the way.
const GRACE: Duration = Duration::from_millis(500);
/// How often the log is told that it is crowded.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What clients may cost a server.
#[derive(Debug, Clone, Copy)]
pub struct ServerLimits {
    /// Connections open at once.
    pub connections: usize,
    /// From a connection's begin to the end of its first request's head.
    pub header_timeout: Duration,
    /// From an answer to the end of the next request's head.
    pub idle_timeout: Duration,
}

/// What connections are asked.
#[derive(Debug, Clone, Copy)]
enum Ask {
    /// Finish what is under way, then close.
    Leave,
    /// Close at once.
    Stop,
}

/// Serves until the shutdown is requested and the connections have finished, or until it is forced.
pub async fn serve(listener: TcpListener, router: Router, limits: ServerLimits, shutdown: Shutdown) {
    let server = Server {
        router,
        http: http(&limits),
        header_timeout: limits.header_timeout,
        permits: Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS))),
        asks: watch::Sender::new(Ask::Leave),
        open: TaskTracker::new(),
    };
    tokio::select! {
        () = shutdown.requested() => {}
        () = server.accept(&listener) => {}
    }
    // Without a listener a client's next try is refused at once, and goes elsewhere.
    drop(listener);
    server.asks.send_replace(Ask::Leave);
    server.open.close();
    tokio::select! {
        () = server.open.wait() => {}
        () = shutdown.forced() => {
            server.asks.send_replace(Ask::Stop);
            server.open.wait().await;
        }
    }
}

fn http(limits: &ServerLimits) -> http1::Builder {
    let mut http = http1::Builder::new();
    // hyper's one timer runs from the end of an answer, too; the first head has a shorter one in `connection`.
    http.timer(TokioTimer::new()).header_read_timeout(limits.idle_timeout.max(limits.header_timeout));
    http.max_buf_size(HEAD_BYTES).max_headers(HEADERS);
    http
}

struct Server {
    router: Router,
    http: http1::Builder,
    header_timeout: Duration,
    permits: Arc<Semaphore>,
    /// Its first value asks nobody anything: connections hear of changes only.
    asks: watch::Sender<Ask>,
    open: TaskTracker,
}

impl Server {
    /// Accepts without an end.
    async fn accept(&self, listener: &TcpListener) {
        let mut crowd = Crowd::default();
        loop {
            let Some(permit) = self.permit(&mut crowd).await else { return };
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let connection = self.connection(stream, peer);
                    self.open.spawn(async move {
                        connection.await;
                        drop(permit);
                    });
                }
                Err(error) if is_of_one_client(&error) => tracing::debug!(%error, "a client went before it was let in"),
                Err(error) => {
                    // Nothing here may end the server or spin: the cause passes when connections do.
                    crowd.tell(|| tracing::error!(%error, open = self.open.len(), "cannot accept connections"));
                    self.make_room();
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// A permit for one more connection.
    async fn permit(&self, crowd: &mut Crowd) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Some(permit);
        }
        crowd.tell(|| tracing::warn!(open = self.open.len(), "too many connections; those that idle are closed"));
        self.make_room();
        Arc::clone(&self.permits).acquire_owned().await.ok()
    }

    fn make_room(&self) {
        self.asks.send_replace(Ask::Leave);
    }

    /// One connection from its begin to its end.
    fn connection(&self, stream: TcpStream, peer: SocketAddr) -> impl Future<Output = ()> + Send + 'static {
        // Answers are small and must not wait for more to come.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let has_asked = Arc::new(AtomicBool::new(false));
        let service = {
            let (router, has_asked) = (self.router.clone(), Arc::clone(&has_asked));
            service_fn(move |mut request: Request<Incoming>| {
                has_asked.store(true, Ordering::Relaxed);
                request.extensions_mut().insert(ConnectInfo(peer));
                router.clone().call(request)
            })
        };
        let connection = self.http.serve_connection(TokioIo::new(stream), service);
        let (mut asks, header_timeout) = (self.asks.subscribe(), self.header_timeout);
        async move {
            let mut connection = pin!(connection);
            let begun = Instant::now();
            let mut first_head = pin!(sleep(header_timeout));
            let (mut is_first, mut is_to_leave) = (true, false);
            loop {
                tokio::select! {
                    // What has arrived is looked at before it is decided whether anything has.
                    biased;
                    ended = &mut connection => {
                        if let Err(error) = ended {
                            tracing::debug!(error = &error as &dyn std::error::Error, "connection ended");
                        }
                        return;
                    }
                    asked = asks.changed() => {
                        let stop = matches!(*asks.borrow_and_update(), Ask::Stop);
                        let has_asked = has_asked.load(Ordering::Relaxed);
                        if asked.is_err() || stop || (!has_asked && begun.elapsed() >= GRACE) {
                            return;
                        }
                        if has_asked {
                            connection.as_mut().graceful_shutdown();
                        } else {
                            is_to_leave = true;
                            first_head.as_mut().reset(begun + GRACE);
                        }
                    }
                    () = &mut first_head, if is_first => {
                        if !has_asked.load(Ordering::Relaxed) {
                            return;
                        }
                        is_first = false;
                        if is_to_leave {
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

/// Tells the log of a crowd now and then, not with every connection.
#[derive(Default)]
struct Crowd(Option<Instant>);

impl Crowd {
    fn tell(&mut self, line: impl FnOnce()) {
        if self.0.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            self.0 = Some(Instant::now());
            line();
        }
    }
}

/// Whether the next client may well be let in.
fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionRefused | ConnectionAborted | ConnectionReset)
}
