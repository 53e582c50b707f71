//! What trains brands.

use std::{
    path::{Component, Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use url::Url;

use super::{Config, MediaBackend, validate::Check};

/// `[trainer]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainerConfig {
    /// The trainer that is used.
    pub default: TrainerBackend,
    /// How often a training is polled.
    #[serde(with = "super::duration")]
    pub poll_every: Duration,
    /// The built-in trainer.
    pub mock: MockTrainerConfig,
    /// Vertex AI.
    pub vertex: VertexTrainerConfig,
    /// A program on this machine.
    pub command: CommandTrainerConfig,
}

/// The trainers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrainerBackend {
    /// Built in: advances by the clock, without AI.
    Mock,
    /// Vertex AI custom jobs.
    Vertex,
    /// A program on this machine.
    Command,
}

/// `[trainer.mock]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MockTrainerConfig {
    /// How long a training takes.
    #[serde(with = "super::duration")]
    pub duration: Duration,
    /// Fraction of calls that answer "too many requests".
    pub rate_limited: f64,
    /// Fraction of calls that answer "unavailable".
    pub unavailable: f64,
    /// Fraction of calls that answer "no such model".
    pub misconfigured: f64,
    /// Fraction of trainings that fail in the end.
    pub failed: f64,
    /// Fraction of trainings that never end.
    pub hang: f64,
}

/// `[trainer.vertex]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VertexTrainerConfig {
    /// The region.
    pub location: String,
    /// The trainer's container image.
    pub image: Option<String>,
    /// Arguments of the container, before those that name the training.
    pub args: Vec<String>,
    /// The machine.
    pub machine_type: String,
    /// The accelerator.
    pub accelerator_type: String,
    /// The number of accelerators.
    pub accelerator_count: u32,
    /// Size of the boot disk, in gigabytes.
    pub boot_disk_gb: u32,
    /// The service account it runs as.
    pub service_account: Option<String>,
    /// Where models go, as `gs://bucket/prefix`.
    pub output: Option<String>,
    /// Steps of a training.
    pub steps: u32,
    /// What an hour of training costs, in millionths of a US dollar.
    pub micro_usd_per_hour: u64,
    /// How long a training may run.
    #[serde(with = "super::duration")]
    pub timeout: Duration,
    /// How long a training may wait for a machine.
    #[serde(with = "super::duration")]
    pub pending_timeout: Duration,
    /// Where Vertex AI is, instead of Google's own address.
    pub endpoint: Option<Url>,
    /// Where Cloud Storage is, instead of Google's own address.
    pub storage_endpoint: Option<Url>,
}

/// `[trainer.command]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandTrainerConfig {
    /// The program and its arguments, with `{dataset}`, `{output}`, `{steps}` and the like.
    pub argv: Vec<String>,
    /// The folder of the trainings' files; absent: `trainings` in `data_dir`.
    pub directory: Option<PathBuf>,
    /// The file of the output that is the model; absent: the newest `*.safetensors`.
    pub artifact: Option<String>,
    /// Steps of a training.
    pub steps: u32,
    /// How long a training may run.
    #[serde(with = "super::duration")]
    pub timeout: Duration,
    /// How long the program may take to end after SIGTERM.
    #[serde(with = "super::duration")]
    pub grace: Duration,
}

impl MockTrainerConfig {
    fn validate(&self, check: &mut Check) {
        check.time("trainer.mock.duration", self.duration, &(Duration::ZERO..=Duration::from_hours(24)));
        for (key, value) in [
            ("trainer.mock.rate_limited", self.rate_limited),
            ("trainer.mock.unavailable", self.unavailable),
            ("trainer.mock.misconfigured", self.misconfigured),
            ("trainer.mock.failed", self.failed),
            ("trainer.mock.hang", self.hang),
        ] {
            check.range(key, &value, &(0.0..=1.0));
        }
    }
}

impl VertexTrainerConfig {
    fn validate(&self, config: &Config, is_used: bool, check: &mut Check) {
        check.http_url("trainer.vertex.endpoint", self.endpoint.as_ref());
        check.http_url("trainer.vertex.storage_endpoint", self.storage_endpoint.as_ref());
        check.range("trainer.vertex.steps", &self.steps, &(1..=100_000));
        check.range("trainer.vertex.boot_disk_gb", &self.boot_disk_gb, &(100..=4000));
        check.some_time("trainer.vertex.timeout", self.timeout);
        check.some_time("trainer.vertex.pending_timeout", self.pending_timeout);
        if self.output.as_deref().is_some_and(|output| !is_bucket(output)) {
            check.wrong("trainer.vertex.output", "must be gs://bucket or gs://bucket/prefix");
        }
        if !is_used {
            return;
        }
        check.vertex(config, "trainer.default");
        if config.media.backend != MediaBackend::Gcs {
            let detail = "must be \"gcs\", for trainer.default is \"vertex\": it reads the pictures from the bucket";
            check.wrong("media.backend", detail);
        }
        for (key, is_set) in [
            ("trainer.vertex.image", self.image.is_some()),
            ("trainer.vertex.output", self.output.is_some()),
            ("media.gcs.bucket", config.media.gcs.bucket.is_some()),
        ] {
            if !is_set {
                check.wrong(key, "must be set, for trainer.default is \"vertex\"");
            }
        }
    }
}

impl CommandTrainerConfig {
    fn validate(&self, is_used: bool, check: &mut Check) {
        check.range("trainer.command.steps", &self.steps, &(1..=100_000));
        check.some_time("trainer.command.timeout", self.timeout);
        check.time("trainer.command.grace", self.grace, &(Duration::ZERO..=Duration::from_mins(1)));
        for problem in super::argv::problems(&self.argv) {
            check.wrong("trainer.command.argv", problem);
        }
        if self.artifact.as_deref().is_some_and(|artifact| !is_below(artifact)) {
            check.wrong("trainer.command.artifact", "must be a path below the output, such as lora.safetensors");
        }
        if is_used && self.argv.is_empty() {
            check.wrong("trainer.command.argv", "must name a program, for trainer.default is \"command\"");
        }
    }
}

impl TrainerConfig {
    /// Reports every wrong value, and for a worker what the configured trainer lacks.
    pub(super) fn validate(&self, config: &Config, is_worker: bool, check: &mut Check) {
        let is_used = |trainer| is_worker && self.default == trainer;
        check.time("trainer.poll_every", self.poll_every, &(Duration::from_millis(50)..=Duration::from_mins(1)));
        self.mock.validate(check);
        self.vertex.validate(config, is_used(TrainerBackend::Vertex), check);
        self.command.validate(is_used(TrainerBackend::Command), check);
    }
}

fn is_bucket(output: &str) -> bool {
    output.strip_prefix("gs://").and_then(|rest| rest.split('/').next()).is_some_and(|bucket| !bucket.is_empty())
}

/// Whether the path leads to something below its start.
fn is_below(path: &str) -> bool {
    !path.is_empty() && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}
