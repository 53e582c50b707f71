//! The log: every line about a job has its id, attempt and trace.

use serde_json::{Value, json};

use crate::support::{System, Topology};

#[tokio::test(flavor = "multi_thread")]
async fn every_line_about_a_job_carries_its_id_attempt_and_trace() {
    let slow = [("MEDIAFORGE_ENGINE__PREVIEW__HANG", "1.0"), ("MEDIAFORGE_WORKER__LEASE", "1s")];
    let mut system = System::start(Topology::OneProcess, &slow).await;
    let id = system.submit("ada", "a cat").await;
    system.until("ada", &id, &["processing"]).await;
    system.kill().await;
    system.launch().await;
    // The restarted process takes the job from the dead worker and starts another attempt.
    while system.get(&format!("/illustrations/{id}?userId=ada")).await["attempt"] != 2 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    system.post(&format!("/illustrations/{id}/cancel?userId=ada"), &json!({})).await;
    system.finished("ada", &id).await;
    let logs = system.logs();
    system.finish().await;

    let lines: Vec<Value> = logs.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let about: Vec<&Value> = lines.iter().filter(|line| line.to_string().contains(&id)).collect();
    let messages: Vec<_> = about.iter().map(|line| (line["message"].as_str(), line["attempt"].as_u64())).collect();
    let expected = [
        ("job accepted", 0),
        ("job claimed", 1),
        ("job taken from a worker that is gone", 1),
        ("job claimed", 2),
        ("cancel requested", 2),
        ("job settled", 2),
    ];
    assert_eq!(messages, expected.map(|(message, attempt)| (Some(message), Some(attempt))), "{logs}");
    let trace = &about[0]["logging.googleapis.com/trace"];
    assert_eq!(trace.as_str().map(str::len), Some(32), "{logs}");
    for line in about {
        assert_eq!((line["job.id"].as_str(), &line["logging.googleapis.com/trace"]), (Some(id.as_str()), trace));
    }
    let registry = lines.iter().find(|line| line.to_string().contains("cargo/registry"));
    assert_eq!(registry, None, "the log contains a path of the build machine");
}
