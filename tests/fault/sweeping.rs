//! Sweeps over stuck jobs, messages that are delivered early, and workers that are dead.

use std::{sync::atomic::Ordering, time::Duration};

use mediaforge::{
    domain::{
        clock::SystemRandom,
        failure::{AttemptFailure, Disposition, ErrorCode},
        ids::WorkerId,
        job::{Status, TransitionError},
    },
    jobs::{AttemptOutcome, ClaimResult},
};

use crate::{
    bench::{Bench, user, worker},
    script::{Reply, Script},
};

#[tokio::test(flavor = "multi_thread")]
async fn stuck_jobs_do_not_hide_the_jobs_behind_them() {
    let bench = Bench::over(Script::of([]), |config| config.starting_grant = 1000);
    for _ in 0..200 {
        bench.submit().await;
    }
    let last = bench.submit().await;
    bench.plan.commit_defect.store(200, Ordering::SeqCst);
    let swept = bench.jobs.maintenance.sweep().await.expect("the store itself is well");
    assert_eq!((swept.published, swept.more), (1, false), "the one behind the others");
    assert!(bench.job(&last).await.version > mediaforge::store::Version(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_a_damaged_account_do_not_block_other_jobs() {
    let bench = Bench::over(Script::of([]), |config| config.starting_grant = 1000);
    for _ in 0..20 {
        bench.submit().await;
    }
    let last = bench.submit().await;
    bench.plan.commit_broken.store(20, Ordering::SeqCst);
    let swept = bench.jobs.maintenance.sweep().await.expect("the store itself is well");
    assert_eq!(swept.published, 1, "the one behind the others");
    assert_eq!(bench.job(&last).await.version, mediaforge::store::Version(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_that_can_write_nothing_fails() {
    let bench = Bench::over(Script::of([]), |config| config.starting_grant = 1000);
    for _ in 0..200 {
        bench.submit().await;
    }
    bench.plan.commit_broken.store(u32::MAX, Ordering::SeqCst);
    let error = bench.jobs.maintenance.sweep().await.expect_err("a broken store");
    assert_eq!(error.kind, mediaforge::store::ErrorKind::Broken);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_whose_reply_is_lost_finishes_its_work() {
    let bench = Bench::over(Script::of([]), |_| {});
    let (one, other) = (bench.submit().await, bench.submit().await);
    bench.plan.commit_unanswered.store(1, Ordering::SeqCst);
    let swept = bench.jobs.maintenance.sweep().await.expect("the jobs tell");
    assert_eq!(swept.published, 2);
    for id in [&one, &other] {
        assert_eq!(bench.job(id).await.version, mediaforge::store::Version(2));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_message_is_followed_by_one_in_time() {
    let wait = Duration::from_secs(1);
    let mut down = AttemptFailure::retry(ErrorCode::EngineUnavailable, "down");
    down.disposition = Disposition::Retry { after: Some(wait) };
    let bench = Bench::over(Script::of([Reply::Refuse(down)]), |config| {
        config.policy.retry.cap = wait;
        config.policy.republish_after = Duration::from_mins(10);
    });
    let id = bench.submit().await;
    assert_eq!(bench.attempt(&id).await, AttemptOutcome::Settled(Status::Queued));
    let before = bench.job(&id).await;
    let claimed = bench.try_claim(&id).await;
    let ClaimResult::NotStartable(TransitionError::TooEarly { at }) = claimed else { panic!("{claimed:?}") };
    let recalled = bench.job(&id).await;
    assert_eq!(recalled.value.due_at(), Some(at), "instead of {:?}", before.value.due_at());
    // A duplicate changes nothing.
    bench.try_claim(&id).await;
    assert_eq!(bench.job(&id).await.version, recalled.version);
    while bench.jobs.maintenance.sweep().await.expect("a store").published == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(bench.attempt(&id).await, AttemptOutcome::Settled(Status::Succeeded));
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_a_dead_worker_are_released_and_jobs_of_a_living_one_stay() {
    let bench = Bench::over(Script::of([]), |_| {});
    let (dead, alive) = (worker(), WorkerId::new(2, &SystemRandom));
    let lease = Duration::from_mins(1);
    let (orphan, stopping, own, waiting) =
        (bench.submit().await, bench.submit().await, bench.submit().await, bench.submit().await);
    for (id, owner) in [(&orphan, &dead), (&stopping, &dead), (&own, &alive)] {
        let claimed = bench.jobs.execution.claim(id, owner, lease).await.expect("a store");
        assert!(matches!(claimed, ClaimResult::Claimed(_)));
    }
    bench.jobs.control.cancel(&user(), &stopping).await.expect("a store");
    assert_eq!(bench.jobs.maintenance.release_leases_of_dead_workers(&alive, lease).await.expect("a store"), 2);
    assert_eq!(bench.status(&stopping).await, Status::Cancelled);
    assert_eq!((bench.status(&own).await, bench.status(&waiting).await), (Status::Running, Status::Queued));
    assert_eq!(bench.attempt(&orphan).await, AttemptOutcome::Settled(Status::Succeeded));
    assert_eq!(bench.job(&orphan).await.value.attempt(), 2);
    assert_eq!(bench.jobs.maintenance.release_leases_of_dead_workers(&alive, lease).await.expect("a store"), 0);
}
