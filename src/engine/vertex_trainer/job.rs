//! A custom job in Vertex AI's JSON.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    config::VertexTrainerConfig,
    domain::{Timestamp, clock::until, ids::JobId},
    engine::TrainingSpec,
};

/// The fields of a custom job that are read.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct CustomJob {
    pub(super) name: String,
    pub(super) state: State,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) create_time: Option<Timestamp>,
    pub(super) start_time: Option<Timestamp>,
    pub(super) end_time: Option<Timestamp>,
    pub(super) update_time: Option<Timestamp>,
    pub(super) error: Option<Error>,
    job_spec: JobSpec,
}

/// A page of custom jobs.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Page {
    pub(super) custom_jobs: Vec<CustomJob>,
    pub(super) next_page_token: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct JobSpec {
    base_output_directory: Directory,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Directory {
    output_uri_prefix: String,
}

/// Why a job failed, as `google.rpc.Status`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Error {
    pub(super) code: i32,
    pub(super) message: String,
}

/// The state of a job. An unknown state counts as running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub(super) enum State {
    #[serde(rename = "JOB_STATE_QUEUED")]
    Queued,
    #[serde(rename = "JOB_STATE_PENDING")]
    Pending,
    #[serde(rename = "JOB_STATE_RUNNING")]
    Running,
    #[serde(rename = "JOB_STATE_SUCCEEDED")]
    Succeeded,
    #[serde(rename = "JOB_STATE_FAILED")]
    Failed,
    #[serde(rename = "JOB_STATE_CANCELLING")]
    Cancelling,
    #[serde(rename = "JOB_STATE_CANCELLED")]
    Cancelled,
    #[serde(rename = "JOB_STATE_PAUSED")]
    Paused,
    #[serde(rename = "JOB_STATE_EXPIRED")]
    Expired,
    #[serde(rename = "JOB_STATE_UPDATING")]
    Updating,
    #[serde(rename = "JOB_STATE_PARTIALLY_SUCCEEDED")]
    PartiallySucceeded,
    #[default]
    #[serde(other)]
    Unknown,
}

impl State {
    pub(super) fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::Expired | Self::PartiallySucceeded)
    }
}

impl CustomJob {
    /// Whether it has no result and will have none, so that the training may start again.
    pub(super) fn is_without_result(&self, now: Timestamp, config: &VertexTrainerConfig) -> bool {
        matches!(self.state, State::Failed | State::Cancelling | State::Cancelled | State::Expired)
            || self.is_pending_too_long(now, config)
    }

    /// Whether it has waited for a machine longer than allowed.
    pub(super) fn is_pending_too_long(&self, now: Timestamp, config: &VertexTrainerConfig) -> bool {
        matches!(self.state, State::Queued | State::Pending)
            && self.create_time.is_some_and(|created| until(created, now) > config.pending_timeout)
    }

    /// How long it has run on its machine.
    pub(super) fn runtime(&self, now: Timestamp) -> Duration {
        self.start_time.map_or(Duration::ZERO, |start| until(start, self.end_time.unwrap_or(now)))
    }

    /// The number of its attempt, from 1.
    pub(super) fn attempt(&self) -> Option<u32> {
        self.labels.get("mf_attempt")?.parse().ok()
    }

    /// Bucket and prefix of its output.
    pub(super) fn output(&self) -> Option<(&str, &str)> {
        bucket_and_prefix(&self.job_spec.base_output_directory.output_uri_prefix)
    }
}

/// `gs://bucket/prefix/` as bucket and prefix; the prefix ends in a slash unless it is empty.
pub(super) fn bucket_and_prefix(uri: &str) -> Option<(&str, &str)> {
    let (bucket, prefix) = uri.strip_prefix("gs://")?.split_once('/')?;
    (!bucket.is_empty() && (prefix.is_empty() || prefix.ends_with('/'))).then_some((bucket, prefix))
}

/// The label by which a job is found. Labels must be lower case and ids are not, so it is a digest.
pub(super) fn label(job: &JobId) -> String {
    let digest = Sha256::digest(job.as_str());
    let mut bits = [0; 16];
    bits.copy_from_slice(&digest[..16]);
    format!("{:032x}", u128::from_be_bytes(bits))
}

/// The body of the request that creates the job.
pub(super) fn body(config: &VertexTrainerConfig, bucket: &str, spec: &TrainingSpec, attempt: u32) -> Value {
    let job = spec.job_id.as_str();
    let output = format!("{}/{job}/{attempt}/", config.output.as_deref().unwrap_or_default().trim_end_matches('/'));
    let pictures: Vec<String> = spec.brand.images.iter().map(|image| format!("gs://{bucket}/{}", image.key)).collect();
    let folder = pictures.first().and_then(|first| first.rsplit_once('/')).map_or("", |(folder, _)| folder);
    let dataset = format!("{folder}/");
    let mut args = config.args.clone();
    args.extend([
        format!("--dataset={dataset}"),
        format!("--output={output}"),
        format!("--steps={}", config.steps),
        format!("--job={job}"),
        format!("--attempt={attempt}"),
    ]);
    let env = [
        ("MF_JOB", job.to_owned()),
        ("MF_ATTEMPT", attempt.to_string()),
        ("MF_NAME", spec.brand.name.clone()),
        ("MF_DATASET", dataset),
        ("MF_IMAGES", pictures.join("\n")),
        ("MF_OUTPUT", output.clone()),
        ("MF_STEPS", config.steps.to_string()),
    ]
    .map(|(name, value)| json!({ "name": name, "value": value }));
    let mut machine = json!({ "machineType": config.machine_type });
    if config.accelerator_count > 0 {
        machine["acceleratorType"] = json!(config.accelerator_type);
        machine["acceleratorCount"] = json!(config.accelerator_count);
    }
    let mut job_spec = json!({
        "workerPoolSpecs": [{
            "machineSpec": machine,
            // Google's JSON has 64-bit numbers as text.
            "replicaCount": "1",
            "diskSpec": { "bootDiskType": "pd-ssd", "bootDiskSizeGb": config.boot_disk_gb },
            "containerSpec": { "imageUri": config.image, "args": args, "env": env },
        }],
        "scheduling": {
            "timeout": format!("{}s", config.timeout.as_secs()),
            "restartJobOnWorkerRestart": false,
            "disableRetries": true,
            "strategy": "STANDARD",
        },
        "baseOutputDirectory": { "outputUriPrefix": output },
    });
    if let Some(account) = &config.service_account {
        job_spec["serviceAccount"] = json!(account);
    }
    json!({
        "displayName": format!("mediaforge-{job}"),
        "labels": { "app": "mediaforge", "mf_job": label(&spec.job_id), "mf_attempt": attempt.to_string() },
        "jobSpec": job_spec,
    })
}
