//! Writes whose reply is lost, and jobs that cannot be written.

use std::sync::atomic::Ordering;

use mediaforge::{
    domain::{
        failure::{AttemptFailure, ErrorCode},
        job::Status,
    },
    error::ErrorKind,
    jobs::{AttemptOutcome, DeleteResult, SubmitError},
};
use tokio_util::sync::CancellationToken;

use crate::{
    bench::{Bench, settings, user},
    script::{Reply, Script},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_result_whose_reply_and_next_read_are_lost_still_counts() {
    let bench = Bench::new("0s");
    let id = bench.submit().await;
    let claim = bench.claim(&id).await;
    bench.plan.commit_unanswered.store(1, Ordering::SeqCst);
    bench.plan.get_unavailable.store(1, Ordering::SeqCst);
    let calm = mediaforge::jobs::AttemptSettings { heartbeat: settings().lease / 3, ..settings() };
    let outcome = bench.jobs.execution.run_attempt(claim, &calm, &CancellationToken::new()).await;
    assert_eq!(outcome.expect("the lease has not lapsed"), AttemptOutcome::Settled(Status::Succeeded));
    assert_eq!(bench.pictures().len(), 2, "a picture and its thumbnail");
}

/// Every end whose reply is lost is recognised as our own.
#[tokio::test(flavor = "multi_thread")]
async fn every_end_whose_reply_is_lost_is_recognised() {
    let fails = Reply::Refuse(AttemptFailure::fail(ErrorCode::InvalidRequest, "too odd"));
    let refused = Reply::Refuse(AttemptFailure::retry(ErrorCode::EngineError, "no picture"));
    let cases = [
        (fails, Status::Failed, false),
        (refused, Status::Queued, false),
        (Reply::Draw { withheld: 1 }, Status::Failed, false),
        (Reply::Hang, Status::Queued, true),
    ];
    for (line, expected, stopped) in cases {
        let script = Script::of([line.clone()]);
        let bench = Bench::over(script.clone(), |_| {});
        let id = bench.submit().await;
        let claim = bench.claim(&id).await;
        let calm = mediaforge::jobs::AttemptSettings { heartbeat: settings().lease / 3, ..settings() };
        let (jobs, stop) = (bench.jobs.clone(), CancellationToken::new());
        bench.plan.commit_unanswered.store(1, Ordering::SeqCst);
        let told = stop.clone();
        let attempt = tokio::spawn(async move { jobs.execution.run_attempt(claim, &calm, &told).await });
        script.called.notified().await;
        if stopped {
            stop.cancel();
        }
        let outcome = attempt.await.expect("no panic").expect("the lease has not lapsed");
        assert_eq!(outcome, AttemptOutcome::Settled(expected), "{line:?}");
        assert_eq!(bench.plan.commit_unanswered.load(Ordering::SeqCst), 0);
        assert_eq!(bench.status(&id).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_without_a_result_whose_reply_is_lost_counts_as_written() {
    let bench = Bench::new("300ms");
    let id = bench.submit().await;
    // Without the watch and a heartbeat, only the repeated commit can find out.
    bench.plan.watch_broken.store(1, Ordering::SeqCst);
    let claim = bench.claim(&id).await;
    bench.plan.commit_unanswered.store(1, Ordering::SeqCst);
    let calm = mediaforge::jobs::AttemptSettings { heartbeat: settings().lease / 3, ..settings() };
    let stop = CancellationToken::new();
    stop.cancel();
    let outcome = bench.jobs.execution.run_attempt(claim, &calm, &stop).await;
    assert_eq!(outcome.expect("a store"), AttemptOutcome::Settled(Status::Queued));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submit_whose_reply_is_lost_is_accepted_once() {
    let bench = Bench::new("0s");
    bench.plan.insert_unanswered.store(1, Ordering::SeqCst);
    let submitted = bench.try_submit().await.expect("the job is there");
    assert!(!submitted.replayed);
    assert_eq!(bench.status(&submitted.job.value.id).await, Status::Queued);
    let (_, account) = bench.jobs.queries.account(&submitted.job.value.user).await.expect("a store");
    assert_eq!(account.held, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submit_that_may_be_written_is_not_reported_as_refused() {
    let bench = Bench::new("0s");
    bench.plan.insert_unanswered.store(1, Ordering::SeqCst);
    bench.plan.insert_unavailable.store(1, Ordering::SeqCst);
    let Err(SubmitError::Backend(error)) = bench.try_submit().await else { panic!("nobody knows that it is there") };
    assert_eq!(error.kind, ErrorKind::Timeout, "a refusal would have a training's pictures removed under it");
    let (_, account) = bench.jobs.queries.account(&user()).await.expect("a store");
    assert_eq!(account.held, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_job_that_cannot_be_written_does_not_keep_the_sweep_from_the_others() {
    let bench = Bench::new("0s");
    for _ in 0..3 {
        bench.submit().await;
    }
    bench.plan.commit_defect.store(1, Ordering::SeqCst);
    let swept = bench.jobs.maintenance.sweep().await.expect("the store itself is well");
    assert_eq!((swept.published, swept.more), (2, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_job_that_cannot_be_read_does_not_keep_the_sweep_from_the_others() {
    let bench = Bench::new("0s");
    let damaged = bench.submit().await;
    bench.submit().await;
    bench.damage(&damaged);
    assert_eq!(bench.jobs.maintenance.sweep().await.expect("the store itself is well").published, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_of_a_job_that_is_deleted_meanwhile_sees_its_end() {
    let bench = Bench::new("0s");
    let id = bench.submit().await;
    bench.jobs.control.cancel(&user(), &id).await.expect("a store");
    *bench.plan.delete_after_get.lock().await = Some(id.clone());
    assert_eq!(bench.finished(&id).await.value.status(), Status::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_to_a_finished_job_does_not_fail_its_deletion() {
    let bench = Bench::new("0s");
    let id = bench.submit().await;
    bench.jobs.control.cancel(&user(), &id).await.expect("a store");
    bench.plan.delete_conflicts.store(1, Ordering::SeqCst);
    assert_eq!(bench.jobs.control.delete(&user(), &id).await.expect("a store"), DeleteResult::Deleted);
}
