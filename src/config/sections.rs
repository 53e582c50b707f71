//! The sections of the configuration, as `config/default.toml` documents them. Every key has its default there.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    EngineConfig, Environment, FirebaseConfig, FirestoreConfig, GcpConfig, GcsConfig, OidcConfig, PubSubConfig,
    PushAuth, ServerConfig, StreamTokensConfig, StyleConfig, TrainerConfig,
};
use crate::domain::style::{Catalogue, InvalidCatalogue};

/// Everything that can be configured.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the embedded parts keep their files. [`super::load()`] fills in the user's data directory.
    pub data_dir: PathBuf,
    /// Google Cloud.
    pub gcp: GcpConfig,
    /// Both HTTP servers.
    pub server: ServerConfig,
    /// The HTTP API.
    pub gateway: GatewayConfig,
    /// The worker.
    pub worker: WorkerConfig,
    /// Rules of every job.
    pub jobs: JobsConfig,
    /// When an engine that refuses or fails is left alone.
    pub breaker: BreakerConfig,
    /// Prices and grants.
    pub credits: CreditsConfig,
    /// What a request may ask for.
    pub limits: LimitsConfig,
    /// Where jobs are kept.
    pub store: StoreConfig,
    /// How jobs reach workers.
    pub queue: QueueConfig,
    /// Where pictures are kept.
    pub media: MediaConfig,
    /// What draws.
    pub engine: EngineConfig,
    /// What trains brands.
    pub trainer: TrainerConfig,
    /// The catalogue, by style id.
    pub styles: BTreeMap<String, StyleConfig>,
    /// Logs.
    pub telemetry: TelemetryConfig,
}

impl Config {
    /// Whether any part keeps its data in `data_dir`.
    pub fn is_embedded(&self) -> bool {
        self.store.backend == StoreBackend::Sqlite
            || self.queue.backend == QueueBackend::Embedded
            || self.media.backend == MediaBackend::Disk
    }

    /// Reads the secrets that are named; what is wrong, each with its key.
    pub(super) fn read_secrets(&mut self, environment: &Environment) -> Vec<(&'static str, String)> {
        let secrets = [
            ("gateway.stream_tokens.key", &mut self.gateway.stream_tokens.key),
            ("media.gcs.signing_key", &mut self.media.gcs.signing_key),
            ("engine.openai.key", &mut self.engine.openai.key),
            ("engine.lora.key", &mut self.engine.lora.key),
        ];
        secrets
            .into_iter()
            .filter_map(|(key, secret)| secret.read(environment).err().map(|detail| (key, detail)))
            .collect()
    }

    /// The styles on offer, in the order they are shown.
    pub fn catalogue(&self) -> Result<Catalogue, InvalidCatalogue> {
        let mut styles: Vec<(&String, &StyleConfig)> = self.styles.iter().collect();
        styles.sort_by_key(|(_, style)| style.order);
        Catalogue::new(styles.into_iter().map(|(id, style)| style.of_id(id)).collect())
    }
}

/// `[gateway]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayConfig {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// How callers are known.
    pub auth: AuthMode,
    /// The address clients use, for links in answers; absent: the request's `Host`.
    pub public_url: Option<url::Url>,
    /// Bytes of a JSON body, at most.
    pub body_limit: usize,
    /// Origins whose pages may call the API.
    pub cors_origins: Vec<String>,
    /// How long an uploaded file may take to arrive.
    #[serde(with = "super::duration")]
    pub upload_timeout: Duration,
    /// Requests a minute of one user; 0: any number.
    pub user_requests: u32,
    /// Requests a minute of one address; 0: any number.
    pub address_requests: u32,
    /// Our own proxies before the gateway.
    pub trusted_proxies: usize,
    /// Event streams and waiting submits open at once; 0: any number.
    pub streams: usize,
    /// The same of one user; 0: any number.
    pub streams_per_user: usize,
    /// Tokens of Firebase.
    pub firebase: FirebaseConfig,
    /// Tokens of our own, for event streams.
    pub stream_tokens: StreamTokensConfig,
}

/// How callers are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuthMode {
    /// The `userId` of the request is believed: for a laptop only.
    None,
    /// By the ID token of a Firebase user.
    Firebase,
}

/// `[worker]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerConfig {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Attempts that run at once.
    pub slots: usize,
    /// How long a silent worker keeps a job.
    #[serde(with = "super::duration")]
    pub lease: Duration,
    /// How often a lease is renewed; absent: a third of the lease.
    #[serde(default, with = "super::duration::option")]
    pub heartbeat: Option<Duration>,
    /// When a push is answered.
    pub ack: AckMode,
    /// How long a push may wait for a free slot before it is refused (and delivered again later).
    #[serde(with = "super::duration")]
    pub slot_wait: Duration,
    /// How often overdue jobs are looked for.
    #[serde(with = "super::duration")]
    pub sweep_every: Duration,
    /// How long running work may go on after a shutdown signal.
    #[serde(with = "super::duration")]
    pub drain: Duration,
    /// How callers are known.
    pub push_auth: PushAuth,
    /// What their tokens must say.
    pub oidc: OidcConfig,
}

impl WorkerConfig {
    /// How often a lease is renewed.
    pub fn heartbeat(&self) -> Duration {
        self.heartbeat.unwrap_or(self.lease / 3)
    }
}

/// When a push is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AckMode {
    /// As soon as the job is claimed; the lease guards the rest.
    OnClaim,
    /// When the job is done, for request-billed Cloud Run.
    OnCompletion,
}

/// `[jobs]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobsConfig {
    /// Attempts a job may start.
    pub max_attempts: u32,
    /// Upper bound of the first backoff; doubles with each attempt.
    #[serde(with = "super::duration")]
    pub backoff: Duration,
    /// Upper bound of every backoff.
    #[serde(with = "super::duration")]
    pub backoff_cap: Duration,
    /// How long an illustration may take in all.
    #[serde(with = "super::duration")]
    pub illustration_deadline: Duration,
    /// How long a training may take in all.
    #[serde(with = "super::duration")]
    pub training_deadline: Duration,
    /// How long people are told that a training takes.
    pub training_estimate: String,
    /// How long one engine call may take.
    #[serde(with = "super::duration")]
    pub attempt_timeout: Duration,
    /// When a queued job without a taker is published again; doubles each time.
    #[serde(with = "super::duration")]
    pub republish_after: Duration,
    /// How long a worker has to act on a cancellation.
    #[serde(with = "super::duration")]
    pub cancel_grace: Duration,
    /// How long a finished job is kept with its pictures; absent: for ever.
    #[serde(default, with = "super::duration::option")]
    pub retention: Option<Duration>,
    /// How long the store or the queue may take to answer one call.
    #[serde(with = "super::duration")]
    pub backend_timeout: Duration,
    /// How long the media store may take to write one picture.
    #[serde(with = "super::duration")]
    pub media_timeout: Duration,
}

/// `[breaker]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakerConfig {
    /// Failures in a row after which no job is claimed for an engine.
    pub failures: u32,
    /// How long at first.
    #[serde(with = "super::duration")]
    pub cooldown: Duration,
    /// How long at most.
    #[serde(with = "super::duration")]
    pub cap: Duration,
}

/// `[credits]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreditsConfig {
    /// What a new account begins with.
    pub starting_grant: u64,
    /// Price of an image.
    pub image: u64,
    /// Price of a large image.
    pub image_large: u64,
    /// The longest side, in pixels, that is not large.
    pub large_above_px: u32,
    /// Price of a training.
    pub training: u64,
}

/// `[limits]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// Unfinished jobs of one user; 0: any number.
    pub jobs_in_flight: u32,
    /// Characters of a prompt.
    pub prompt_chars: usize,
    /// Shortest side of a picture, in pixels.
    pub min_side: u32,
    /// Longest side of a picture, in pixels.
    pub max_side: u32,
    /// Pictures of one job.
    pub max_count: u32,
    /// Training images of a brand, at least.
    pub min_training_images: usize,
    /// Training images of a brand, at most.
    pub max_training_images: usize,
    /// Shortest side of a training image, in pixels.
    pub min_training_side: u32,
    /// Bytes of an uploaded file.
    pub upload_bytes: usize,
    /// Bytes of an uploaded zip archive of pictures.
    pub upload_zip_bytes: usize,
    /// Pixels of an uploaded picture.
    pub upload_pixels: u64,
    /// How long an upload that no brand uses is kept.
    #[serde(with = "super::duration")]
    pub upload_keep: Duration,
}

/// `[store]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// Which one.
    pub backend: StoreBackend,
    /// Google Cloud's.
    pub firestore: FirestoreConfig,
}

/// Where jobs are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreBackend {
    /// One file in the data directory.
    Sqlite,
    /// Google Cloud's.
    Firestore,
}

/// `[queue]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueConfig {
    /// Which one.
    pub backend: QueueBackend,
    /// The embedded broker.
    pub embedded: EmbeddedQueueConfig,
    /// Google Cloud's.
    pub pubsub: PubSubConfig,
}

/// How jobs reach workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueueBackend {
    /// The broker in the data directory.
    Embedded,
    /// Google Cloud's.
    #[serde(rename = "pubsub")]
    PubSub,
}

/// `[queue.embedded]`: the knobs of a Pub/Sub subscription.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddedQueueConfig {
    /// Where messages are pushed; absent: the worker of the process that runs the broker.
    pub push_url: Option<url::Url>,
    /// Pushes under way at once, per subscription; absent: twice the worker's slots.
    pub max_in_flight: Option<usize>,
    /// How long a push may take.
    #[serde(with = "super::duration")]
    pub ack_deadline: Duration,
    /// Wait after the first refused delivery; doubles each time.
    #[serde(with = "super::duration")]
    pub min_backoff: Duration,
    /// The longest wait between deliveries.
    #[serde(with = "super::duration")]
    pub max_backoff: Duration,
    /// Deliveries before a message becomes a dead letter.
    pub max_delivery_attempts: u32,
    /// How long an undelivered message is kept. (The job outlives it: the sweeper publishes again.)
    #[serde(with = "super::duration")]
    pub retention: Duration,
}

/// `[media]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MediaConfig {
    /// Which one.
    pub backend: MediaBackend,
    /// Google Cloud's.
    pub gcs: GcsConfig,
}

/// Where pictures are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MediaBackend {
    /// The data directory.
    Disk,
    /// Google Cloud's.
    Gcs,
}

/// `[telemetry]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetryConfig {
    /// How lines look.
    pub format: LogFormat,
    /// Which lines: a tracing filter such as `info` or `mediaforge=debug`.
    pub filter: String,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Text,
    /// For Cloud Logging: one JSON object a line.
    Json,
}
