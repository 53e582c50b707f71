//! Shutdown: running work is finished or handed back, streams end, and the process exits in time.

use std::time::Duration;

use futures::StreamExt as _;

use crate::support::{System, Topology};

#[tokio::test(flavor = "multi_thread")]
async fn work_that_fits_the_drain_is_finished() {
    let mut system = System::start(Topology::OneProcess, &[("MEDIAFORGE_ENGINE__PREVIEW__LATENCY", "1s")]).await;
    let id = system.submit("ada", "a cat").await;
    system.until("ada", &id, &["processing"]).await;
    let took = system.terminate().await;
    assert!(took < Duration::from_secs(9), "{took:?}");
    system.launch().await;
    let job = system.get(&format!("/illustrations/{id}?userId=ada")).await;
    assert_eq!((job["status"].as_str(), job["attempt"].as_u64()), (Some("completed"), Some(1)));
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_process_at_once_and_the_job_continues_after_a_restart() {
    let slow = [("MEDIAFORGE_ENGINE__PREVIEW__HANG", "1.0"), ("MEDIAFORGE_WORKER__DRAIN", "8s")];
    let mut system = System::start(Topology::OneProcess, &slow).await;
    let id = system.submit("ada", "a cat").await;
    system.until("ada", &id, &["processing"]).await;
    system.signal(nix::sys::signal::Signal::SIGTERM);
    while !system.logs().contains("a second signal stops at once") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    system.signal(nix::sys::signal::Signal::SIGTERM);
    let ends = system.ended().await;
    assert_eq!(ends[0].code(), Some(143), "{}", system.logs());
    assert!(!system.logs().contains("drained"), "{}", system.logs());
    system.set("MEDIAFORGE_ENGINE__PREVIEW__HANG", None);
    system.launch().await;
    assert_eq!(system.finished("ada", &id).await["status"], "completed");
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_exceeds_the_drain_is_handed_back_without_costing_an_attempt() {
    for topology in Topology::EVERY {
        let slow = [("MEDIAFORGE_ENGINE__PREVIEW__LATENCY", "4s"), ("MEDIAFORGE_WORKER__DRAIN", "500ms")];
        let mut system = System::start(topology, &slow).await;
        let id = system.submit("ada", "a cat").await;
        system.until("ada", &id, &["processing"]).await;
        let mut events = system.events(&format!("/illustrations/{id}/events?userId=ada"), None).await;
        assert!(events.next().await.is_some());
        let took = system.terminate().await;
        assert!(took < Duration::from_secs(9), "{took:?}");
        while events.next().await.is_some() {} // the stream ends and does not delay the exit
        system.launch().await;
        let job = system.finished("ada", &id).await;
        assert_eq!(
            (job["status"].as_str(), job["attempt"].as_u64()),
            (Some("completed"), Some(1)),
            "{}",
            system.logs()
        );
        assert_eq!(system.credits("ada").await.2, 1);
        system.finish().await;
    }
}
