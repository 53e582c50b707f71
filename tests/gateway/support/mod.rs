//! A gateway over the embedded backends, called without a socket. No worker runs: the tests themselves change jobs.

pub mod capture;
mod faulty;
mod fixed;
pub mod pictures;

use std::{collections::BTreeSet, num::NonZeroU32, path::Path, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Method, Request, StatusCode},
};
use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::BodyExt as _;
use mediaforge::{
    domain::{
        brand::BrandLimits,
        breaker::BreakerPolicy,
        clock::{Clock as _, after},
        ids::{JobId, WorkerId},
        job::{Job, JobPolicy, Lease, Output, Pictures, Progress, Transition, TransitionError},
        kind::JobKind,
        pricing::Prices,
        request::RequestLimits,
        retry::RetryPolicy,
        stored_image::StoredImage,
        style::{Catalogue, Learnt, Style},
        upload::UploadLimits,
    },
    embedded::Embedded,
    gateway::{Auth, GatewayLimits, GatewaySettings, GatewayState, router},
    intercept::Intercepted,
    jobs::{Deadlines, JobsConfig, Ports, SubmissionSettings, Timeouts, UploadSettings, UseCases},
    media::{self, MediaFormat, MediaKey, MediaStore},
    queue::{self, JobQueue},
    store::{self, AccountStore, JobFilter, JobStore, Owner, PageRequest, Stores, Version},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use faulty::Faults;
pub use fixed::TestClock;
use fixed::{NoEngine, NoTrainer, TestRandom};

/// The body limit in these tests, in bytes.
pub const BODY_LIMIT: usize = 64 * 1024;

/// A gateway and its backends.
pub struct World {
    pub router: Router,
    pub jobs: UseCases,
    pub policy: JobPolicy,
    pub store: Arc<dyn JobStore>,
    pub accounts: Arc<dyn AccountStore>,
    pub media: Arc<dyn MediaStore>,
    pub faults: Faults,
    pub clock: Arc<TestClock>,
    pub drain: CancellationToken,
    _data: TempDir,
}

/// A response with its complete body.
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Response {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", String::from_utf8_lossy(&self.body)))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The body; fails unless it is a complete problem document with this status and code.
    pub fn problem(&self, status: u16, code: &str) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status.as_u16(), status, "{text}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{text}");
        let body = self.json();
        assert_eq!(body["code"], code, "{text}");
        assert_eq!(body["status"], status);
        assert_eq!(body["success"], false);
        assert_eq!(body["requestId"].as_str(), self.header("x-request-id"));
        assert!(!text.contains("secret"), "internals leak: {text}");
        if status == 503 || status == 429 {
            assert!(self.header("retry-after").is_some_and(|after| after.parse::<u64>().unwrap() > 0));
        }
        body
    }
}

pub fn settings() -> GatewaySettings {
    GatewaySettings {
        public_url: None,
        body_limit: BODY_LIMIT,
        cors_origins: vec!["https://app.example".to_owned()],
        auth: Auth::None,
        limits: GatewayLimits::default(),
        version: "0.0.0-test",
    }
}

pub fn world() -> World {
    world_with(settings())
}

pub fn world_with(settings: GatewaySettings) -> World {
    world_with_config(settings, config())
}

/// Finished jobs are kept this long.
pub fn world_with_retention(settings: GatewaySettings, retention: Option<Duration>) -> World {
    world_with_config(settings, JobsConfig { retention, ..config() })
}

pub fn world_with_limits(limits: GatewayLimits) -> World {
    world_with(GatewaySettings { limits, ..settings() })
}

/// A user may have this many unfinished jobs.
pub fn world_with_jobs_in_flight(max: u32) -> World {
    let mut config = config();
    config.submission.jobs_in_flight = NonZeroU32::new(max);
    world_with_config(settings(), config)
}

/// Pictures are stored here.
pub fn world_with_media(media: Arc<dyn MediaStore>) -> World {
    build_world(settings(), config(), Some(media))
}

fn world_with_config(settings: GatewaySettings, config: JobsConfig) -> World {
    build_world(settings, config, None)
}

fn build_world(settings: GatewaySettings, config: JobsConfig, media: Option<Arc<dyn MediaStore>>) -> World {
    capture::start();
    let data = tempfile::tempdir().unwrap();
    let (stores, queue, disk) = backends(data.path());
    let media = media.unwrap_or(disk);
    let faults = Faults::default();
    let store = Arc::new(Intercepted::new(stores.jobs, Arc::clone(&faults.store)));
    let accounts = Arc::new(Intercepted::new(stores.accounts, Arc::clone(&faults.store)));
    let queue = Arc::new(Intercepted::new(queue, Arc::clone(&faults.queue)));
    let media = Arc::new(Intercepted::new(media, Arc::clone(&faults.media)));
    let clock = Arc::new(TestClock::new());
    let ports = Ports {
        store: store.clone(),
        accounts: accounts.clone(),
        queue,
        media: media.clone(),
        engine: Arc::new(NoEngine),
        trainer: Arc::new(NoTrainer),
        clock: clock.clone(),
        random: Arc::new(TestRandom::default()),
    };
    let policy = config.policy;
    let jobs = UseCases::new(ports, config);
    let drain = CancellationToken::new();
    let state = GatewayState::new(&jobs, settings, drain.clone()).unwrap();
    World { router: router(state), jobs, policy, store, accounts, media, faults, clock, drain, _data: data }
}

/// The backends of all gateway tests: change them here to test others.
fn backends(data: &Path) -> (Stores, Arc<dyn JobQueue>, Arc<dyn MediaStore>) {
    let embedded = Embedded::open(data, &[]).unwrap();
    let media = media::open_disk(data).unwrap();
    (store::open_sqlite(&embedded), queue::open_embedded(&embedded), media)
}

fn config() -> JobsConfig {
    let style = |id: &str, name: &str, description: &str| Style {
        id: id.to_owned(),
        name: name.to_owned(),
        description: description.to_owned(),
        modifier: String::new(),
        palette: Vec::new(),
        learnt: Learnt::default(),
    };
    let minute = Duration::from_mins(1);
    JobsConfig {
        policy: JobPolicy {
            retry: RetryPolicy { max_attempts: 5, base: Duration::from_secs(1), cap: minute },
            republish_after: minute,
            republish_cap: minute,
            cancel_grace: minute,
            queue_delays: true,
        },
        deadlines: Deadlines { illustration: 10 * minute, training: 120 * minute },
        starting_grant: 10,
        submission: SubmissionSettings {
            prices: Prices { image: 1, image_large: 2, large_above_px: 1536, training: 25 },
            limits: RequestLimits { prompt_chars: 2000, min_side: 256, max_side: 2048, max_count: 4 },
            catalogue: Catalogue::new(vec![
                style("watercolor", "Watercolor", "Soft washes on rough paper"),
                style("line-art", "Line art", "Black lines on white"),
            ])
            .unwrap(),
            jobs_in_flight: None,
            brand_limits: BrandLimits {
                min_images: 5,
                max_images: 50,
                max_colors: 5,
                name_chars: 80,
                min_side: 128,
                max_aspect: 3,
                min_difference: 6,
            },
            training_estimate: "15-30 minutes".to_owned(),
            uploads: UploadSettings {
                limits: UploadLimits { max_bytes: 1 << 20, max_pixels: 40_000_000, max_archive_bytes: 4 << 20 },
                keep: 24 * 60 * minute,
            },
        },
        retention: None,
        breaker: BreakerPolicy { failures: 5, cooldown: minute, cap: minute },
        timeouts: Timeouts { backend: Duration::MAX, media: Duration::MAX },
    }
}

impl World {
    pub async fn send(&self, request: Request<Body>) -> Response {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Response { status: parts.status, headers: parts.headers, body }
    }

    pub async fn call(&self, method: Method, path: &str) -> Response {
        self.send(request(method, path).body(Body::empty()).unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Response {
        self.call(Method::GET, path).await
    }

    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        self.send(with(request(Method::GET, path), headers).body(Body::empty()).unwrap()).await
    }

    pub async fn generate(&self, body: &Value) -> Response {
        self.generate_with(body, &[]).await
    }

    pub async fn generate_with(&self, body: &Value, headers: &[(&str, &str)]) -> Response {
        self.send(with(post_json(), headers).body(Body::from(body.to_string())).unwrap()).await
    }

    /// Sends a body that may be invalid JSON.
    pub async fn generate_raw(&self, body: impl Into<Body>) -> Response {
        self.send(post_json().body(body.into()).unwrap()).await
    }

    /// The number of jobs of all users in these tests.
    pub async fn job_count(&self) -> usize {
        let mut count = 0;
        for user in ["local", "ann", "bob"] {
            let filter = JobFilter {
                owner: Owner::User(user.parse().unwrap()),
                kind: JobKind::Illustration,
                statuses: BTreeSet::new(),
            };
            let page = self.store.list(&filter, &PageRequest { limit: 1000, after: None }).await.unwrap();
            count += page.items.len();
        }
        count
    }

    /// Submits a job for `user` and returns its id.
    pub async fn queued(&self, user: &str) -> String {
        let answer = self.generate(&json!({ "userId": user, "prompt": "a lighthouse at dawn" })).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.json());
        answer.json()["illustrationId"].as_str().unwrap().to_owned()
    }

    /// Changes the job as a worker would.
    pub async fn change(&self, id: &str, verb: impl FnOnce(Job) -> Result<Transition, TransitionError>) -> Version {
        let id: JobId = id.parse().unwrap();
        let found = self.store.get(&id).await.unwrap().unwrap();
        let next = verb(found.value).unwrap();
        self.store.commit(found.version, &next).await.unwrap().version
    }

    pub async fn start(&self, id: &str) -> Version {
        let now = self.clock.now();
        let owner = WorkerId::new(1, &TestRandom::default());
        let lease = Lease { owner, expires_at: after(now, Duration::from_secs(30)) };
        self.change(id, |job| job.start(now, lease, &self.policy)).await
    }

    pub async fn heartbeat(&self, id: &str, fraction: Option<f64>) -> Version {
        let until = after(self.clock.now(), Duration::from_mins(1));
        let progress = fraction.map(|fraction| Progress { fraction, ..Progress::default() });
        self.change(id, |job| job.renew(until, progress)).await
    }

    /// Completes the job with one picture that can be fetched.
    pub async fn complete(&self, id: &str) -> Version {
        self.complete_filtered(id, 0).await
    }

    /// Completes the job with one picture; `filtered` other pictures were withheld.
    pub async fn complete_filtered(&self, id: &str, filtered: u32) -> Version {
        let id_parsed: JobId = id.parse().unwrap();
        let user = self.store.get(&id_parsed).await.unwrap().unwrap().value.user.clone();
        let key = MediaKey::picture(&user, &id_parsed, 1, 2, 0, MediaFormat::Png);
        let thumb = MediaKey::thumbnail(&user, &id_parsed, 1, 2, 0);
        self.media.put(&key, MediaFormat::Png, Bytes::from_static(b"0123456789abcdefghij")).await.unwrap();
        self.media.put(&thumb, MediaFormat::Webp, Bytes::from_static(b"thumb")).await.unwrap();
        let image = StoredImage { key: key.to_string(), width: 1024, height: 1024, bytes: 20, sha256: "0".repeat(64) };
        let output = Output::Pictures(Pictures {
            images: vec![image],
            thumbnail_key: Some(thumb.to_string()),
            filtered,
            model: "preview".to_owned(),
            final_prompt: "a lighthouse at dawn, soft washes".to_owned(),
            seed: Some(7),
            cost_micro_usd: 39_000,
            generation_ms: 1234,
        });
        let now = self.clock.now();
        self.change(id, |job| job.complete(now, output)).await
    }

    /// Opens an event stream.
    pub async fn events(&self, path: &str, headers: &[(&str, &str)]) -> Events {
        let request = with(request(Method::GET, path), headers).body(Body::empty()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let (parts, body) = response.into_parts();
        Events { headers: parts.headers, body: futures::StreamExt::boxed(body.into_data_stream()) }
    }
}

/// An open event stream.
pub struct Events {
    pub headers: HeaderMap,
    body: futures::stream::BoxStream<'static, Result<Bytes, axum::Error>>,
}

/// One frame of an event stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub name: String,
    pub id: String,
    pub data: Value,
}

impl Events {
    /// The next frame; `None` at the end of the stream.
    pub async fn frame(&mut self) -> Option<String> {
        let frame = tokio::time::timeout(Duration::from_secs(20), self.body.next()).await.expect("a frame in time");
        frame.map(|frame| String::from_utf8(frame.unwrap().to_vec()).unwrap())
    }

    /// The next frame; fails unless it is an event.
    pub async fn event(&mut self) -> Event {
        let frame = self.frame().await.expect("an event before the end");
        let field = |name: &str| {
            let line = frame.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            line.unwrap_or_else(|| panic!("no {name} in {frame:?}")).to_owned()
        };
        Event { name: field("event"), id: field("id"), data: serde_json::from_str(&field("data")).unwrap() }
    }
}

pub fn request(method: Method, path: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path).header("host", "gateway.test:8080")
}

pub fn post_json() -> axum::http::request::Builder {
    request(Method::POST, "/generate").header("content-type", "application/json")
}

pub fn with(mut builder: axum::http::request::Builder, headers: &[(&str, &str)]) -> axum::http::request::Builder {
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder
}
