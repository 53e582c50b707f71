//! Trainings whose name could not be recorded before their attempt ended.

use std::{sync::atomic::Ordering, time::Duration};

use mediaforge::{
    domain::job::Status,
    jobs::{AttemptSettings, Outcome},
};
use tokio_util::sync::CancellationToken;

use crate::bench::{Bench, settings};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_training_that_began_as_its_worker_was_told_to_stop_is_handed_on() {
    let bench = Bench::new("0s");
    let id = bench.submit_brand().await;
    let claim = bench.claim(&id).await;
    // The first write of the attempt is the name of the training.
    bench.plan.commit_hangs.store(1, Ordering::SeqCst);
    let calm = AttemptSettings { heartbeat: Duration::from_mins(1), ..settings() };
    let (jobs, stop) = (bench.jobs.clone(), CancellationToken::new());
    let told = stop.clone();
    let attempt = tokio::spawn(async move { jobs.execution.run_attempt(claim, &calm, &told).await });
    bench.plan.hanging.notified().await;
    stop.cancel();
    assert_eq!(attempt.await.expect("no panic").expect("a store"), Outcome::Settled(Status::Queued));
    let waiting = bench.job(&id).await.value;
    assert!(waiting.operation().is_some_and(|operation| operation.starts_with("mock:")), "{:?}", waiting.state);
}
