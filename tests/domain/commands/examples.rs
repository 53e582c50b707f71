//! Sequences of commands that deserve a name.

use super::*;

#[test]
fn a_requested_cancellation_wins_over_a_later_result() {
    let now = Timestamp::from_second(1_800_000_000).expect("a time");
    let job = Job::submit(new_job(illustration(1, 1024)), now, &PRICES, &POLICY).job;
    let job = apply(job, &Command::Start { lease: 30 }, now).expect("started").job;
    let job = job.request_cancel(now, &POLICY).expect("requested").job;
    assert_eq!(job.clone().complete(now, output(JobKind::Illustration, 1)), Err(TransitionError::CancelRequested));
    let due = job.due_at().expect("due");
    assert_eq!(due, after(now, POLICY.cancel_grace), "the sweeper cancels if the worker does not");
    let again = job.clone().request_cancel(after(now, Duration::from_secs(5)), &POLICY).expect("requested twice").job;
    assert_eq!(again.due_at(), Some(due), "a second request does not postpone it");
    assert!(matches!(job.overdue(due, &POLICY).expect("overdue").job.state, State::Cancelled { .. }));
}

#[test]
fn three_of_four_pictures_cost_three_credits() {
    let now = Timestamp::from_second(1_800_000_000).expect("a time");
    let job = Job::submit(new_job(illustration(4, 2048)), now, &PRICES, &POLICY).job;
    let job = apply(job, &Command::Start { lease: 30 }, now).expect("started").job;
    let done = job.complete(now, output(JobKind::Illustration, 3)).expect("completed");
    let amounts: Vec<_> = done.ledger.iter().map(|entry| (entry.verb, entry.amount)).collect();
    assert_eq!(amounts, [(Verb::Capture, 6), (Verb::Release, 2)]);
}

#[test]
fn a_job_without_attempts_left_makes_a_dead_letter_and_a_filtered_job_does_not() {
    let now = Timestamp::from_second(1_800_000_000).expect("a time");
    let mut job = Job::submit(new_job(illustration(1, 1024)), now, &PRICES, &POLICY).job;
    for _ in 0..POLICY.retry.max_attempts {
        job = apply(job, &Command::Start { lease: 30 }, now).expect("started").job;
        let retry = Command::Fail { disposition: Disposition::Retry { after: None }, jitter: 0.0 };
        job = apply(job, &retry, now).expect("failed").job;
    }
    let dead_letter = job.dead_letter().expect("a dead letter");
    assert_eq!((dead_letter.attempts, dead_letter.error.code), (3, ErrorCode::EngineUnavailable));
    assert_eq!(job.clone().mark_dead_lettered().expect("published").job.dead_letter(), None);

    let again = job.redrive(now, TIME_LIMIT, &POLICY).expect("run again").job;
    assert_eq!((again.attempt(), again.hold.number), (0, 2));
    let again = apply(again, &Command::Start { lease: 30 }, now).expect("started").job;
    let filtered = apply(again, &Command::Complete { delivered: 0 }, now).expect("settled").job;
    assert!(matches!(&filtered.state, State::Failed { error, .. } if error.code == ErrorCode::ContentFiltered));
    assert_eq!(filtered.dead_letter(), None);
}

#[test]
fn throttled_and_returned_attempts_are_not_counted() {
    let now = Timestamp::from_second(1_800_000_000).expect("a time");
    let mut job = Job::submit(new_job(illustration(1, 1024)), now, &PRICES, &POLICY).job;
    for _ in 0..10 {
        job = apply(job, &Command::Start { lease: 30 }, now).expect("started").job;
        let throttled = Command::Fail { disposition: Disposition::Throttled { after: None }, jitter: 0.0 };
        job = apply(job, &throttled, now).expect("throttled").job;
        job = apply(job, &Command::Start { lease: 30 }, now).expect("started").job;
        job = apply(job, &Command::HandBack, now).expect("handed back").job;
        assert_eq!(job.attempt(), 0);
    }
}

#[test]
fn an_operation_outlives_its_worker_and_is_paid_for_once() {
    let now = Timestamp::from_second(1_800_000_000).expect("a time");
    let first = Job::submit(new_job(brand()), now, &PRICES, &POLICY);
    let mut books = Books::default();
    books.post(&first.ledger).expect("a hold");
    assert_eq!((books.account.available, books.account.held), (GRANT - 25, 25));
    let mut job = apply(first.job, &Command::Start { lease: 30 }, now).expect("started").job;
    assert_eq!(job.attempt(), 1);
    job = job.attach("operations/7".to_owned()).expect("attached").job;

    // One worker shuts down, and the next worker dies.
    job = apply(job, &Command::HandBack, now).expect("handed back").job;
    assert_eq!((operation(&job), job.attempt()), (Some("operations/7"), 0));
    job = apply(job, &Command::Start { lease: 30 }, now).expect("started").job;
    assert_eq!(operation(&job), Some("operations/7"));
    let lapsed = after(now, Duration::from_secs(30));
    job = apply(job, &Command::Overdue, lapsed).expect("lapsed").job;
    assert_eq!(operation(&job), Some("operations/7"));
    job = apply(job, &Command::Start { lease: 30 }, lapsed).expect("started").job;
    assert_eq!((operation(&job), job.attempt()), (Some("operations/7"), 2));

    let done = apply(job.clone(), &Command::Complete { delivered: 1 }, lapsed).expect("completed");
    for _ in 0..2 {
        books.post(&done.ledger).expect("a capture");
        assert_eq!((books.account.spent, books.account.held, books.account.available), (25, 0, GRANT - 25));
    }
    assert_eq!(done.job.clone().attach("operations/8".to_owned()), Err(TransitionError::Finished));

    // A claim can also take over a lapsed lease, without the sweeper.
    let taken = apply(job.clone(), &Command::Start { lease: 30 }, after(lapsed, Duration::from_secs(30)));
    assert_eq!(operation(&taken.expect("taken over").job), Some("operations/7"));

    // A failed operation is forgotten: the next attempt starts a new one.
    let retry = Command::Fail { disposition: Disposition::Retry { after: None }, jitter: 0.0 };
    let again = apply(job, &Command::HandBack, lapsed).expect("handed back").job;
    let again = apply(again, &Command::Start { lease: 30 }, lapsed).expect("started").job;
    let failed = apply(again, &retry, lapsed).expect("failed").job;
    assert!(matches!(failed.state, State::Queued { .. }));
    assert_eq!(operation(&failed), None);
}
