//! The real binary, killed at each point where a crash could lose or duplicate something, and started again.

use serde_json::{Value, json};

use crate::support::{System, Topology, answer, text};

/// Submits a picture under one key; `None` without a response.
async fn submit_once(system: &System) -> Option<(u16, Value)> {
    let body = json!({ "userId": "ada", "prompt": "a cat", "styleId": "flat-2d", "width": 256, "height": 256 });
    let request = system.client.post(system.url("/generate")).header("idempotency-key", "one").json(&body);
    let answer = request.send().await.ok()?;
    Some((answer.status().as_u16(), answer.json().await.ok()?))
}

fn files(directory: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
}

/// Crashes at this point, starts again, and returns how many attempts the job took.
async fn attempts_after_a_crash_at(topology: Topology, point: &str) -> u64 {
    // With so long a lease, the job must be taken over at the start.
    let environment = [("CRASH_AT", point), ("MEDIAFORGE_WORKER__LEASE", "10m")];
    let mut system = System::start(topology, &environment).await;
    // The process may die before it responds.
    let first = submit_once(&system).await;
    match topology {
        Topology::OneProcess => {
            let ends = system.ended().await;
            assert!(ends.iter().all(|end| !end.success()), "{point}: {ends:?}");
        }
        Topology::TwoProcesses | Topology::GoogleCloud => {
            while system.client.get(format!("{}/health", system.worker)).send().await.is_ok() {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            system.kill().await;
        }
    }
    system.set("CRASH_AT", None);
    system.launch().await;
    // A repeat of the request finds one job, whether or not the first got a response.
    let (status, again) = submit_once(&system).await.expect("an answer");
    assert_eq!(status, 202, "{point}: {again}");
    let id = text(&again, "illustrationId");
    if let Some((202, first)) = first {
        assert_eq!(text(&first, "illustrationId"), id, "{point}");
    }
    let job = system.finished("ada", &id).await;
    assert_eq!(job["status"], "completed", "{point}: {job}");
    let (_, held, spent, _) = system.credits("ada").await;
    assert_eq!((held, spent), (0, 1), "{point}: one capture");
    let list = system.get("/illustrations?userId=ada").await;
    assert_eq!(list["data"].as_array().map(Vec::len), Some(1), "{point}: one job");
    for url in ["imageUrl", "thumbnailUrl"] {
        assert_eq!(answer(system.client.get(text(&job, url))).await.0, 200, "{point}");
    }
    let media = system.data_dir().join("media/illustrations");
    // Pictures of the attempt that died are removed right after the end of the job.
    for _ in 0..200 {
        if files(&media) == 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(files(&media), 2, "{point}: a picture, its thumbnail, and nothing else");
    system.finish().await;
    job["attempt"].as_u64().expect("a number")
}

macro_rules! points {
    ($($name:ident: $point:literal, $attempts:literal;)+) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            assert_eq!(attempts_after_a_crash_at(Topology::OneProcess, $point).await, $attempts);
        }
    )+};
}

points! {
    after_insert: "after_insert", 1;
    after_publish: "after_publish", 1;
    after_start: "after_start", 2;
    before_ack: "before_ack", 2;
    after_generate: "after_generate", 2;
    after_the_first_put: "after_put", 2;
    after_the_last_put: "after_put:2", 2;
    after_settle: "after_settle", 1;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_start_in_a_separate_worker() {
    assert_eq!(attempts_after_a_crash_at(Topology::TwoProcesses, "after_start").await, 2);
}
