//! Failed jobs that are run again.

use std::sync::atomic::Ordering;

use mediaforge::{
    domain::{
        failure::{AttemptFailure, ErrorCode},
        ids::JobId,
        job::Status,
        request::GenerateRequest,
    },
    jobs::{AttemptOutcome, RedriveResult, Submitter},
};

use crate::{
    bench::{Bench, user},
    script::{Reply, Script},
};

fn refused() -> Reply {
    Reply::Refuse(AttemptFailure::fail(ErrorCode::InvalidRequest, "too odd"))
}

async fn redriven(bench: &Bench, id: &JobId) -> RedriveResult {
    bench.jobs.control.redrive(id).await.expect("the backends are well")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_job_runs_again_with_credits_held_anew() {
    let bench = Bench::over(Script::of([refused()]), |_| {});
    let side = Some(64);
    let prompt = Some("a cat".to_owned());
    let request = GenerateRequest { prompt, width: side, height: side, ..GenerateRequest::default() };
    let submitter = Submitter { user: user(), idempotency_key: Some("k".to_owned()), trace: None };
    let first =
        bench.jobs.submission.submit_illustration(&request, submitter.clone()).await.expect("accepted").job.value;
    let id = first.id.clone();
    assert_eq!(bench.attempt(&id).await, AttemptOutcome::Settled(Status::Failed));
    assert_eq!(bench.books().await.held, 0);
    let RedriveResult::Queued(again) = redriven(&bench, &id).await else { panic!("not redriven") };
    assert_eq!((again.value.attempt(), again.value.hold.number), (0, 2));
    assert!(again.value.deadline > first.deadline);
    assert_eq!(bench.books().await.held, 1);
    // A repeat of the original request finds the job.
    let repeat = bench.jobs.submission.submit_illustration(&request, submitter).await.expect("found");
    assert!(repeat.replayed && repeat.job.value.id == id);
    assert_eq!(bench.attempt(&id).await, AttemptOutcome::Settled(Status::Succeeded));
    let books = bench.books().await;
    assert_eq!((books.spent, books.held), (1, 0));
    assert_eq!(redriven(&bench, &id).await, RedriveResult::NotFailed(Status::Succeeded));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_has_not_failed_is_not_redriven() {
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
async fn a_redrive_that_the_account_cannot_pay_changes_nothing() {
    let bench = Bench::over(Script::of([refused()]), |config| config.starting_grant = 1);
    let id = bench.submit().await;
    assert_eq!(bench.attempt(&id).await, AttemptOutcome::Settled(Status::Failed));
    bench.submit().await;
    let before = bench.job(&id).await;
    assert_eq!(redriven(&bench, &id).await, RedriveResult::NoCredits { needed: 1, available: 0 });
    assert_eq!(bench.job(&id).await, before);
    assert_eq!(bench.books().await.held, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dead_letter_of_the_previous_run_is_neither_lost_nor_duplicated() {
    let script = Script::of([Reply::unavailable(), Reply::unavailable(), Reply::unavailable(), Reply::unavailable()]);
    let bench = Bench::over(script, |config| config.breaker.failures = 100);
    let id = bench.submit().await;
    assert_eq!(bench.attempt(&id).await, AttemptOutcome::Settled(Status::Queued));
    // The job fails for good, and the worker dies before it has published the dead letter.
    bench.plan.dead_letter_unavailable.store(1, Ordering::SeqCst);
    assert_eq!(bench.attempt(&id).await, AttemptOutcome::Settled(Status::Failed));
    assert_eq!(bench.dead_letters(), 0);
    // While the queue is unavailable, the job stays failed and still owes the dead letter.
    bench.plan.dead_letter_unavailable.store(1, Ordering::SeqCst);
    bench.jobs.control.redrive(&id).await.expect_err("the queue does not answer");
    assert!(bench.job(&id).await.value.dead_letter().is_some());
    // The dead letter is published, and the reply of the commit is lost.
    bench.plan.commit_unanswered.store(1, Ordering::SeqCst);
    assert!(matches!(redriven(&bench, &id).await, RedriveResult::Queued(_)));
    assert_eq!((bench.dead_letters(), bench.books().await.held), (1, 1));
    for expected in [Status::Queued, Status::Failed] {
        assert_eq!(bench.attempt(&id).await, AttemptOutcome::Settled(expected));
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
