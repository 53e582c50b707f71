//! Cancelling: at once, in time even if something hangs, and with exactly one outcome when the result comes at the same moment.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::StreamExt as _;
use mediaforge::{
    domain::job::{State, Status},
    jobs::{AttemptOutcome, AttemptSettings},
};
use tokio_util::sync::CancellationToken;

use crate::{
    bench::{Bench, settings, user},
    script::{Reply, Script},
};

/// The promised bound; in these tests a cancellation takes milliseconds.
const PROMISED: Duration = Duration::from_secs(10);

async fn cancelled_in_time(script: Arc<Script>, prepare: impl AsyncFnOnce(&Bench)) {
    let bench = Bench::over(script.clone(), |_| {});
    let id = bench.submit().await;
    let claim = bench.claim(&id).await;
    let jobs = bench.jobs.clone();
    let attempt =
        tokio::spawn(async move { jobs.execution.run_attempt(claim, &settings(), &CancellationToken::new()).await });
    script.called.notified().await;
    prepare(&bench).await;
    let asked = bench.jobs.control.cancel(&user(), &id).await.expect("a store").expect("a job");
    assert!(matches!(asked.value.state, State::Running { cancel_by: Some(_), .. }));
    let end = tokio::time::timeout(PROMISED, bench.finished(&id)).await.expect("in time");
    assert_eq!(end.value.status(), Status::Cancelled);
    assert_eq!(attempt.await.expect("no panic").expect("a store"), AttemptOutcome::Settled(Status::Cancelled));
    let books = bench.books().await;
    assert_eq!((books.held, books.spent), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_engine_that_never_answers_is_cancelled() {
    cancelled_in_time(Script::of([Reply::Hang]), async |_| {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_engine_that_blocks_its_thread_does_not_delay_the_cancellation() {
    cancelled_in_time(Script::of([Reply::Block(Duration::from_secs(20))]), async |_| {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_heartbeat_that_hangs_does_not_delay_the_cancellation() {
    let hang = async |bench: &Bench| {
        bench.plan.commit_hangs.store(1, Ordering::SeqCst);
        bench.plan.hanging.notified().await;
    };
    cancelled_in_time(Script::of([Reply::Hang]), hang).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_heartbeat_that_hangs_delays_neither_the_result_nor_the_shutdown() {
    for (line, expected) in
        [(Reply::Block(Duration::from_millis(300)), Status::Succeeded), (Reply::Hang, Status::Queued)]
    {
        let script = Script::of([line]);
        let bench = Bench::over(script.clone(), |_| {});
        let id = bench.submit().await;
        let claim = bench.claim(&id).await;
        bench.plan.commit_hangs.store(1, Ordering::SeqCst);
        let (jobs, stop) = (bench.jobs.clone(), CancellationToken::new());
        let told = stop.clone();
        let attempt = tokio::spawn(async move { jobs.execution.run_attempt(claim, &settings(), &told).await });
        bench.plan.hanging.notified().await;
        if expected == Status::Queued {
            stop.cancel();
        }
        let outcome = tokio::time::timeout(PROMISED, attempt).await.expect("in time");
        assert_eq!(outcome.expect("no panic").expect("a store"), AttemptOutcome::Settled(expected));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_never_answers_times_out() {
    let bench = Bench::over(Script::of([]), |config| config.timeouts.backend = Duration::from_millis(50));
    let id = bench.submit().await;
    bench.plan.commit_hangs.store(1, Ordering::SeqCst);
    // The claim checks whether it was written after all, finds that it was not, and fails.
    let refused = bench.jobs.execution.claim(&id, &crate::bench::worker(), PROMISED).await.expect_err("nobody answers");
    assert_eq!(refused.kind, mediaforge::error::ErrorKind::Timeout);
    bench.plan.commit_hangs.store(1, Ordering::SeqCst);
    assert!(bench.jobs.maintenance.sweep().await.is_err());
    assert_eq!(bench.attempt(&id).await, AttemptOutcome::Settled(Status::Succeeded));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_whose_reply_is_lost_is_recognised() {
    let bench = Bench::over(Script::of([]), |_| {});
    let id = bench.submit().await;
    bench.plan.commit_unanswered.store(1, Ordering::SeqCst);
    let answer = bench.jobs.control.cancel(&user(), &id).await.expect("the job tells").expect("a job");
    assert_eq!((answer.value.status(), &answer), (Status::Cancelled, &bench.job(&id).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_a_finished_job_returns_it_unchanged() {
    let bench = Bench::over(Script::of([]), |_| {});
    let id = bench.submit().await;
    bench.attempt(&id).await;
    let before = bench.job(&id).await;
    assert_eq!(bench.jobs.control.cancel(&user(), &id).await.expect("a store"), Some(before.clone()));
    assert_eq!(bench.job(&id).await, before);
}

/// A cancel races with the result in many rounds: exactly one of the two counts, and the credits agree.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn exactly_one_of_a_cancel_and_a_result_at_the_same_moment_counts() {
    const ROUNDS: u64 = 1000;
    const AT_ONCE: usize = 32;
    let bench = Arc::new(Bench::over(Script::of([]), |config| config.starting_grant = ROUNDS));
    let calm = AttemptSettings { heartbeat: settings().lease / 3, ..settings() };
    let round = |n: u64| {
        let bench = Arc::clone(&bench);
        async move {
            let id = bench.submit().await;
            let claim = bench.claim(&id).await;
            let jobs = bench.jobs.clone();
            let attempt =
                tokio::spawn(async move { jobs.execution.run_attempt(claim, &calm, &CancellationToken::new()).await });
            // Spread over the duration of an attempt, so that either may be first.
            for _ in 0..n % 40 {
                tokio::task::yield_now().await;
            }
            tokio::time::sleep(Duration::from_micros(1500 * (n % 29))).await;
            let answer = bench.jobs.control.cancel(&user(), &id).await.expect("a store").expect("a job");
            let outcome = attempt.await.expect("no panic").expect("a store");
            let end = bench.job(&id).await.value;
            assert_eq!(outcome, AttemptOutcome::Settled(end.status()), "the worker reports the stored status");
            if answer.value.status().is_final() {
                assert_eq!(answer.value.status(), end.status(), "a reported end stays");
            } else {
                assert_eq!(end.status(), Status::Cancelled, "a cancel that was accepted counts");
            }
            u64::from(end.status() == Status::Succeeded)
        }
    };
    let delivered: u64 =
        futures::stream::iter(0..ROUNDS).map(round).buffer_unordered(AT_ONCE).fold(0, async |sum, one| sum + one).await;
    let books = bench.books().await;
    assert_eq!((books.held, books.spent, books.available), (0, delivered, ROUNDS - delivered));
    assert!(delivered > ROUNDS / 50 && delivered < ROUNDS - ROUNDS / 50, "{delivered} of {ROUNDS} were delivered");
    let stored = u64::try_from(bench.pictures().len()).expect("a count");
    assert_eq!(stored, 2 * delivered, "a picture and a thumbnail of each that was delivered, and of no other");
}
