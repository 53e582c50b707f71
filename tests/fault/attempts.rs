//! Attempts while a backend fails.

use std::{sync::atomic::Ordering, time::Duration};

use mediaforge::{domain::job::Status, jobs::AttemptOutcome};
use tokio_util::sync::CancellationToken;

use crate::{
    bench::{Bench, settings, user},
    script::{Reply, Script},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_breaks_does_not_end_the_attempt() {
    let bench = Bench::new("300ms");
    let id = bench.submit().await;
    bench.plan.watch_broken.store(1, Ordering::SeqCst);
    let claim = bench.claim(&id).await;
    let outcome = bench.jobs.execution.run_attempt(claim, &settings(), &CancellationToken::new()).await;
    assert_eq!(outcome.expect("a store"), AttemptOutcome::Settled(Status::Succeeded));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_whose_reply_and_next_read_are_lost_does_not_end_the_attempt() {
    let bench = Bench::new("300ms");
    let id = bench.submit().await;
    // Without the watch, the next heartbeat conflicts with the one that was written, and has to read.
    bench.plan.watch_broken.store(1, Ordering::SeqCst);
    let claim = bench.claim(&id).await;
    bench.plan.commit_unanswered.store(1, Ordering::SeqCst);
    bench.plan.get_unavailable.store(1, Ordering::SeqCst);
    let outcome = bench.jobs.execution.run_attempt(claim, &settings(), &CancellationToken::new()).await;
    assert_eq!(outcome.expect("the lease has not lapsed"), AttemptOutcome::Settled(Status::Succeeded));
    assert_eq!(bench.plan.get_unavailable.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_whose_reply_is_lost_is_carried_out() {
    let bench = Bench::new("0s");
    let id = bench.submit().await;
    bench.plan.commit_unanswered.store(1, Ordering::SeqCst);
    let claim = bench.claim(&id).await;
    let outcome = bench.jobs.execution.run_attempt(claim, &settings(), &CancellationToken::new()).await;
    assert_eq!(outcome.expect("a store"), AttemptOutcome::Settled(Status::Succeeded));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_was_handed_back_does_not_settle_the_next_one_of_the_same_worker() {
    // The breaker must not stop the next claim.
    let bench = Bench::over(Script::of([Reply::throttled(Duration::ZERO)]), |config| {
        (config.breaker.cooldown, config.breaker.cap) = (Duration::ZERO, Duration::ZERO);
    });
    let id = bench.submit().await;
    let first = bench.claim(&id).await;
    bench.plan.commit_unanswered.store(1, Ordering::SeqCst);
    let calm = mediaforge::jobs::AttemptSettings { heartbeat: settings().lease / 3, ..settings() };
    let stop = CancellationToken::new();
    // The throttled attempt is handed back, but the reply is lost; before it reads the job, the next attempt starts.
    let again = async {
        while bench.status(&id).await != Status::Queued {
            tokio::task::yield_now().await;
        }
        bench.claim(&id).await
    };
    let (outcome, second) = tokio::join!(bench.jobs.execution.run_attempt(first, &calm, &stop), again);
    assert_eq!(second.job().attempt(), 1, "the attempt was not counted");
    assert_eq!(outcome.expect("a store"), AttemptOutcome::Lost);
    assert_eq!(bench.status(&id).await, Status::Running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_is_being_written_does_not_outlive_its_cancelled_job() {
    let bench = Bench::new("0s");
    let id = bench.submit().await;
    let claim = bench.claim(&id).await;
    let closed = bench.late_pictures.gate.write().await;
    let jobs = bench.jobs.clone();
    let attempt =
        tokio::spawn(async move { jobs.execution.run_attempt(claim, &settings(), &CancellationToken::new()).await });
    bench.late_pictures.begun.notified().await;
    bench.jobs.control.cancel(&user(), &id).await.expect("a store");
    assert_eq!(bench.finished(&id).await.value.status(), Status::Cancelled);
    drop(closed);
    assert_eq!(attempt.await.expect("no panic").expect("a store"), AttemptOutcome::Settled(Status::Cancelled));
    // Gives a late write the time to appear.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(bench.pictures(), Vec::<std::path::PathBuf>::new());
}
