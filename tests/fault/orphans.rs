//! Pictures of attempts that died.

use mediaforge::{
    domain::{
        clock::SystemRandom,
        failure::{AttemptFailure, ErrorCode},
        ids::WorkerId,
        job::Status,
    },
    jobs::{AttemptOutcome, ClaimResult},
    media::{MediaFormat, MediaKey},
};

use crate::{
    bench::{Bench, user, worker},
    script::{Reply, Script},
};

/// A worker stores a picture and is killed; then its lease is released.
async fn killed_after_a_picture(bench: &Bench) -> mediaforge::domain::ids::JobId {
    let id = bench.submit().await;
    let Ok(ClaimResult::Claimed(claim)) =
        bench.jobs.execution.claim(&id, &worker(), std::time::Duration::from_secs(1)).await
    else {
        panic!("not claimed")
    };
    let key = MediaKey::picture(&user(), &id, 1, claim.fence().0, 0, MediaFormat::Png);
    bench.media.put(&key, MediaFormat::Png, bytes::Bytes::from_static(b"half a job")).await.expect("a disk");
    drop(claim);
    let me = WorkerId::new(2, &SystemRandom);
    let lease = std::time::Duration::from_secs(5);
    assert_eq!(bench.jobs.maintenance.release_leases_of_dead_workers(&me, lease).await.expect("a store"), 1);
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_an_attempt_that_died_once_another_has_delivered() {
    let bench = Bench::over(Script::of([]), |_| {});
    let id = killed_after_a_picture(&bench).await;
    assert_eq!(bench.pictures().len(), 1);
    assert_eq!(bench.attempt(&id).await, AttemptOutcome::Settled(Status::Succeeded));
    let left = bench.pictures();
    assert_eq!(left.len(), 2, "{left:?}");
    let names: Vec<_> =
        left.iter().map(|path| path.file_name().expect("a name").to_string_lossy().into_owned()).collect();
    assert!(names.iter().all(|name| name.starts_with("2-")), "the second attempt's alone: {names:?}");
    assert_eq!(bench.books().await.spent, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_job_that_failed_or_was_cancelled() {
    let refused = Reply::Refuse(AttemptFailure::fail(ErrorCode::InvalidRequest, "too odd"));
    let bench = Bench::over(Script::of([refused]), |_| {});
    let failed = killed_after_a_picture(&bench).await;
    assert_eq!(bench.attempt(&failed).await, AttemptOutcome::Settled(Status::Failed));
    let cancelled = killed_after_a_picture(&bench).await;
    bench.jobs.control.cancel(&user(), &cancelled).await.expect("a store");
    assert_eq!(bench.pictures(), Vec::<std::path::PathBuf>::new());
}
