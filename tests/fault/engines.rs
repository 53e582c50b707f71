//! Engines that are full, down, set up wrongly, or defective, and the breaker in front of them.

use std::time::Duration;

use mediaforge::{
    domain::{
        failure::{AttemptFailure, ErrorCode},
        job::{Job, State, Status},
    },
    jobs::{Claimed, JobsConfig, Outcome},
};

use tokio_util::sync::CancellationToken;

use crate::{
    bench::{Bench, settings},
    script::{Line, Script},
};

const SHORT: Duration = Duration::from_millis(50);

fn quick(config: &mut JobsConfig) {
    config.breaker.failures = 2;
    config.breaker.cooldown = SHORT;
    config.breaker.cap = SHORT;
    config.policy.retry.max_attempts = 100;
}

fn why(job: &Job) -> Option<ErrorCode> {
    match &job.state {
        State::Queued { last_error, .. } => last_error.as_ref().map(|error| error.code),
        _ => None,
    }
}

/// Claims as often as a queue would deliver, until something other than a postponement comes of it.
async fn after_the_pause(bench: &Bench, id: &mediaforge::domain::ids::JobId) -> Claimed {
    loop {
        match bench.try_claim(id).await {
            Claimed::Postponed { .. } | Claimed::Nothing(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            other => return other,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_an_engine_is_full_nobody_calls_it_and_no_attempt_is_used_up() {
    let script = Script::of([Line::throttled(Duration::from_mins(10))]);
    let bench = Bench::over(script.clone(), |_| {});
    let first = bench.submit().await;
    assert_eq!(bench.attempt(&first).await, Outcome::Settled(Status::Queued));
    for _ in 0..5 {
        let id = bench.submit().await;
        let claimed = bench.try_claim(&id).await;
        assert!(matches!(claimed, Claimed::Postponed { .. }), "{claimed:?}");
        let job = bench.job(&id).await.value;
        assert_eq!((job.status(), job.attempt(), why(&job)), (Status::Queued, 0, Some(ErrorCode::RateLimited)));
        // Delivered again at once, as a queue that cannot wait does: still nobody calls.
        let again = bench.try_claim(&id).await;
        assert!(matches!(again, Claimed::Nothing(_)), "{again:?}");
    }
    assert_eq!(script.calls(), 1);
    let breaker = &bench.jobs.execution.breakers()[0];
    assert_eq!((breaker.engine.as_str(), breaker.state, breaker.misconfigured), ("engine", "open", false));
    assert_eq!(bench.books().await.held, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_probe_finds_out_that_it_is_well_again() {
    let script = Script::of([Line::throttled(SHORT), Line::Hang]);
    let bench = Bench::over(script.clone(), quick);
    let (first, probe, third) = (bench.submit().await, bench.submit().await, bench.submit().await);
    bench.attempt(&first).await;
    let Claimed::Ours(claim) = after_the_pause(&bench, &probe).await else { panic!("not claimed") };
    assert!(matches!(bench.try_claim(&third).await, Claimed::Postponed { .. }), "one probe is enough");
    assert_eq!(bench.jobs.execution.breakers()[0].state, "half-open");
    // It is cancelled, which says nothing of the engine: the next one probes.
    let jobs = bench.jobs.clone();
    let work =
        tokio::spawn(
            async move { jobs.execution.run_attempt(*claim, &settings(), &CancellationToken::default()).await },
        );
    while script.calls() < 2 {
        tokio::task::yield_now().await;
    }
    bench.jobs.control.cancel(&crate::bench::user(), &probe).await.expect("a store");
    assert_eq!(work.await.expect("no panic").expect("a store"), Outcome::Settled(Status::Cancelled));
    let Claimed::Ours(claim) = after_the_pause(&bench, &third).await else { panic!("not claimed") };
    let outcome = bench.jobs.execution.run_attempt(*claim, &settings(), &CancellationToken::default()).await;
    assert_eq!(outcome.expect("a store"), Outcome::Settled(Status::Succeeded));
    assert_eq!(bench.jobs.execution.breakers()[0].state, "closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_comes_to_nothing_does_not_use_up_the_probe() {
    let script = Script::of([Line::throttled(SHORT)]);
    let bench = Bench::over(script, quick);
    let (first, second, third) = (bench.submit().await, bench.submit().await, bench.submit().await);
    bench.attempt(&first).await;
    let Claimed::Ours(claim) = after_the_pause(&bench, &second).await else { panic!("not claimed") };
    drop(claim);
    let next = after_the_pause(&bench, &third).await;
    assert!(matches!(next, Claimed::Ours(_)), "{next:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_failures_opens_the_circuit_and_a_refused_request_does_not() {
    let refused = Line::Refuse(AttemptFailure::fail(ErrorCode::InvalidRequest, "too odd"));
    let script = Script::of([Line::unavailable(), refused, Line::Panic, Line::unavailable(), Line::unavailable()]);
    let bench = Bench::over(script, |config| config.breaker.failures = 2);
    for expected in ["closed", "closed", "closed", "closed", "open"] {
        let id = bench.submit().await;
        bench.attempt(&id).await;
        assert_eq!(bench.jobs.execution.breakers()[0].state, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misconfigured_engine_leaves_jobs_queued_until_somebody_has_fixed_it() {
    let broken = Line::Refuse(AttemptFailure::misconfigured("no model of that name; set engine.model"));
    let script = Script::of([broken.clone(), broken]);
    let bench = Bench::over(script.clone(), quick);
    let id = bench.submit().await;
    assert_eq!(bench.attempt(&id).await, Outcome::Settled(Status::Queued));
    let breaker = &bench.jobs.execution.breakers()[0];
    assert!(breaker.misconfigured && breaker.reason.as_ref().is_some_and(|why| why.message.contains("engine.model")));
    let job = bench.job(&id).await.value;
    assert_eq!((job.attempt(), why(&job)), (0, Some(ErrorCode::EngineMisconfigured)));
    // The probe finds it as it was; the one after finds it fixed.
    for expected in [Status::Queued, Status::Succeeded] {
        let Claimed::Ours(claim) = after_the_pause(&bench, &id).await else { panic!("not claimed") };
        let outcome = bench.jobs.execution.run_attempt(*claim, &settings(), &CancellationToken::default()).await;
        assert_eq!(outcome.expect("a store"), Outcome::Settled(expected));
    }
    assert_eq!((script.calls(), bench.job(&id).await.value.attempt()), (3, 1));
    assert_eq!(bench.books().await.spent, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_the_engine_is_a_failed_attempt() {
    let bench = Bench::over(Script::of([Line::Panic]), |_| {});
    let id = bench.submit().await;
    assert_eq!(bench.attempt(&id).await, Outcome::Settled(Status::Queued));
    assert_eq!(why(&bench.job(&id).await.value), Some(ErrorCode::Internal));
    assert_eq!(bench.attempt(&id).await, Outcome::Settled(Status::Succeeded));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_is_none_is_a_failed_attempt_and_costs_nothing() {
    let script = Script::of([Line::Bytes(b"<html>busy</html>"), Line::Bytes(b""), Line::Bytes(b"\x89PNG\r\n\x1a\n")]);
    let bench = Bench::over(script, |config| config.policy.retry.max_attempts = 5);
    let id = bench.submit().await;
    // It may be bad luck twice; a third time it is how the engine is, and nobody has to look at the letter.
    for expected in [Status::Queued, Status::Queued, Status::Failed] {
        assert_eq!(bench.attempt(&id).await, Outcome::Settled(expected));
    }
    let end = bench.job(&id).await.value;
    assert!(matches!(&end.state, State::Failed { error, .. } if error.code == ErrorCode::EngineError), "{end:?}");
    let books = bench.books().await;
    assert_eq!((books.spent, books.held, bench.dead_letters()), (0, 0, 0));
    assert_eq!(bench.pictures(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_withheld_is_not_paid_for() {
    let script = Script::of([Line::Draw { withheld: 1 }, Line::Draw { withheld: 4 }]);
    let bench = Bench::over(script, |_| {});
    let some = bench.submit_many(4).await;
    assert_eq!(bench.attempt(&some).await, Outcome::Settled(Status::Succeeded));
    let books = bench.books().await;
    assert_eq!((books.spent, books.held), (3, 0));
    let all = bench.submit_many(4).await;
    assert_eq!(bench.attempt(&all).await, Outcome::Settled(Status::Failed));
    let books = bench.books().await;
    assert_eq!((books.spent, books.held), (3, 0));
    assert_eq!(bench.dead_letters(), 0);
}
