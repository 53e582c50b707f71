//! An attempt whose surroundings break.

use std::{sync::atomic::Ordering, time::Duration};

use mediaforge::{domain::job::Status, jobs::Outcome};
use tokio_util::sync::CancellationToken;

use crate::{
    bench::{Bench, settings, user},
    script::{Line, Script},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_breaks_does_not_end_the_attempt() {
    let bench = Bench::new("300ms");
    let id = bench.submit().await;
    bench.plan.watch_broken.store(1, Ordering::SeqCst);
    let claim = bench.claim(&id).await;
    let outcome = bench.jobs.execution.run_attempt(claim, &settings(), &CancellationToken::new()).await;
    assert_eq!(outcome.expect("a store"), Outcome::Settled(Status::Succeeded));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_whose_answer_and_next_read_are_lost_does_not_end_the_attempt() {
    let bench = Bench::new("300ms");
    let id = bench.submit().await;
    // Without news from a watch the next beat conflicts with the one that was written, and has to read.
    bench.plan.watch_broken.store(1, Ordering::SeqCst);
    let claim = bench.claim(&id).await;
    bench.plan.commit_unanswered.store(1, Ordering::SeqCst);
    bench.plan.get_unavailable.store(1, Ordering::SeqCst);
    let outcome = bench.jobs.execution.run_attempt(claim, &settings(), &CancellationToken::new()).await;
    assert_eq!(outcome.expect("the lease has not lapsed"), Outcome::Settled(Status::Succeeded));
    assert_eq!(bench.plan.get_unavailable.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_whose_answer_is_lost_is_worked_on() {
    let bench = Bench::new("0s");
    let id = bench.submit().await;
    bench.plan.commit_unanswered.store(1, Ordering::SeqCst);
    let claim = bench.claim(&id).await;
    let outcome = bench.jobs.execution.run_attempt(claim, &settings(), &CancellationToken::new()).await;
    assert_eq!(outcome.expect("a store"), Outcome::Settled(Status::Succeeded));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_was_given_back_does_not_settle_the_next_one_of_the_same_worker() {
    // Nothing keeps the next one from claiming.
    let bench = Bench::over(Script::of([Line::throttled(Duration::ZERO)]), |config| {
        (config.breaker.cooldown, config.breaker.cap) = (Duration::ZERO, Duration::ZERO);
    });
    let id = bench.submit().await;
    let first = bench.claim(&id).await;
    bench.plan.commit_unanswered.store(1, Ordering::SeqCst);
    let calm = mediaforge::jobs::AttemptSettings { heartbeat: settings().lease / 3, ..settings() };
    let stop = CancellationToken::new();
    // The throttled attempt is given back, but does not hear that it was; before it looks, the next one has begun.
    let again = async {
        while bench.status(&id).await != Status::Queued {
            tokio::task::yield_now().await;
        }
        bench.claim(&id).await
    };
    let (outcome, second) = tokio::join!(bench.jobs.execution.run_attempt(first, &calm, &stop), again);
    assert_eq!(second.job.attempt(), 1, "the attempt was not counted");
    assert_eq!(outcome.expect("a store"), Outcome::Lost);
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
    assert_eq!(attempt.await.expect("no panic").expect("a store"), Outcome::Settled(Status::Cancelled));
    // Whatever was let through last has had the time to appear.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(bench.pictures(), Vec::<std::path::PathBuf>::new());
}
