//! The HTTP client of the load generator: one connection, one request at a time, as little work as possible, because
//! it shares the machine with what it measures.

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

/// How long an answer may take before it counts as an error.
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
    /// Plain HTTP only: what encryption costs is not what is measured here.
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
            _ => Err(Failure::new(Exit::Usage, format!("{url} is no http:// address that can be measured"))),
        }
    }

    /// A request that can be sent again and again.
    pub(super) fn get(&self, path: &str) -> anyhow::Result<Call> {
        self.call(Method::GET, path, Bytes::new())
    }

    /// The same with a body.
    pub(super) fn post(&self, path: &str, body: impl Into<Bytes>) -> anyhow::Result<Call> {
        self.call(Method::POST, path, body.into())
    }

    fn call(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Call> {
        let uri = format!("{}{path}", self.prefix).parse().with_context(|| format!("{path:?} is no path"))?;
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

/// One connection, made when it is first needed and again after a failure.
pub(super) struct Client {
    target: Target,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    pub(super) fn new(target: &Target) -> Self {
        Self { target: target.clone(), connection: None }
    }

    /// Makes the connection, so that the first request does not pay for it.
    pub(super) async fn connect(&mut self) -> anyhow::Result<()> {
        let stream = TcpStream::connect(&*self.target.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the sender; how, the sender is told as well.
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
        let answer = timeout(TIMEOUT, exchange).await.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer in time")));
        if answer.is_err() {
            self.connection = None;
        }
        answer
    }

    /// The JSON of an answer that must be 200.
    pub(super) async fn json<T: DeserializeOwned>(&mut self, call: &Call) -> anyhow::Result<T> {
        let (status, body) = self.send(call).await.with_context(|| format!("cannot {}", call.name))?;
        anyhow::ensure!(status == StatusCode::OK, "{} answered {}", call.name, status.as_u16());
        serde_json::from_slice(&body).with_context(|| format!("{} answered something else", call.name))
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

    /// Begins to watch: the events, each with the moment it was here. The connection lives as long as they do.
    pub(super) async fn events(mut self, call: &Call) -> anyhow::Result<Events> {
        let answer = timeout(TIMEOUT, self.begin(call)).await.context("no answer in time")??;
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
    /// The data of each event and when it came, until the stream ends.
    pub(super) fn arriving(self) -> impl Stream<Item = (Timestamp, String)> + Send {
        let Self { answer, client } = self;
        let chunks = answer.into_body().into_data_stream().map(move |chunk| {
            // Moved in here, so that the connection is not closed before its last event.
            let _ = &client;
            chunk
        });
        let events = chunks.eventsource().take_while(|event| std::future::ready(event.is_ok()));
        events.filter_map(|event| std::future::ready(event.ok().map(|event| (SystemClock.now(), event.data))))
    }
}

/// What is done with an answer: the number of its request, its body, and when it was here.
pub(super) type OnAnswer = Arc<dyn Fn(u64, &Bytes, Timestamp) + Send + Sync>;

/// A connection that sends some calls in turn and expects one status.
pub(super) struct Caller {
    client: Client,
    calls: Arc<[Call]>,
    expected: StatusCode,
    errors: Errors,
    on_answer: Option<OnAnswer>,
}

/// That many connected callers.
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
    fn a_target_is_a_plain_http_address_with_or_without_a_path() {
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
