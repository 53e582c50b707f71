//! Engines that are rate-limited, down, misconfigured or defective, and their breakers.

use std::time::Duration;

use mediaforge::{
    domain::{
        failure::{AttemptFailure, ErrorCode},
        job::{Job, State, Status},
    },
    jobs::{AttemptOutcome, ClaimResult, JobsConfig},
};

use tokio_util::sync::CancellationToken;

use crate::{
    bench::{Bench, settings},
    script::{Reply, Script},
};

const SHORT: Duration = Duration::from_millis(50);

fn short_pauses(config: &mut JobsConfig) {
    config.breaker.failures = 2;
    config.breaker.cooldown = SHORT;
    config.breaker.cap = SHORT;
    config.policy.retry.max_attempts = 100;
}

fn last_error(job: &Job) -> Option<ErrorCode> {
    match &job.state {
        State::Queued { last_error, .. } => last_error.as_ref().map(|error| error.code),
        _ => None,
    }
}

/// Claims repeatedly, like a queue that delivers again, until the job is not postponed.
async fn after_the_pause(bench: &Bench, id: &mediaforge::domain::ids::JobId) -> ClaimResult {
    loop {
        match bench.try_claim(id).await {
            ClaimResult::Postponed { .. } | ClaimResult::NotStartable(_) => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            other => return other,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limited_engine_is_not_called_and_no_attempt_is_used_up() {
    let script = Script::of([Reply::throttled(Duration::from_mins(10))]);
    let bench = Bench::over(script.clone(), |_| {});
    let first = bench.submit().await;
    assert_eq!(bench.attempt(&first).await, AttemptOutcome::Settled(Status::Queued));
    for _ in 0..5 {
        let id = bench.submit().await;
        let claimed = bench.try_claim(&id).await;
        assert!(matches!(claimed, ClaimResult::Postponed { .. }), "{claimed:?}");
        let job = bench.job(&id).await.value;
        assert_eq!((job.status(), job.attempt(), last_error(&job)), (Status::Queued, 0, Some(ErrorCode::RateLimited)));
        // Delivered again at once, as by a queue that cannot delay: the engine is still not called.
        let again = bench.try_claim(&id).await;
        assert!(matches!(again, ClaimResult::NotStartable(_)), "{again:?}");
    }
    assert_eq!(script.calls(), 1);
    let breaker = &bench.jobs.execution.breakers()[0];
    assert_eq!((breaker.engine.as_str(), breaker.state, breaker.misconfigured), ("engine", "open", false));
    assert_eq!(bench.books().await.held, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_probe_closes_the_breaker() {
    let script = Script::of([Reply::throttled(SHORT), Reply::Hang]);
    let bench = Bench::over(script.clone(), short_pauses);
    let (first, probe, third) = (bench.submit().await, bench.submit().await, bench.submit().await);
    bench.attempt(&first).await;
    let ClaimResult::Claimed(claim) = after_the_pause(&bench, &probe).await else { panic!("not claimed") };
    assert!(matches!(bench.try_claim(&third).await, ClaimResult::Postponed { .. }), "one probe is enough");
    assert_eq!(bench.jobs.execution.breakers()[0].state, "half-open");
    // The probe is cancelled, which says nothing about the engine, so the next job probes.
    let jobs = bench.jobs.clone();
    let work =
        tokio::spawn(
            async move { jobs.execution.run_attempt(*claim, &settings(), &CancellationToken::default()).await },
        );
    while script.calls() < 2 {
        tokio::task::yield_now().await;
    }
    bench.jobs.control.cancel(&crate::bench::user(), &probe).await.expect("a store");
    assert_eq!(work.await.expect("no panic").expect("a store"), AttemptOutcome::Settled(Status::Cancelled));
    let ClaimResult::Claimed(claim) = after_the_pause(&bench, &third).await else { panic!("not claimed") };
    let outcome = bench.jobs.execution.run_attempt(*claim, &settings(), &CancellationToken::default()).await;
    assert_eq!(outcome.expect("a store"), AttemptOutcome::Settled(Status::Succeeded));
    assert_eq!(bench.jobs.execution.breakers()[0].state, "closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_claim_does_not_use_up_the_probe() {
    let script = Script::of([Reply::throttled(SHORT)]);
    let bench = Bench::over(script, short_pauses);
    let (first, second, third) = (bench.submit().await, bench.submit().await, bench.submit().await);
    bench.attempt(&first).await;
    let ClaimResult::Claimed(claim) = after_the_pause(&bench, &second).await else { panic!("not claimed") };
    drop(claim);
    let next = after_the_pause(&bench, &third).await;
    assert!(matches!(next, ClaimResult::Claimed(_)), "{next:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_failures_opens_the_breaker_and_a_refused_request_does_not() {
    let refused = Reply::Refuse(AttemptFailure::fail(ErrorCode::InvalidRequest, "too odd"));
    let script = Script::of([Reply::unavailable(), refused, Reply::Panic, Reply::unavailable(), Reply::unavailable()]);
    let bench = Bench::over(script, |config| config.breaker.failures = 2);
    for expected in ["closed", "closed", "closed", "closed", "open"] {
        let id = bench.submit().await;
        bench.attempt(&id).await;
        assert_eq!(bench.jobs.execution.breakers()[0].state, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misconfigured_engine_leaves_jobs_queued_until_it_is_fixed() {
    let broken = Reply::Refuse(AttemptFailure::misconfigured("no model of that name; set engine.model"));
    let script = Script::of([broken.clone(), broken]);
    let bench = Bench::over(script.clone(), short_pauses);
    let id = bench.submit().await;
    assert_eq!(bench.attempt(&id).await, AttemptOutcome::Settled(Status::Queued));
    let breaker = &bench.jobs.execution.breakers()[0];
    assert!(breaker.misconfigured && breaker.reason.as_ref().is_some_and(|why| why.message.contains("engine.model")));
    let job = bench.job(&id).await.value;
    assert_eq!((job.attempt(), last_error(&job)), (0, Some(ErrorCode::EngineMisconfigured)));
    // The first probe fails again; the second succeeds.
    for expected in [Status::Queued, Status::Succeeded] {
        let ClaimResult::Claimed(claim) = after_the_pause(&bench, &id).await else { panic!("not claimed") };
        let outcome = bench.jobs.execution.run_attempt(*claim, &settings(), &CancellationToken::default()).await;
        assert_eq!(outcome.expect("a store"), AttemptOutcome::Settled(expected));
    }
    assert_eq!((script.calls(), bench.job(&id).await.value.attempt()), (3, 1));
    assert_eq!(bench.books().await.spent, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_the_engine_is_a_failed_attempt() {
    let bench = Bench::over(Script::of([Reply::Panic]), |_| {});
    let id = bench.submit().await;
    assert_eq!(bench.attempt(&id).await, AttemptOutcome::Settled(Status::Queued));
    assert_eq!(last_error(&bench.job(&id).await.value), Some(ErrorCode::Internal));
    assert_eq!(bench.attempt(&id).await, AttemptOutcome::Settled(Status::Succeeded));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_picture_is_a_failed_attempt_and_costs_nothing() {
    let script =
        Script::of([Reply::Bytes(b"<html>busy</html>"), Reply::Bytes(b""), Reply::Bytes(b"\x89PNG\r\n\x1a\n")]);
    let bench = Bench::over(script, |config| config.policy.retry.max_attempts = 5);
    let id = bench.submit().await;
    // Two failures may be bad luck. The third is final, and no dead letter is needed.
    for expected in [Status::Queued, Status::Queued, Status::Failed] {
        assert_eq!(bench.attempt(&id).await, AttemptOutcome::Settled(expected));
    }
    let end = bench.job(&id).await.value;
    assert!(matches!(&end.state, State::Failed { error, .. } if error.code == ErrorCode::EngineError), "{end:?}");
    let books = bench.books().await;
    assert_eq!((books.spent, books.held, bench.dead_letters()), (0, 0, 0));
    assert_eq!(bench.pictures(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn withheld_pictures_are_not_paid_for() {
    let script = Script::of([Reply::Draw { withheld: 1 }, Reply::Draw { withheld: 4 }]);
    let bench = Bench::over(script, |_| {});
    let some = bench.submit_many(4).await;
    assert_eq!(bench.attempt(&some).await, AttemptOutcome::Settled(Status::Succeeded));
    let books = bench.books().await;
    assert_eq!((books.spent, books.held), (3, 0));
    let all = bench.submit_many(4).await;
    assert_eq!(bench.attempt(&all).await, AttemptOutcome::Settled(Status::Failed));
    let books = bench.books().await;
    assert_eq!((books.spent, books.held), (3, 0));
    assert_eq!(bench.dead_letters(), 0);
}
