//! Failed jobs that are run again.

use std::sync::atomic::Ordering;

use mediaforge::{
    domain::{
        failure::{AttemptFailure, ErrorCode},
        ids::JobId,
        job::Status,
        request::GenerateRequest,
    },
    jobs::{Outcome, RedriveResult, SubmitIllustration},
};

use crate::{
    bench::{Bench, user},
    script::{Line, Script},
};

fn refused() -> Line {
    Line::Refuse(AttemptFailure::fail(ErrorCode::InvalidRequest, "too odd"))
}

async fn redriven(bench: &Bench, id: &JobId) -> RedriveResult {
    bench.jobs.control.redrive(id).await.expect("the backends are well")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_job_runs_again_with_credits_held_anew() {
    let bench = Bench::over(Script::of([refused()]), |_| {});
    let submit = SubmitIllustration {
        user: user(),
        request: GenerateRequest {
            prompt: Some("a cat".to_owned()),
            width: Some(64),
            height: Some(64),
            ..GenerateRequest::default()
        },
        idempotency_key: Some("k".to_owned()),
        trace: None,
    };
    let first = bench.jobs.submission.submit_illustration(submit.clone()).await.expect("accepted").job.value;
    let id = first.id.clone();
    assert_eq!(bench.attempt(&id).await, Outcome::Settled(Status::Failed));
    assert_eq!(bench.books().await.held, 0);
    let RedriveResult::Queued(again) = redriven(&bench, &id).await else { panic!("not redriven") };
    assert_eq!((again.value.attempt(), again.value.hold.number), (0, 2));
    assert!(again.value.deadline > first.deadline);
    assert_eq!(bench.books().await.held, 1);
    // Whoever repeats the request that made it finds it.
    let repeat = bench.jobs.submission.submit_illustration(submit).await.expect("found");
    assert!(repeat.replayed && repeat.job.value.id == id);
    assert_eq!(bench.attempt(&id).await, Outcome::Settled(Status::Succeeded));
    let books = bench.books().await;
    assert_eq!((books.spent, books.held), (1, 0));
    assert_eq!(redriven(&bench, &id).await, RedriveResult::NotFailed(Status::Succeeded));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_not_failed_is_left_alone() {
    let bench = Bench::over(Script::of([]), |_| {});
    let id = bench.submit().await;
    let before = bench.job(&id).await;
    assert_eq!(redriven(&bench, &id).await, RedriveResult::NotFailed(Status::Queued));
    assert_eq!(bench.job(&id).await, before);
    bench.jobs.control.cancel(&user(), &id).await.expect("a store");
    assert_eq!(redriven(&bench, &id).await, RedriveResult::NotFailed(Status::Cancelled));
    let nobody = "ill_00000000000000000000".parse().expect("an id");
    assert_eq!(redriven(&bench, &nobody).await, RedriveResult::Missing);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_cannot_pay_is_told_so_once() {
    let bench = Bench::over(Script::of([refused()]), |config| config.starting_grant = 1);
    let id = bench.submit().await;
    assert_eq!(bench.attempt(&id).await, Outcome::Settled(Status::Failed));
    bench.submit().await;
    let before = bench.job(&id).await;
    assert_eq!(redriven(&bench, &id).await, RedriveResult::NoCredits { needed: 1, available: 0 });
    assert_eq!(bench.job(&id).await, before);
    assert_eq!(bench.books().await.held, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dead_letter_of_the_run_before_is_neither_lost_nor_doubled() {
    let script = Script::of([Line::unavailable(), Line::unavailable(), Line::unavailable(), Line::unavailable()]);
    let bench = Bench::over(script, |config| config.breaker.failures = 100);
    let id = bench.submit().await;
    assert_eq!(bench.attempt(&id).await, Outcome::Settled(Status::Queued));
    // It fails for good, and the worker dies before it has published the dead letter.
    bench.plan.dead_letter_unavailable.store(1, Ordering::SeqCst);
    assert_eq!(bench.attempt(&id).await, Outcome::Settled(Status::Failed));
    assert_eq!(bench.dead_letters(), 0);
    // While the queue is away the job stays what it was, and owes the dead letter.
    bench.plan.dead_letter_unavailable.store(1, Ordering::SeqCst);
    bench.jobs.control.redrive(&id).await.expect_err("the queue does not answer");
    assert!(bench.job(&id).await.value.dead_letter().is_some());
    // The dead letter goes out, and the answer of the commit is lost.
    bench.plan.commit_unanswered.store(1, Ordering::SeqCst);
    assert!(matches!(redriven(&bench, &id).await, RedriveResult::Queued(_)));
    assert_eq!((bench.dead_letters(), bench.books().await.held), (1, 1));
    for expected in [Status::Queued, Status::Failed] {
        assert_eq!(bench.attempt(&id).await, Outcome::Settled(expected));
    }
    assert_eq!(bench.dead_letters(), 2, "one for each run");
    bench.jobs.maintenance.sweep().await.expect("a store");
    assert_eq!(bench.dead_letters(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_redrives_at_once_one_holds_credits() {
    let bench = Bench::over(Script::of([refused()]), |_| {});
    let id = bench.submit().await;
    bench.attempt(&id).await;
    let (one, other) = tokio::join!(redriven(&bench, &id), redriven(&bench, &id));
    let queued = [&one, &other].iter().filter(|it| matches!(it, RedriveResult::Queued(_))).count();
    assert_eq!((queued, bench.books().await.held), (1, 1), "{one:?} {other:?}");
}
