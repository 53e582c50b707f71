//! An attempt whose surroundings break.

use std::{sync::atomic::Ordering, time::Duration};

use mediaforge::{domain::job::Status, jobs::Outcome};
use tokio_util::sync::CancellationToken;

use crate::ports::{Bench, settings, user};

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_breaks_does_not_end_the_attempt() {
    let bench = Bench::new("300ms");
    let id = bench.submit().await;
    let claim = bench.claim(&id).await;
    bench.plan.watch_broken.store(1, Ordering::SeqCst);
    let outcome = bench.jobs.run_attempt(claim, &settings(), &CancellationToken::new()).await;
    assert_eq!(outcome.expect("a store"), Outcome::Settled(Status::Succeeded));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_whose_answer_and_next_read_are_lost_does_not_end_the_attempt() {
    let bench = Bench::new("300ms");
    let id = bench.submit().await;
    let claim = bench.claim(&id).await;
    // Without news from a watch the next beat conflicts with the one that was written, and has to read.
    bench.plan.watch_broken.store(1, Ordering::SeqCst);
    bench.plan.commit_unanswered.store(1, Ordering::SeqCst);
    bench.plan.get_unavailable.store(1, Ordering::SeqCst);
    let outcome = bench.jobs.run_attempt(claim, &settings(), &CancellationToken::new()).await;
    assert_eq!(outcome.expect("the lease has not lapsed"), Outcome::Settled(Status::Succeeded));
    assert_eq!(bench.plan.get_unavailable.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_whose_answer_is_lost_is_worked_on() {
    let bench = Bench::new("0s");
    let id = bench.submit().await;
    bench.plan.commit_unanswered.store(1, Ordering::SeqCst);
    let claim = bench.claim(&id).await;
    let outcome = bench.jobs.run_attempt(claim, &settings(), &CancellationToken::new()).await;
    assert_eq!(outcome.expect("a store"), Outcome::Settled(Status::Succeeded));
}
