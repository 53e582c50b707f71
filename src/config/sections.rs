//! The sections of the configuration. `config/default.toml` documents every key and holds its default.

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
    /// The directory of the embedded backends. [`super::load()`] fills in the user's data directory.
    pub data_dir: PathBuf,
    /// Google Cloud.
    pub gcp: GcpConfig,
    /// Both HTTP servers.
    pub server: ServerConfig,
    /// The HTTP API.
    pub gateway: GatewayConfig,
    /// The worker.
    pub worker: WorkerConfig,
    /// Retries, deadlines and timeouts of jobs.
    pub jobs: JobsConfig,
    /// The circuit breaker of the engines.
    pub breaker: BreakerConfig,
    /// Prices and grants.
    pub credits: CreditsConfig,
    /// Limits of requests.
    pub limits: LimitsConfig,
    /// The job store.
    pub store: StoreConfig,
    /// The job queue.
    pub queue: QueueConfig,
    /// The media store.
    pub media: MediaConfig,
    /// The image engines.
    pub engine: EngineConfig,
    /// The brand trainers.
    pub trainer: TrainerConfig,
    /// The catalogue of styles, by style id.
    pub styles: BTreeMap<String, StyleConfig>,
    /// Logs.
    pub telemetry: TelemetryConfig,
}

impl Config {
    /// Whether any backend keeps its data in `data_dir`.
    pub fn is_embedded(&self) -> bool {
        self.store.backend == StoreBackend::Sqlite
            || self.queue.backend == QueueBackend::Embedded
            || self.media.backend == MediaBackend::Disk
    }

    /// Reads the secrets. Returns the errors, each with its key.
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

    /// The styles in display order.
    pub fn catalogue(&self) -> Result<Catalogue, InvalidCatalogue> {
        let mut styles: Vec<(&String, &StyleConfig)> = self.styles.iter().collect();
        styles.sort_by_key(|(_, style)| style.order);
        Catalogue::new(styles.into_iter().map(|(id, style)| style.to_style(id)).collect())
    }
}

/// `[gateway]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayConfig {
    /// Address and port; port 0 selects a free port.
    pub listen: SocketAddr,
    /// How callers are authenticated.
    pub auth: AuthMode,
    /// The address that clients use, for links in responses. Absent: the request's `Host`.
    pub public_url: Option<url::Url>,
    /// Maximum size of a JSON body, in bytes.
    pub body_limit: usize,
    /// Origins whose web pages may call the API.
    pub cors_origins: Vec<String>,
    /// Maximum time for an uploaded file to arrive.
    #[serde(with = "super::duration")]
    pub upload_timeout: Duration,
    /// Requests per minute and user; 0 means no limit.
    pub user_requests: u32,
    /// Requests per minute and client address; 0 means no limit.
    pub address_requests: u32,
    /// Number of our own proxies in front of the gateway.
    pub trusted_proxies: usize,
    /// Maximum number of open event streams and waiting submits; 0 means no limit.
    pub streams: usize,
    /// The same per user; 0 means no limit.
    pub streams_per_user: usize,
    /// Firebase ID tokens.
    pub firebase: FirebaseConfig,
    /// Our own tokens for event streams.
    pub stream_tokens: StreamTokensConfig,
}

/// How the gateway authenticates its callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuthMode {
    /// The `userId` of the request is trusted: for a laptop only.
    None,
    /// By the ID token of a Firebase user.
    Firebase,
}

/// `[worker]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerConfig {
    /// Address and port; port 0 selects a free port.
    pub listen: SocketAddr,
    /// Maximum number of concurrent attempts.
    pub slots: usize,
    /// How long a job stays with a worker that sends no heartbeat.
    #[serde(with = "super::duration")]
    pub lease: Duration,
    /// How often a lease is renewed. Absent: a third of the lease.
    #[serde(default, with = "super::duration::option")]
    pub heartbeat: Option<Duration>,
    /// When a push is acknowledged.
    pub ack: AckMode,
    /// How long a push may wait for a free slot before it is refused and delivered again later.
    #[serde(with = "super::duration")]
    pub slot_wait: Duration,
    /// How often the worker sweeps for overdue jobs.
    #[serde(with = "super::duration")]
    pub sweep_every: Duration,
    /// How long running work may continue after a shutdown signal.
    #[serde(with = "super::duration")]
    pub drain: Duration,
    /// How callers are authenticated.
    pub push_auth: PushAuth,
    /// The claims that callers' tokens must have.
    pub oidc: OidcConfig,
}

impl WorkerConfig {
    pub fn heartbeat(&self) -> Duration {
        self.heartbeat.unwrap_or(self.lease / 3)
    }
}

/// When a push is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AckMode {
    /// As soon as the job is claimed. From then on the lease protects the job.
    OnClaim,
    /// When the job has ended, for request-billed Cloud Run.
    OnCompletion,
}

/// `[jobs]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobsConfig {
    /// Maximum number of attempts of a job.
    pub max_attempts: u32,
    /// Upper bound of the first backoff. It doubles with each attempt.
    #[serde(with = "super::duration")]
    pub backoff: Duration,
    /// Upper bound of every backoff.
    #[serde(with = "super::duration")]
    pub backoff_cap: Duration,
    /// Maximum time from submission to the end of an illustration.
    #[serde(with = "super::duration")]
    pub illustration_deadline: Duration,
    /// Maximum time from submission to the end of a training.
    #[serde(with = "super::duration")]
    pub training_deadline: Duration,
    /// The estimated duration of a training that the API returns.
    pub training_estimate: String,
    /// Maximum duration of one engine call.
    #[serde(with = "super::duration")]
    pub attempt_timeout: Duration,
    /// When to publish a queued job again that no worker has claimed. It doubles each time.
    #[serde(with = "super::duration")]
    pub republish_after: Duration,
    /// How long a worker may take to act on a cancellation.
    #[serde(with = "super::duration")]
    pub cancel_grace: Duration,
    /// How long a finished job and its pictures are kept. Absent: forever.
    #[serde(default, with = "super::duration::option")]
    pub retention: Option<Duration>,
    /// Maximum duration of one call to the store or the queue.
    #[serde(with = "super::duration")]
    pub backend_timeout: Duration,
    /// Maximum duration of one write to the media store.
    #[serde(with = "super::duration")]
    pub media_timeout: Duration,
}

/// `[breaker]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakerConfig {
    /// Consecutive failures after which workers claim no jobs for an engine.
    pub failures: u32,
    /// The first pause.
    #[serde(with = "super::duration")]
    pub cooldown: Duration,
    /// The longest pause.
    #[serde(with = "super::duration")]
    pub cap: Duration,
}

/// `[credits]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreditsConfig {
    /// The credits of a new account.
    pub starting_grant: u64,
    /// Price of an image.
    pub image: u64,
    /// Price of a large image.
    pub image_large: u64,
    /// An image is large if a side is longer than this, in pixels.
    pub large_above_px: u32,
    /// Price of a training.
    pub training: u64,
}

/// `[limits]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// Unfinished jobs per user; 0 means no limit.
    pub jobs_in_flight: u32,
    /// Maximum length of a prompt, in characters.
    pub prompt_chars: usize,
    /// Shortest side of a picture, in pixels.
    pub min_side: u32,
    /// Longest side of a picture, in pixels.
    pub max_side: u32,
    /// Maximum number of pictures per job.
    pub max_count: u32,
    /// Minimum number of training images per brand.
    pub min_training_images: usize,
    /// Maximum number of training images per brand.
    pub max_training_images: usize,
    /// Shortest side of a training image, in pixels.
    pub min_training_side: u32,
    /// Maximum size of an uploaded file, in bytes.
    pub upload_bytes: usize,
    /// Maximum size of an uploaded zip archive of pictures, in bytes.
    pub upload_zip_bytes: usize,
    /// Maximum size of an uploaded picture, in pixels.
    pub upload_pixels: u64,
    /// How long an upload is kept that no brand uses.
    #[serde(with = "super::duration")]
    pub upload_keep: Duration,
}

/// `[store]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    pub backend: StoreBackend,
    pub firestore: FirestoreConfig,
}

/// The job store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreBackend {
    /// One SQLite file in the data directory.
    Sqlite,
    /// Google Cloud Firestore.
    Firestore,
}

/// `[queue]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueConfig {
    pub backend: QueueBackend,
    pub embedded: EmbeddedQueueConfig,
    pub pubsub: PubSubConfig,
}

/// The job queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueueBackend {
    /// The embedded broker, in the same file as the jobs.
    Embedded,
    /// Google Cloud Pub/Sub.
    #[serde(rename = "pubsub")]
    PubSub,
}

/// `[queue.embedded]`: the settings of a Pub/Sub subscription.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddedQueueConfig {
    /// The address to push messages to. Absent: the worker in the same process as the broker.
    pub push_url: Option<url::Url>,
    /// Maximum number of concurrent pushes per subscription. Absent: twice the worker's slots.
    pub max_in_flight: Option<usize>,
    /// Maximum duration of a push.
    #[serde(with = "super::duration")]
    pub ack_deadline: Duration,
    /// The wait after the first refused delivery. It doubles each time.
    #[serde(with = "super::duration")]
    pub min_backoff: Duration,
    /// The longest wait between deliveries.
    #[serde(with = "super::duration")]
    pub max_backoff: Duration,
    /// Deliveries before a message becomes a dead letter.
    pub max_delivery_attempts: u32,
    /// How long an undelivered message is kept. The job outlives it, and the sweeper publishes again.
    #[serde(with = "super::duration")]
    pub retention: Duration,
}

/// `[media]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MediaConfig {
    pub backend: MediaBackend,
    pub gcs: GcsConfig,
}

/// The media store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MediaBackend {
    /// The data directory.
    Disk,
    /// Google Cloud Storage.
    Gcs,
}

/// `[telemetry]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetryConfig {
    /// The format of log lines.
    pub format: LogFormat,
    /// A tracing filter such as `info` or `mediaforge=debug`.
    pub filter: String,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// Text.
    Text,
    /// One JSON object per line, as Cloud Logging reads it.
    Json,
}
