//! kill -9 and SIGTERM at any moment: every accepted job survives, completes, and is charged once.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio::sync::Mutex;

use crate::support::{Role, System, Topology, answer, text};

#[derive(Clone, Copy)]
enum End {
    Killed,
    Stopped,
}

async fn every_202_survives(topology: Topology, end: End) {
    let mut environment = vec![("MEDIAFORGE_WORKER__LEASE", "2s"), ("MEDIAFORGE_WORKER__SLOTS", "4")];
    if let End::Stopped = end {
        // Some work finishes within the drain, and some is handed back.
        environment.extend([("MEDIAFORGE_WORKER__DRAIN", "200ms"), ("MEDIAFORGE_ENGINE__PREVIEW__LATENCY", "300ms")]);
    }
    let mut system = System::start(topology, &environment).await;
    let accepted: Arc<Mutex<Vec<String>>> = Arc::default();
    for round in 0..3 {
        // Eight clients submit until the processes end.
        let clients: Vec<_> = (0..8)
            .map(|client| {
                let submit = system.signed("ada", system.client.post(system.url("/generate")));
                let accepted = accepted.clone();
                tokio::spawn(async move {
                    for n in 0.. {
                        let body =
                            json!({ "userId": "ada", "prompt": format!("tree {n}"), "width": 256, "height": 256 });
                        let key = format!("{round}-{client}-{n}");
                        let submit = submit.try_clone().expect("without a body").header("idempotency-key", key);
                        let Ok(answer) = submit.json(&body).send().await else { return };
                        if answer.status() != 202 {
                            return;
                        }
                        let Ok(body) = answer.json::<serde_json::Value>().await else { return };
                        accepted.lock().await.push(text(&body, "illustrationId"));
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(400 + 150 * round)).await;
        match end {
            End::Killed => system.kill().await,
            End::Stopped => {
                let took = system.terminate().await;
                assert!(took < Duration::from_secs(9), "{took:?}");
            }
        }
        for client in clients {
            client.await.expect("a client");
        }
        system.launch().await;
    }
    let accepted = accepted.lock().await.clone();
    assert!(accepted.len() > 20, "only {} were accepted", accepted.len());
    let mut paid = 0;
    for id in &accepted {
        let job = system.finished("ada", id).await;
        assert_eq!(job["status"], "completed", "{job}");
        let picture = system.client.get(text(&job, "imageUrl")).send().await.expect("an answer");
        assert_eq!(picture.status(), 200);
        paid += 1;
    }
    // The list also contains jobs whose 202 was lost; their clients can find them by their keys.
    let (mut after, mut all) = (String::new(), 0);
    loop {
        let page = system.get(&format!("/illustrations?userId=ada&limit=100{after}")).await;
        for job in page["data"].as_array().expect("a list") {
            system.finished("ada", &text(job, "illustrationId")).await;
            all += 1;
        }
        if page["hasMore"] == false {
            break;
        }
        after = format!("&after={}", text(&page, "lastId"));
    }
    assert!(all >= paid, "{all} listed, {paid} accepted");
    let (available, held, spent, granted) = system.credits("ada").await;
    assert_eq!((held, spent, available + spent), (0, all, granted), "each job is captured exactly once");
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_under_load_loses_nothing_in_one_process() {
    every_202_survives(Topology::OneProcess, End::Killed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_under_load_loses_nothing_in_two_processes() {
    every_202_survives(Topology::TwoProcesses, End::Killed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_under_load_loses_nothing_on_google_cloud() {
    every_202_survives(Topology::GoogleCloud, End::Killed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_loses_nothing_in_one_process() {
    every_202_survives(Topology::OneProcess, End::Stopped).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_loses_nothing_in_two_processes() {
    every_202_survives(Topology::TwoProcesses, End::Stopped).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_loses_nothing_on_google_cloud() {
    every_202_survives(Topology::GoogleCloud, End::Stopped).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_takes_over_the_jobs_of_a_killed_worker_without_waiting_for_their_leases() {
    // The lease is longer than the time limit of the test.
    let environment = [("MEDIAFORGE_WORKER__LEASE", "10m"), ("MEDIAFORGE_ENGINE__PREVIEW__LATENCY", "1s")];
    for topology in [Topology::OneProcess, Topology::TwoProcesses] {
        let mut system = System::start(topology, &environment).await;
        let id = system.submit("ada", "a cat").await;
        system.until("ada", &id, &["processing"]).await;
        system.kill().await;
        system.launch().await;
        let job = system.finished("ada", &id).await;
        assert_eq!((job["status"].as_str(), job["attempt"].as_u64()), (Some("completed"), Some(2)));
        assert_eq!(system.credits("ada").await.2, 1);
        system.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backoff_survives_a_restart() {
    let knob = "MEDIAFORGE_ENGINE__PREVIEW__UNAVAILABLE";
    let slow = [(knob, "1.0"), ("MEDIAFORGE_JOBS__BACKOFF", "2s"), ("MEDIAFORGE_JOBS__BACKOFF_CAP", "2s")];
    for topology in [Topology::OneProcess, Topology::GoogleCloud] {
        check_backoff_survives_a_restart(topology, &slow, knob).await;
    }
}

async fn check_backoff_survives_a_restart(topology: Topology, slow: &[(&str, &str)], knob: &str) {
    let mut system = System::start(topology, slow).await;
    let id = system.submit("ada", "a cat").await;
    let path = format!("/illustrations/{id}?userId=ada");
    while system.get(&path).await["lastError"]["code"] != "engine_unavailable" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    system.kill().await;
    system.set(knob, None);
    system.launch().await;
    let job = system.finished("ada", &id).await;
    assert_eq!(job["status"], "completed");
    assert!(job["attempt"].as_u64().is_some_and(|attempt| (2..=5).contains(&attempt)), "{job}");
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_worker_died_is_taken_over_and_charged_once() {
    let environment = [("MEDIAFORGE_WORKER__LEASE", "1s"), ("MEDIAFORGE_ENGINE__PREVIEW__LATENCY", "1s")];
    for topology in Topology::EVERY {
        let mut system = System::start(topology, &environment).await;
        let id = system.submit("ada", "a cat").await;
        system.until("ada", &id, &["processing"]).await;
        if topology == Topology::OneProcess {
            system.kill().await;
            system.launch().await;
        } else {
            // The gateway keeps running and shows the job.
            system.kill_role(Role::Worker).await;
            system.launch_role(Role::Worker).await;
        }
        let job = system.finished("ada", &id).await;
        assert_eq!((job["status"].as_str(), job["attempt"].as_u64()), (Some("completed"), Some(2)), "{topology:?}");
        assert_eq!(system.credits("ada").await.2, 1);
        let (status, _) = answer(system.client.get(text(&job, "imageUrl"))).await;
        assert_eq!(status, 200);
        system.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_continues_while_its_gateway_restarts() {
    for topology in [Topology::TwoProcesses, Topology::GoogleCloud] {
        let mut system = System::start(topology, &[("MEDIAFORGE_ENGINE__PREVIEW__LATENCY", "1s")]).await;
        let id = system.submit("ada", "a cat").await;
        system.until("ada", &id, &["processing"]).await;
        system.kill_role(Role::Gateway).await;
        system.launch_role(Role::Gateway).await;
        let job = system.finished("ada", &id).await;
        assert_eq!((job["status"].as_str(), job["attempt"].as_u64()), (Some("completed"), Some(1)), "{topology:?}");
        assert_eq!(system.credits("ada").await.2, 1);
        system.finish().await;
    }
}
