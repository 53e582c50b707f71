//! The HTTP client of the load generator: one connection, one request at a time. It does as little work as possible,
//! because it shares the machine with the measured system.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use eventsource_stream::Eventsource as _;
use futures::{Stream, StreamExt as _};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{net::TcpStream, time::timeout};

use super::{load::Sender, stats::Errors};
use crate::{
    cli::{Exit, Failure},
    domain::{
        Timestamp,
        clock::{Clock as _, SystemClock},
    },
};

/// A response that takes longer counts as an error.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Where requests go.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// `host:port`
    address: Arc<str>,
    host: HeaderValue,
    /// The path of the base URL, without its last slash.
    prefix: Arc<str>,
    pub is_this_machine: bool,
}

impl Target {
    /// Accepts plain HTTP only, because the cost of encryption is not measured here.
    pub(super) fn of(url: &url::Url) -> Result<Self, Failure> {
        let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(80));
        let value = HeaderValue::from_str(url.authority());
        match value {
            Ok(value) if url.scheme() == "http" && !host.is_empty() => Ok(Self {
                address: format!("{host}:{port}").into(),
                host: value,
                prefix: url.path().trim_end_matches('/').into(),
                is_this_machine: crate::net::is_loopback(url),
            }),
            _ => Err(Failure::new(Exit::Usage, format!("cannot measure {url}: only http:// addresses are supported"))),
        }
    }

    /// A GET request that can be sent repeatedly.
    pub(super) fn get(&self, path: &str) -> anyhow::Result<Call> {
        self.call(Method::GET, path, Bytes::new())
    }

    /// A POST request that can be sent repeatedly.
    pub(super) fn post(&self, path: &str, body: impl Into<Bytes>) -> anyhow::Result<Call> {
        self.call(Method::POST, path, body.into())
    }

    fn call(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Call> {
        let uri = format!("{}{path}", self.prefix).parse().with_context(|| format!("{path:?} is not a valid path"))?;
        let name = format!("{method} {}", path.split('?').next().unwrap_or_default()).into();
        Ok(Call { method, uri, body, name })
    }
}

/// A request; cloning is cheap.
#[derive(Debug, Clone)]
pub(super) struct Call {
    method: Method,
    uri: Uri,
    body: Bytes,
    /// For the list of errors.
    name: Arc<str>,
}

/// One connection, opened on first use and again after a failure.
pub(super) struct Client {
    target: Target,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    pub(super) fn new(target: &Target) -> Self {
        Self { target: target.clone(), connection: None }
    }

    /// Opens the connection in advance, so that the first request is not slower.
    pub(super) async fn connect(&mut self) -> anyhow::Result<()> {
        let stream = TcpStream::connect(&*self.target.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the sender, which reports the error too.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        self.connection = Some(sender);
        Ok(())
    }

    /// The status and the whole body.
    pub(super) async fn send(&mut self, call: &Call) -> anyhow::Result<(StatusCode, Bytes)> {
        let exchange = async {
            let (head, body) = self.begin(call).await?.into_parts();
            anyhow::Ok((head.status, body.collect().await?.to_bytes()))
        };
        let answer = timeout(TIMEOUT, exchange).await.unwrap_or_else(|_| Err(anyhow::anyhow!("no response in time")));
        if answer.is_err() {
            self.connection = None;
        }
        answer
    }

    /// The JSON of a response that must be 200.
    pub(super) async fn json<T: DeserializeOwned>(&mut self, call: &Call) -> anyhow::Result<T> {
        let (status, body) = self.send(call).await.with_context(|| format!("cannot {}", call.name))?;
        anyhow::ensure!(status == StatusCode::OK, "{} answered {}", call.name, status.as_u16());
        serde_json::from_slice(&body).with_context(|| format!("{} answered unexpected JSON", call.name))
    }

    async fn begin(&mut self, call: &Call) -> anyhow::Result<Response<Incoming>> {
        if self.connection.as_ref().is_none_or(SendRequest::is_closed) {
            self.connect().await?;
        }
        let connection = self.connection.as_mut().context("not connected")?;
        let mut request = Request::new(Full::new(call.body.clone()));
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = call.uri.clone();
        request.headers_mut().insert(header::HOST, self.target.host.clone());
        if call.method == Method::POST {
            request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        connection.ready().await?;
        Ok(connection.send_request(request).await?)
    }

    /// Opens a stream of events. The connection stays open as long as the stream.
    pub(super) async fn events(mut self, call: &Call) -> anyhow::Result<Events> {
        let answer = timeout(TIMEOUT, self.begin(call)).await.context("no response in time")??;
        anyhow::ensure!(answer.status() == StatusCode::OK, "{} answered {}", call.name, answer.status().as_u16());
        Ok(Events { answer, client: self })
    }
}

/// An open stream of events.
pub(super) struct Events {
    answer: Response<Incoming>,
    client: Client,
}

impl Events {
    /// The data of each event and its time of arrival, until the stream ends.
    pub(super) fn arriving(self) -> impl Stream<Item = (Timestamp, String)> + Send {
        let Self { answer, client } = self;
        let chunks = answer.into_body().into_data_stream().map(move |chunk| {
            // Keeps the connection open until the last event.
            let _ = &client;
            chunk
        });
        let events = chunks.eventsource().take_while(|event| std::future::ready(event.is_ok()));
        events.filter_map(|event| std::future::ready(event.ok().map(|event| (SystemClock.now(), event.data))))
    }
}

/// A callback for each response: the number of its request, its body, and its time of arrival.
pub(super) type OnAnswer = Arc<dyn Fn(u64, &Bytes, Timestamp) + Send + Sync>;

/// A connection that sends calls in turn and expects one status.
pub(super) struct Caller {
    client: Client,
    calls: Arc<[Call]>,
    expected: StatusCode,
    errors: Errors,
    on_answer: Option<OnAnswer>,
}

/// Opens `count` connections.
pub(super) async fn callers(
    target: &Target,
    count: usize,
    calls: &Arc<[Call]>,
    expected: StatusCode,
    errors: &Errors,
    on_answer: Option<&OnAnswer>,
) -> anyhow::Result<Vec<Caller>> {
    let mut callers = Vec::with_capacity(count);
    for _ in 0..count {
        let mut client = Client::new(target);
        client.connect().await.with_context(|| format!("cannot connect to {}", target.address))?;
        let (calls, errors, on_answer) = (Arc::clone(calls), errors.clone(), on_answer.cloned());
        callers.push(Caller { client, calls, expected, errors, on_answer });
    }
    Ok(callers)
}

impl Sender for Caller {
    async fn send(&mut self, number: u64) -> bool {
        let index = usize::try_from(number).unwrap_or_default() % self.calls.len().max(1);
        let Some(call) = self.calls.get(index) else { return false };
        match self.client.send(call).await {
            Ok((status, body)) if status == self.expected => {
                if let Some(on_answer) = &self.on_answer {
                    on_answer(number, &body, SystemClock.now());
                }
                true
            }
            Ok((status, _)) => {
                self.errors.add(format!("{} answered {}", call.name, status.as_u16()));
                false
            }
            Err(error) => {
                self.errors.add(format!("{}: {error}", call.name));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Result<Target, Failure> {
        Target::of(&url.parse().unwrap())
    }

    #[test]
    fn a_target_is_an_http_address_with_or_without_a_path() {
        let here = target("http://127.0.0.1:8080").unwrap();
        assert_eq!((&*here.address, here.is_this_machine), ("127.0.0.1:8080", true));
        assert_eq!(here.get("/health").unwrap().uri, "/health");
        let there = target("http://forge.example/api/").unwrap();
        assert_eq!((&*there.address, there.is_this_machine), ("forge.example:80", false));
        assert_eq!(there.get("/credits?userId=a").unwrap().uri, "/api/credits?userId=a");
        assert_eq!(&*there.get("/credits?userId=a").unwrap().name, "GET /credits");
        assert!(target("http://[::1]:1").unwrap().is_this_machine);
        assert_eq!(target("https://forge.example").unwrap_err().exit, Exit::Usage);
    }
}
