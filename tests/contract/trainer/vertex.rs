//! The trainer on Vertex AI, against a server with the documented shapes.

mod cloud;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use http::HeaderMap;
use mediaforge::{
    config::{Config, TrainerBackend},
    domain::{
        Timestamp,
        failure::{Disposition, ErrorCode},
    },
    engine::{OperationId, TrainingStatus},
    google::token::{Authorization, TokenError, TokenSource},
};
use serde_json::{Value, json};
use wiremock::ResponseTemplate;

use self::cloud::{Cloud, refusal};
use super::{Trainer, World, all, failure, job, model, opened, running, spec};
use crate::support::{at, defaults};

/// Numbered tokens; a refusal leads to the next.
#[derive(Default)]
struct Numbered(AtomicU64);

#[async_trait]
impl TokenSource for Numbered {
    async fn authorization(&self) -> Result<Authorization, TokenError> {
        let generation = self.0.load(Ordering::SeqCst);
        let mut headers = HeaderMap::new();
        headers.insert(http::header::AUTHORIZATION, format!("Bearer t{generation}").parse().unwrap());
        Ok(Authorization { headers, generation })
    }

    async fn refused(&self, generation: u64) {
        let _ = self.0.compare_exchange(generation, generation + 1, Ordering::SeqCst, Ordering::SeqCst);
    }
}

struct Google {
    cloud: Cloud,
    config: Config,
    tokens: Arc<Numbered>,
}

impl Google {
    async fn new() -> Self {
        let cloud = Cloud::start().await;
        let mut config = defaults();
        config.gcp.project = Some("acme".to_owned());
        config.media.gcs.bucket = Some("media".to_owned());
        config.trainer.default = TrainerBackend::Vertex;
        let vertex = &mut config.trainer.vertex;
        vertex.image = Some("trainer@sha256:1".to_owned());
        vertex.args = vec!["train.py".to_owned()];
        vertex.output = Some("gs://models/trainings".to_owned());
        vertex.service_account = Some("trainer@acme.iam.gserviceaccount.com".to_owned());
        (vertex.endpoint, vertex.storage_endpoint) = (Some(cloud.url()), Some(cloud.url()));
        Self { cloud, config, tokens: Arc::default() }
    }

    async fn started(&self, n: u32) -> (Trainer, OperationId) {
        let trainer = self.open();
        let operation = trainer.start(&spec(job(n), at(0))).await.unwrap();
        (trainer, operation)
    }

    fn report(&self, n: u32, attempt: u32, text: impl Into<Vec<u8>>) {
        self.cloud.put(&format!("trainings/{}/{attempt}/progress.json", job(n)), text);
    }

    fn deliver(&self, operation: &OperationId, n: u32) {
        self.cloud.put(&format!("trainings/{}/1/model/lora.safetensors", job(n)), model());
        self.cloud.set(operation, &json!({"state": "JOB_STATE_SUCCEEDED", "startTime": at(0), "endTime": at(900)}));
    }
}

fn progress(attempt: u32, step: u64) -> String {
    json!({"v": 1, "attempt": attempt, "step": step, "total": 1000, "loss": 0.1}).to_string()
}

#[async_trait]
impl World for Google {
    fn open(&self) -> Trainer {
        opened(&self.config, Some(self.tokens.clone()))
    }

    async fn advance(&self, operation: &OperationId, tenths: u64) -> Timestamp {
        let prefix = self.cloud.prefix(operation);
        if tenths == 10 {
            self.cloud.put(&format!("{prefix}model/lora.safetensors"), model());
            self.cloud.set(operation, &json!({"state": "JOB_STATE_SUCCEEDED", "endTime": at(1000)}));
        } else {
            self.cloud.put(&format!("{prefix}progress.json"), progress(1, tenths * 100));
            self.cloud.set(operation, &json!({"state": "JOB_STATE_RUNNING", "startTime": at(0)}));
        }
        at(tenths * 100)
    }
}

#[tokio::test]
async fn vertex_keeps_the_contract() {
    all(&Google::new().await).await;
}

#[tokio::test]
async fn vertex_creates_the_documented_job() {
    let google = Google::new().await;
    let (_, operation) = google.started(1).await;
    assert_eq!(operation.0, "projects/123/locations/us-central1/customJobs/1000");
    let created = google.cloud.created();
    let id = job(1);
    let label = created[0]["labels"]["mf_job"].as_str().unwrap().to_owned();
    assert!(label.len() <= 63 && label.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{label}");
    let folder = format!("gs://media/brands/ada/{id}/");
    let output = format!("gs://models/trainings/{id}/1/");
    let images: Vec<String> = (0..5).map(|n| format!("{folder}{n}.png")).collect();
    let env = |name: &str, value: &str| json!({"name": name, "value": value});
    let expected = json!({
        "displayName": format!("mediaforge-{id}"),
        "labels": {"app": "mediaforge", "mf_job": label, "mf_attempt": "1"},
        "jobSpec": {
            "workerPoolSpecs": [{
                "machineSpec": {"machineType": "g2-standard-8", "acceleratorType": "NVIDIA_L4", "acceleratorCount": 1},
                "replicaCount": "1",
                "diskSpec": {"bootDiskType": "pd-ssd", "bootDiskSizeGb": 200},
                "containerSpec": {
                    "imageUri": "trainer@sha256:1",
                    "args": [
                        "train.py",
                        format!("--dataset={folder}"),
                        format!("--output={output}"),
                        "--steps=1000",
                        format!("--job={id}"),
                        "--attempt=1",
                    ],
                    "env": [
                        env("MF_JOB", id.as_str()),
                        env("MF_ATTEMPT", "1"),
                        env("MF_NAME", "Acme"),
                        env("MF_DATASET", &folder),
                        env("MF_IMAGES", &images.join("\n")),
                        env("MF_OUTPUT", &output),
                        env("MF_STEPS", "1000"),
                    ],
                },
            }],
            "scheduling": {
                "timeout": "5400s",
                "restartJobOnWorkerRestart": false,
                "disableRetries": true,
                "strategy": "STANDARD",
            },
            "serviceAccount": "trainer@acme.iam.gserviceaccount.com",
            "baseOutputDirectory": {"outputUriPrefix": output},
        },
    });
    assert_eq!(created[0], expected);
    let mut plain = google.config.clone();
    plain.trainer.vertex.service_account = None;
    opened(&plain, None).start(&spec(job(2), at(0))).await.unwrap();
    assert!(google.cloud.created()[1]["jobSpec"].get("serviceAccount").is_none());
    let asked = google.cloud.asked();
    let list = "GET /v1/projects/acme/locations/us-central1/customJobs?filter=labels.mf_job%3D%22";
    assert!(asked[0].starts_with(list), "{asked:?}");
    assert_eq!(asked[1], "POST /v1/projects/acme/locations/us-central1/customJobs");
}

#[tokio::test]
async fn vertex_finds_a_job_after_a_lost_response() {
    let google = Google::new().await;
    google.cloud.lose_next_created();
    let trainer = google.open();
    let lost = trainer.start(&spec(job(1), at(0))).await.unwrap_err();
    assert_eq!(lost.disposition, Disposition::Retry { after: None });
    let found = google.open().start(&spec(job(1), at(1))).await.unwrap();
    assert_eq!(
        (found.0.as_str(), google.cloud.created().len()),
        ("projects/123/locations/us-central1/customJobs/1000", 1)
    );
    // A job without a result is not found again, and its reports do not count for the next.
    for state in ["FAILED", "CANCELLED", "CANCELLING", "EXPIRED"] {
        let before = google.cloud.created().len();
        google.cloud.set_all(&json!({"state": format!("JOB_STATE_{state}")}));
        let next = trainer.start(&spec(job(1), at(2))).await.unwrap();
        assert_eq!(google.cloud.created().len(), before + 1, "{state}");
        let attempt = (before + 1).to_string();
        assert_eq!(google.cloud.created()[before]["labels"]["mf_attempt"], attempt.as_str());
        assert!(google.cloud.prefix(&next).ends_with(&format!("/{attempt}/")));
    }
    // The job of another training is not taken either.
    let before = google.cloud.created().len();
    trainer.start(&spec(job(2), at(2))).await.unwrap();
    assert_eq!(google.cloud.created().len(), before + 1);
}

#[tokio::test]
async fn vertex_renews_a_refused_token_once() {
    let google = Google::new().await;
    let (trainer, operation) = google.started(1).await;
    google.cloud.accept_only("Bearer t1");
    running(&trainer, &operation, at(1)).await;
    google.cloud.accept_only("Bearer t9");
    let refused = trainer.poll(&operation, at(1)).await.unwrap_err();
    assert_eq!(refused.disposition, Disposition::Misconfigured);
    assert_eq!(google.tokens.0.load(Ordering::SeqCst), 2, "one more was tried");
}

#[tokio::test]
async fn vertex_reads_progress_and_ignores_unusable_reports() {
    let google = Google::new().await;
    let (trainer, operation) = google.started(1).await;
    google.cloud.set(&operation, &json!({"state": "JOB_STATE_RUNNING", "startTime": at(0)}));
    let seen = running(&trainer, &operation, at(60)).await;
    assert_eq!((seen.step, seen.total_steps), (Some(0), Some(1000)), "nothing yet");
    google.report(1, 1, progress(1, 250));
    let seen = running(&trainer, &operation, at(60)).await;
    assert_eq!((seen.step, seen.total_steps, seen.eta_seconds), (Some(250), Some(1000), Some(180)));
    let huge = vec![b' '; 100_000];
    for useless in [progress(1, 100).into_bytes(), progress(2, 900).into_bytes(), b"{\"att".to_vec(), huge] {
        google.report(1, 1, useless);
        assert_eq!(running(&trainer, &operation, at(90)).await.step, Some(250), "it never falls");
    }
    google.cloud.refuse("progress.json", refusal(403, "PERMISSION_DENIED", "no"));
    assert_eq!(running(&trainer, &operation, at(90)).await.step, Some(250), "the training goes on");
    google.report(1, 1, br#"{"attempt": 1, "step": 300, "total": 1000, "loss": NaN}"#);
    let failed = failure(&trainer, &operation, at(95)).await;
    assert!(failed.disposition == Disposition::Fail && failed.error.message.contains("no longer a number"), "{failed}");
    assert_eq!(google.cloud.cancelled(), [operation.0]);
}

#[tokio::test]
async fn vertex_knows_every_state() {
    let google = Google::new().await;
    let status = |code: i32, message: &str| json!({"code": code, "message": message});
    let failed =
        |error: Value| json!({"state": "JOB_STATE_FAILED", "startTime": at(0), "endTime": at(60), "error": error});
    let exit = "The replica workerpool0-0 exited with a non-zero status of";
    let unavailable = ErrorCode::EngineUnavailable;
    let cases = [
        (failed(status(3, &format!("{exit} 1."))), ErrorCode::EngineError, "retry"),
        (failed(status(3, &format!("{exit} 65."))), ErrorCode::EngineError, "fail"),
        (failed(status(3, &format!("{exit} 137."))), ErrorCode::EngineError, "retry"),
        (failed(status(3, "CUDA out of memory")), ErrorCode::EngineError, "fail"),
        (failed(status(4, "deadline")), ErrorCode::EngineTimeout, "fail"),
        (failed(status(7, "cannot pull the image")), ErrorCode::EngineMisconfigured, "misconfigured"),
        (failed(status(8, "no capacity")), unavailable, "retry"),
        (failed(status(13, "internal")), unavailable, "retry"),
        (failed(Value::Null), ErrorCode::EngineError, "retry"),
        (json!({"state": "JOB_STATE_CANCELLED", "error": status(1, "cancelled")}), ErrorCode::EngineError, "fail"),
        (
            json!({"state": "JOB_STATE_CANCELLED", "startTime": at(0), "endTime": at(5400)}),
            ErrorCode::EngineTimeout,
            "fail",
        ),
        (json!({"state": "JOB_STATE_EXPIRED"}), unavailable, "retry"),
        (json!({"state": "JOB_STATE_CANCELLING", "updateTime": at(0)}), ErrorCode::EngineError, "fail"),
        (json!({"state": "JOB_STATE_PARTIALLY_SUCCEEDED"}), ErrorCode::EngineError, "fail"),
    ];
    for (n, (state, code, follows)) in (1..).zip(cases) {
        let (trainer, operation) = google.started(n).await;
        google.cloud.set(&operation, &state);
        let failed = failure(&trainer, &operation, at(3600)).await;
        assert_eq!(failed.error.code, code, "{state}: {failed}");
        let disposition = match failed.disposition {
            Disposition::Retry { .. } => "retry",
            Disposition::Fail => "fail",
            Disposition::Misconfigured => "misconfigured",
            Disposition::Throttled { .. } => "throttled",
        };
        assert_eq!(disposition, follows, "{state}");
    }
    for state in ["CANCELLING", "PAUSED", "UPDATING", "UNSPECIFIED", "DREAMING"] {
        let (trainer, operation) = google.started(99).await;
        google.cloud.set(&operation, &json!({"state": format!("JOB_STATE_{state}"), "updateTime": at(0)}));
        running(&trainer, &operation, at(60)).await;
        google.cloud.set(&operation, &json!({"state": "JOB_STATE_FAILED"}));
    }
}

#[tokio::test]
async fn vertex_does_not_wait_for_a_machine_for_ever() {
    let google = Google::new().await;
    let timeout = google.config.trainer.vertex.pending_timeout.as_secs();
    let (trainer, operation) = google.started(1).await;
    running(&trainer, &operation, at(timeout)).await;
    assert_eq!(google.cloud.cancelled(), Vec::<String>::new());
    // It is cancelled; even before that shows, the next training is another job.
    google.cloud.ignore_cancel();
    let failed = failure(&trainer, &operation, at(timeout + 1)).await;
    assert_eq!(
        (failed.error.code, failed.disposition),
        (ErrorCode::EngineUnavailable, Disposition::Retry { after: None })
    );
    assert_eq!(google.cloud.cancelled(), std::slice::from_ref(&operation.0));
    let next = trainer.start(&spec(job(1), at(timeout + 2))).await.unwrap();
    assert_ne!(next, operation);
}

#[tokio::test]
async fn vertex_checks_the_model() {
    let google = Google::new().await;
    let (trainer, operation) = google.started(1).await;
    google.deliver(&operation, 1);
    google.cloud.put(&format!("trainings/{}/1/checkpoints/500.safetensors", job(1)), vec![0; 99]);
    let path = format!("gs://models/trainings/{}/1/model/lora.safetensors", job(1));
    // A quarter of an hour.
    let done = TrainingStatus::Succeeded { model_path: Some(path), cost_micro_usd: 245_000 };
    assert_eq!(trainer.poll(&operation, at(1000)).await.unwrap(), done);
    // A failed check says nothing about the model.
    google.cloud.refuse("lora.safetensors", refusal(403, "PERMISSION_DENIED", "no"));
    let unanswered = trainer.poll(&operation, at(1000)).await.unwrap_err();
    assert!(unanswered.error.message.contains("roles/storage.objectViewer"), "{unanswered}");
    assert_eq!(trainer.poll(&operation, at(1000)).await.unwrap(), done);
    let cut = model()[..30].to_vec();
    let longer = [model(), vec![0]].concat();
    let (second, half) = google.started(2).await;
    google.cloud.put(&format!("trainings/{}/1/checkpoints/500.safetensors", job(2)), model());
    google.cloud.set(&half, &json!({"state": "JOB_STATE_SUCCEEDED"}));
    assert!(failure(&second, &half, at(1)).await.error.message.contains("no model"), "a checkpoint is not a model");
    for bad in [Vec::new(), vec![1; 8], b"<html>404 not found</html>".to_vec(), cut, longer] {
        google.cloud.put(&format!("trainings/{}/1/model/lora.safetensors", job(1)), bad.clone());
        let failed = failure(&trainer, &operation, at(1000)).await;
        assert!(failed.disposition == Disposition::Fail && failed.error.message.contains("no model"), "{bad:?}");
    }
}

#[tokio::test]
async fn vertex_maps_refusals_to_failures() {
    let google = Google::new().await;
    let trainer = google.open();
    let disabled = json!({"error": {"code": 403, "message": "not enabled", "status": "PERMISSION_DENIED",
        "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED"}]}});
    let busy = refusal(429, "RESOURCE_EXHAUSTED", "quota").insert_header("retry-after", "7");
    let after = Some(Duration::from_secs(7));
    let cases = [
        (refusal(400, "INVALID_ARGUMENT", "no such machine"), Disposition::Misconfigured, "no such machine"),
        (refusal(403, "PERMISSION_DENIED", "no"), Disposition::Misconfigured, "roles/aiplatform.user"),
        (ResponseTemplate::new(403).set_body_json(disabled), Disposition::Misconfigured, "enable the API"),
        (refusal(404, "NOT_FOUND", "no such project"), Disposition::Misconfigured, "gcp.project"),
        (refusal(409, "ABORTED", "again"), Disposition::Retry { after: None }, "not available"),
        (busy, Disposition::Throttled { after }, "quota"),
        (refusal(503, "UNAVAILABLE", "later"), Disposition::Retry { after: None }, "not available"),
        (ResponseTemplate::new(502).set_body_string("<html>"), Disposition::Retry { after: None }, "not available"),
        (ResponseTemplate::new(200).set_body_string("<html>"), Disposition::Retry { after: None }, "not understood"),
    ];
    for (refused, disposition, said) in cases {
        google.cloud.refuse("customJobs", refused);
        let failed = trainer.start(&spec(job(1), at(0))).await.unwrap_err();
        assert_eq!(failed.disposition, disposition, "{failed}");
        assert!(failed.error.message.contains(said), "{failed}");
    }
    assert_eq!(google.cloud.created().len(), 0);
}
