//! Trainings whose operation id was not recorded before their attempt ended.

use std::{sync::atomic::Ordering, time::Duration};

use mediaforge::{
    domain::job::Status,
    jobs::{AttemptOutcome, AttemptSettings},
};
use tokio_util::sync::CancellationToken;

use crate::bench::{Bench, settings};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_training_that_starts_while_its_worker_stops_is_handed_on() {
    let bench = Bench::new("0s");
    let id = bench.submit_brand().await;
    let claim = bench.claim(&id).await;
    // The first write of the attempt is the id of the training.
    bench.plan.commit_hangs.store(1, Ordering::SeqCst);
    let calm = AttemptSettings { heartbeat: Duration::from_mins(1), ..settings() };
    let (jobs, stop) = (bench.jobs.clone(), CancellationToken::new());
    let told = stop.clone();
    let attempt = tokio::spawn(async move { jobs.execution.run_attempt(claim, &calm, &told).await });
    bench.plan.hanging.notified().await;
    stop.cancel();
    assert_eq!(attempt.await.expect("no panic").expect("a store"), AttemptOutcome::Settled(Status::Queued));
    let waiting = bench.job(&id).await.value;
    assert!(waiting.operation().is_some_and(|operation| operation.starts_with("mock:")), "{:?}", waiting.state);
}
