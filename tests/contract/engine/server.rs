//! Servers that behave like providers, and some that misbehave.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue};
use image::{ImageFormat, RgbImage};
use mediaforge::google::token::{Authorization, TokenError, TokenSource};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate, matchers::method};

/// A different picture for every number, in that format.
pub fn picture(n: u64, format: ImageFormat) -> Vec<u8> {
    let mut seed = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let image = RgbImage::from_fn(96, 64, |_, _| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let [r, g, b, ..] = seed.to_be_bytes();
        image::Rgb([r, g, b])
    });
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

pub fn png(n: u64) -> Vec<u8> {
    picture(n, ImageFormat::Png)
}

pub fn base64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

/// The body of a request.
pub fn body_of(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap_or_default()
}

/// Sends the scripted responses in order, and then pictures that all differ.
pub struct Script {
    first: Mutex<VecDeque<ResponseTemplate>>,
    drawn: AtomicU64,
    answer: fn(&Value, &mut dyn FnMut() -> Vec<u8>) -> Value,
}

impl Respond for Script {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        if let Some(answer) = self.first.lock().unwrap().pop_front() {
            return answer;
        }
        let mut next = || png(self.drawn.fetch_add(1, Ordering::Relaxed));
        ResponseTemplate::new(200).set_body_json((self.answer)(&body_of(request), &mut next))
    }
}

/// A provider: its first responses to drawing calls, then pictures. It has every model.
pub async fn provider(
    answer: fn(&Value, &mut dyn FnMut() -> Vec<u8>) -> Value,
    first: impl IntoIterator<Item = ResponseTemplate>,
) -> MockServer {
    let server = MockServer::start().await;
    let script = Script { first: Mutex::new(first.into_iter().collect()), drawn: AtomicU64::new(1), answer };
    Mock::given(method("POST")).respond_with(script).mount(&server).await;
    let model = ResponseTemplate::new(200).set_body_json(serde_json::json!({ "name": "publishers/google/models/m" }));
    Mock::given(method("GET")).respond_with(model).mount(&server).await;
    server
}

/// The requests, in order.
pub async fn received(server: &MockServer) -> Vec<Request> {
    server.received_requests().await.unwrap()
}

/// Tokens that contain their generation: `token-0`, and after a refusal `token-1`.
#[derive(Default)]
pub struct FakeTokens {
    generation: AtomicU64,
    pub error: Mutex<Option<TokenError>>,
}

impl FakeTokens {
    pub fn failing(error: TokenError) -> Arc<Self> {
        Arc::new(Self { error: Mutex::new(Some(error)), ..Self::default() })
    }
}

#[async_trait]
impl TokenSource for FakeTokens {
    async fn authorization(&self) -> Result<Authorization, TokenError> {
        if let Some(error) = self.error.lock().unwrap().clone() {
            return Err(error);
        }
        let generation = self.generation.load(Ordering::SeqCst);
        let value = HeaderValue::from_str(&format!("Bearer token-{generation}")).unwrap();
        Ok(Authorization { headers: HeaderMap::from_iter([(http::header::AUTHORIZATION, value)]), generation })
    }

    async fn refused(&self, generation: u64) {
        let next = generation + 1;
        let _ = self.generation.compare_exchange(generation, next, Ordering::SeqCst, Ordering::SeqCst);
    }
}

/// What a server does after it has read a request.
#[derive(Debug, Clone, Copy)]
pub enum Manners {
    /// Sends endlessly.
    Endless,
    /// Announces a body that is too long.
    Huge,
    /// Starts a response and never continues.
    Slow,
    /// Sends nothing.
    Silent,
    /// Closes the connection within the response.
    HangsUp,
}

/// An event at a raw server.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    Request,
    /// The client closed the connection.
    Gone,
}

/// A server with this behaviour: its address, and its events.
pub async fn raw(manners: Manners) -> (String, mpsc::UnboundedReceiver<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sender, seen) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(misbehave(stream, manners, sender.clone()));
        }
    });
    (address, seen)
}

async fn misbehave(mut stream: TcpStream, manners: Manners, seen: mpsc::UnboundedSender<Seen>) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !is_whole(&request) {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let _ = seen.send(Seen::Request);
    let head = |rest: &str| format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{rest}\r\n\r\n{{");
    match manners {
        Manners::Endless => {
            stream.write_all(head("connection: close").as_bytes()).await?;
            while stream.write_all(&[b' '; 4096]).await.is_ok() {}
        }
        Manners::Huge => stream.write_all(head("content-length: 9000000000").as_bytes()).await?,
        Manners::Slow => stream.write_all(head("content-length: 1000").as_bytes()).await?,
        Manners::HangsUp => {
            stream.write_all(head("content-length: 1000").as_bytes()).await?;
            return stream.shutdown().await;
        }
        Manners::Silent => {}
    }
    while stream.read_buf(&mut request).await? > 0 {}
    let _ = seen.send(Seen::Gone);
    Ok(())
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some(end) = text.find("\r\n\r\n") else { return false };
    let length =
        text[..end].to_ascii_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    request.len() >= end + 4 + length.unwrap_or(0)
}

/// Long enough for a response, and short enough to wait for none.
pub const SHORT: Duration = Duration::from_millis(300);
