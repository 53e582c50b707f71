//! Trainings whose name could not be recorded before their attempt ended.

use std::{sync::atomic::Ordering, time::Duration};

use mediaforge::{
    domain::{
        brand::BrandSpec,
        clock::{Clock as _, SystemClock, SystemRandom},
        ids::{JobId, RequestHash},
        job::{Job, JobKind, Status, Submission, Work},
    },
    jobs::{AttemptSettings, Outcome},
};
use tokio_util::sync::CancellationToken;

use crate::bench::{Bench, settings, user};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_training_that_began_as_its_worker_was_told_to_stop_is_handed_on() {
    let bench = Bench::new("0s");
    let rules = bench.jobs.rules();
    let submission = Submission {
        id: JobId::random(JobKind::Brand, &SystemRandom),
        user: user(),
        team: None,
        work: Work::Brand(BrandSpec { name: "Acme".to_owned(), colors: Vec::new(), images: Vec::new() }),
        request_hash: RequestHash::of(b"acme"),
        trace: None,
        time_limit: rules.training_deadline,
        starting_grant: rules.starting_grant,
    };
    let first = Job::submit(submission, SystemClock.now(), &rules.prices, &rules.policy);
    bench.store.insert(&first).await.expect("a store");
    let id = first.job.id.clone();
    let claim = bench.claim(&id).await;
    // The first write of the attempt is the name of the training.
    bench.plan.commit_hangs.store(1, Ordering::SeqCst);
    let calm = AttemptSettings { heartbeat: Duration::from_mins(1), ..settings() };
    let (jobs, stop) = (bench.jobs.clone(), CancellationToken::new());
    let told = stop.clone();
    let attempt = tokio::spawn(async move { jobs.run_attempt(claim, &calm, &told).await });
    bench.plan.hanging.notified().await;
    stop.cancel();
    assert_eq!(attempt.await.expect("no panic").expect("a store"), Outcome::Settled(Status::Queued));
    let waiting = bench.job(&id).await.value;
    assert!(waiting.operation().is_some_and(|operation| operation.starts_with("mock:")), "{:?}", waiting.state);
}
