//! How the worker handles pushes, and jobs whose engine fails.

use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::support::{System, Topology, answer};

async fn push(system: &System, endpoint: &str, data: &str) -> u16 {
    let envelope = json!({
        "message": { "data": STANDARD.encode(data), "messageId": "9", "message_id": "9",
                     "publishTime": "2026-01-01T00:00:00Z", "publish_time": "2026-01-01T00:00:00Z" },
        "subscription": "projects/other/subscriptions/another", "deliveryAttempt": 2,
    });
    answer(system.client.post(format!("{}{endpoint}", system.worker)).json(&envelope)).await.0
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_unknown_jobs_and_garbage_are_acknowledged_without_effect() {
    let system = System::start(Topology::TwoProcesses, &[]).await;
    let id = system.submit("ada", "a cat").await;
    let done = system.finished("ada", &id).await;
    assert_eq!(done["status"], "completed");

    let message = json!({ "v": 1, "kind": "generation", "jobId": id }).to_string();
    let duplicates = futures::future::join_all((0..8).map(|_| push(&system, "/process-generation", &message))).await;
    assert_eq!(duplicates, [200; 8]);
    let again = system.get(&format!("/illustrations/{id}?userId=ada")).await;
    assert_eq!(again, done, "a duplicate changes nothing");

    let unknown = json!({ "v": 1, "kind": "generation", "jobId": "ill_00000000000000000000" }).to_string();
    let brand = json!({ "v": 1, "kind": "training", "jobId": "brd_00000000000000000000" }).to_string();
    for (endpoint, data) in [
        ("/process-generation", unknown.as_str()),
        ("/process-training", brand.as_str()),
        ("/process-generation", brand.as_str()),
        ("/process-generation", "not json"),
        ("/process-generation", r#"{"v":99}"#),
    ] {
        assert_eq!(push(&system, endpoint, data).await, 200, "{endpoint} {data}");
    }
    let raw = system.client.post(format!("{}/process-generation", system.worker)).body("]");
    assert_eq!(answer(raw).await.0, 200);
    let (status, swept) = answer(system.client.post(format!("{}/sweep", system.worker))).await;
    assert_eq!((status, swept["settled"].as_u64()), (200, Some(0)));
    let health = answer(system.client.get(format!("{}/health", system.worker))).await;
    assert_eq!((health.0, health.1["service"].as_str()), (200, Some("worker")));
    system.finish().await;
}

async fn with_knob(knob: &str, extra: &[(&str, &str)]) -> (System, Value) {
    let knob = format!("MEDIAFORGE_ENGINE__PREVIEW__{knob}");
    let mut environment = vec![(knob.as_str(), "1.0")];
    environment.extend_from_slice(extra);
    let system = System::start(Topology::OneProcess, &environment).await;
    let id = system.submit("ada", "a cat").await;
    let job = system.finished("ada", &id).await;
    let (available, held, spent, granted) = system.credits("ada").await;
    assert_eq!((available, held, spent), (granted, 0, 0), "a failed job costs nothing");
    (system, job)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filtered_job_fails_at_once_with_the_reason() {
    let (system, job) = with_knob("FILTERED", &[]).await;
    assert_eq!((job["status"].as_str(), job["attempt"].as_u64()), (Some("failed"), Some(1)));
    assert_eq!(job["error"]["code"], "content_filtered");
    assert!(job["failedAt"].is_string() && job.get("imageUrl").is_none());
    assert_eq!(dead_letters(&system), 0, "a filtered job needs no operator");
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_stays_down_exhausts_the_attempts_and_leaves_one_dead_letter() {
    let (system, job) = with_knob("UNAVAILABLE", &[("MEDIAFORGE_JOBS__MAX_ATTEMPTS", "3")]).await;
    assert_eq!((job["status"].as_str(), job["attempt"].as_u64()), (Some("failed"), Some(3)));
    assert_eq!(job["error"]["code"], "engine_unavailable");
    assert_eq!(dead_letters(&system), 1);
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_engine_times_out() {
    let limits = [("MEDIAFORGE_JOBS__MAX_ATTEMPTS", "1"), ("MEDIAFORGE_JOBS__ATTEMPT_TIMEOUT", "300ms")];
    let (system, job) = with_knob("HANG", &limits).await;
    assert_eq!(job["error"]["code"], "engine_timeout");
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limited_engine_costs_no_attempts_until_the_deadline() {
    let limits = [("MEDIAFORGE_JOBS__ILLUSTRATION_DEADLINE", "2s"), ("MEDIAFORGE_JOBS__ATTEMPT_TIMEOUT", "1s")];
    let (system, job) = with_knob("RATE_LIMITED", &limits).await;
    assert_eq!((job["error"]["code"].as_str(), job["attempt"].as_u64()), (Some("deadline_exceeded"), Some(0)));
    system.finish().await;
}

/// Waits until the job waits for this reason.
async fn until_waiting(system: &System, id: &str, code: &str) -> Value {
    let path = format!("/illustrations/{id}?userId=ada");
    loop {
        let job = system.get(&path).await;
        assert!(job["status"] == "queued" || job["status"] == "processing", "{job}");
        if job["status"] == "queued" && job["lastError"]["code"] == code {
            return job;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn ready(system: &System) -> Value {
    let (status, body) = answer(system.client.get(format!("{}/ready", system.worker))).await;
    assert_eq!((status, body["status"].as_str()), (200, Some("ready")), "{body}");
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_a_rate_limited_engine_wait_with_a_reason_and_few_calls_are_made() {
    let knob = "MEDIAFORGE_ENGINE__PREVIEW__RATE_LIMITED";
    let mut system = System::start(Topology::OneProcess, &[(knob, "1.0")]).await;
    let begun = Instant::now();
    let mut jobs = Vec::new();
    for n in 0..8 {
        jobs.push(system.submit("ada", &format!("cat {n}")).await);
    }
    for id in &jobs {
        let job = until_waiting(&system, id, "rate_limited").await;
        assert_eq!(job["attempt"], 0, "{job}");
    }
    let engines = ready(&system).await["engines"].clone();
    assert_eq!((&engines[0]["engine"], &engines[0]["misconfigured"]), (&json!("preview"), &json!(false)), "{engines}");
    // Waits for the first probe, which fails like the calls before it.
    let calls = || system.logs().matches("attempt failed; will retry").count();
    while system.logs().matches("calls to the engine are paused").count() < 2 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let calls = calls();
    // Both slots may call before either gets an answer. After that there is one call every two seconds, as the engine asks.
    let most = 2 + begun.elapsed().as_secs() / 2 + 1;
    assert!(u64::try_from(calls).expect("a count") <= most, "{calls} calls, {most} at most: {}", system.logs());
    // When the engine works again, every job completes in its first attempt.
    system.terminate().await;
    system.set(knob, None);
    system.launch().await;
    for id in &jobs {
        let job = system.finished("ada", id).await;
        assert_eq!((job["status"].as_str(), job["attempt"].as_u64()), (Some("completed"), Some(1)));
    }
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misconfigured_engine_is_reported_and_costs_nothing() {
    let knob = "MEDIAFORGE_ENGINE__PREVIEW__MISCONFIGURED";
    let mut system = System::start(Topology::OneProcess, &[(knob, "1.0")]).await;
    let id = system.submit("ada", "a cat").await;
    assert_eq!(until_waiting(&system, &id, "engine_misconfigured").await["attempt"], 0);
    let warnings = ready(&system).await["warnings"].to_string();
    assert!(warnings.contains("engine.preview.misconfigured"), "the setting to fix is named: {warnings}");
    let logs = system.logs();
    let line = logs.lines().find(|line| line.contains("engine misconfigured")).unwrap_or_else(|| panic!("{logs}"));
    assert!(line.contains("ERROR") && line.contains("engine.preview.misconfigured"), "{line}");
    system.terminate().await;
    system.set(knob, None);
    system.launch().await;
    let job = system.finished("ada", &id).await;
    assert_eq!((job["status"].as_str(), job["attempt"].as_u64()), (Some("completed"), Some(1)));
    assert_eq!(ready(&system).await["warnings"], json!([]));
    system.finish().await;
}

/// The number of dead letters in the embedded queue.
fn dead_letters(system: &System) -> i64 {
    let db = rusqlite::Connection::open(system.data_dir().join("mediaforge.db")).expect("the database");
    db.query_row("SELECT count(*) FROM dead_letters", [], |row| row.get(0)).expect("a count")
}
