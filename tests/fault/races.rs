//! One job and several workers.

use std::{sync::Arc, time::Duration};

use axum::{body::Body, http::Request};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use mediaforge::{
    domain::{ids::JobId, job::Status},
    jobs::{AttemptOutcome, AttemptSettings, ClaimResult},
    worker::{self, Worker, WorkerSettings},
};
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::{
    bench::{Bench, settings, worker, worker_settings},
    script::{Reply, Script},
};

async fn push(worker: Worker, id: JobId) -> u16 {
    let data = STANDARD.encode(json!({ "v": 1, "kind": "generation", "jobId": id }).to_string());
    let push = json!({ "message": { "data": data, "messageId": "1" }, "subscription": "s" }).to_string();
    let request = Request::post("/process-generation").body(Body::from(push)).expect("a request");
    worker::router(worker).oneshot(request).await.expect("an answer").status().as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_deliveries_to_two_workers_are_one_attempt() {
    const ROUNDS: u32 = 50;
    let script = Script::of([]);
    let bench = Bench::over(script.clone(), |_| {});
    let workers = [(); 2].map(|()| bench.worker_with(WorkerSettings { slots: 8, ..worker_settings() }));
    for _ in 0..ROUNDS {
        let id = bench.submit().await;
        let pushes: Vec<_> =
            workers.iter().cycle().take(8).map(|to| tokio::spawn(push(to.clone(), id.clone()))).collect();
        for push in pushes {
            assert_eq!(push.await.expect("no panic"), 200, "a late delivery is acknowledged");
        }
        let end = bench.finished(&id).await.value;
        assert_eq!((end.status(), end.attempt()), (Status::Succeeded, 1));
    }
    for worker in workers {
        worker.drained().await;
    }
    let books = bench.books().await;
    assert_eq!((script.calls(), books.spent, books.held), (ROUNDS as usize, u64::from(ROUNDS), 0));
    assert_eq!(bench.pictures().len(), 2 * ROUNDS as usize, "a picture and a thumbnail of each");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_worker_that_wakes_after_its_lease_changes_nothing() {
    let wake = Arc::new(Notify::new());
    let script = Script::of([Reply::Wait(Arc::clone(&wake))]);
    let bench = Bench::over(script.clone(), |_| {});
    let id = bench.submit().await;
    let claimed = bench.jobs.execution.claim(&id, &worker(), Duration::from_millis(1)).await.expect("a store");
    let ClaimResult::Claimed(claim) = claimed else { panic!("not claimed") };
    // While asleep, the worker neither renews its lease nor sees changes of the job.
    bench.plan.watch_broken.store(1, std::sync::atomic::Ordering::SeqCst);
    let asleep = AttemptSettings { heartbeat: settings().lease, ..settings() };
    let jobs = bench.jobs.clone();
    let sleeper =
        tokio::spawn(async move { jobs.execution.run_attempt(*claim, &asleep, &CancellationToken::new()).await });
    script.called.notified().await;

    let next = loop {
        if let ClaimResult::Claimed(claim) = bench.try_claim(&id).await {
            break *claim;
        }
    };
    let outcome = bench.jobs.execution.run_attempt(next, &settings(), &CancellationToken::new()).await;
    assert_eq!(outcome.expect("a store"), AttemptOutcome::Settled(Status::Succeeded));
    let (job, pictures, books) = (bench.job(&id).await, bench.pictures(), bench.books().await);
    assert_eq!((job.value.attempt(), pictures.len(), books.spent), (2, 2, 1));

    wake.notify_one();
    assert_eq!(sleeper.await.expect("no panic").expect("a store"), AttemptOutcome::Lost);
    assert_eq!(script.calls(), 2, "both attempts have drawn");
    assert_eq!((bench.job(&id).await, bench.pictures(), bench.books().await), (job, pictures, books));
}
