//! Jobs that wait for an engine, are delivered too early, or lose their worker.

use std::time::Duration;

use mediaforge::domain::{
    Timestamp,
    brand::BrandSpec,
    clock::{SystemRandom, after},
    failure::{AttemptFailure, ErrorCode, JobError},
    ids::{JobId, RequestHash, WorkerId},
    job::{Job, JobPolicy, Lease, NewJob, State, Status, TransitionError, Work},
    kind::JobKind,
    pricing::Prices,
    retry::RetryPolicy,
};

const POLICY: JobPolicy = JobPolicy {
    retry: RetryPolicy { max_attempts: 2, base: Duration::from_secs(10), cap: Duration::from_mins(10) },
    republish_after: Duration::from_secs(30),
    republish_cap: Duration::from_mins(10),
    cancel_grace: Duration::from_secs(8),
    queue_delays: true,
};
const DEADLINE: u64 = 900;

fn at(seconds: u64) -> Timestamp {
    after(Timestamp::UNIX_EPOCH, Duration::from_secs(seconds))
}

fn submitted() -> Job {
    submitted_at(0)
}

fn submitted_at(now: u64) -> Job {
    let new_job = NewJob {
        id: JobId::random(JobKind::Brand, &SystemRandom),
        user: "ada".parse().expect("an id"),
        team: None,
        work: Work::Brand(BrandSpec { name: "Acme".to_owned(), colors: Vec::new(), images: Vec::new() }),
        request_hash: RequestHash::of(b"acme"),
        trace: None,
        time_limit: Duration::from_secs(DEADLINE),
        starting_grant: 100,
    };
    let prices = Prices { image: 1, image_large: 2, large_above_px: 1536, training: 25 };
    Job::submit(new_job, at(now), &prices, &POLICY).job
}

fn started(job: Job, now: u64) -> Job {
    let lease = Lease { owner: WorkerId::new(1, &SystemRandom), expires_at: at(now + 30) };
    job.start(at(now), lease, &POLICY).expect("it can be started").job
}

fn busy() -> JobError {
    JobError::new(ErrorCode::RateLimited, "the engine is busy")
}

#[test]
fn a_postponed_job_waits_without_an_attempt_and_shows_the_reason() {
    let next = submitted().postpone(at(1), at(60), busy(), &POLICY).expect("it waits");
    assert_eq!(next.dispatch.as_ref().map(|dispatch| dispatch.not_before), Some(at(60)));
    assert!(next.ledger.is_empty(), "its credits stay held");
    assert_eq!((next.job.status(), next.job.attempt(), next.job.due_at()), (Status::Queued, 0, Some(at(90))));
    assert!(matches!(&next.job.state, State::Queued { last_error: Some(why), .. } if *why == busy()));
    let lease = Lease { owner: WorkerId::new(1, &SystemRandom), expires_at: at(89) };
    let early = next.job.clone().start(at(59), lease, &POLICY);
    assert_eq!(early, Err(TransitionError::TooEarly { at: at(60) }));
    assert_eq!(started(next.job, 60).attempt(), 1);
}

#[test]
fn a_postponed_job_ends_at_its_deadline_and_names_the_reason() {
    let job = submitted().postpone(at(1), at(5000), busy(), &POLICY).expect("it waits").job;
    assert_eq!(job.due_at(), Some(at(DEADLINE)));
    let late = job.overdue(at(DEADLINE), &POLICY).expect("overdue").job;
    let State::Failed { error, .. } = &late.state else { panic!("{:?}", late.state) };
    assert_eq!(error.code, ErrorCode::DeadlineExceeded);
    assert!(error.message.contains("the engine is busy"), "{}", error.message);
}

#[test]
fn a_job_that_no_worker_claimed_says_so_at_its_deadline() {
    let late = submitted().overdue(at(DEADLINE), &POLICY).expect("overdue").job;
    let State::Failed { error, .. } = &late.state else { panic!("{:?}", late.state) };
    assert!(error.message.contains("no worker was free"), "{}", error.message);
}

#[test]
fn only_a_queued_job_can_be_postponed() {
    let running = started(submitted(), 0);
    assert_eq!(running.clone().postpone(at(1), at(2), busy(), &POLICY), Err(TransitionError::NotQueued));
    let ended = running.cancel(at(1)).expect("cancelled").job;
    assert_eq!(ended.postpone(at(1), at(2), busy(), &POLICY), Err(TransitionError::Finished));
}

#[test]
fn a_rescheduled_job_is_due_at_its_earliest_start() {
    let job = started(submitted(), 0);
    let failure = AttemptFailure::retry(ErrorCode::EngineUnavailable, "down");
    let waiting = job.fail(at(1), failure, &POLICY, 0.5).expect("failed").job;
    assert_eq!(waiting.due_at(), Some(at(36)), "after 5 s of backoff and 30 s for the message");
    let rescheduled = waiting.reschedule(at(2)).expect("it is early");
    assert_eq!((rescheduled.job.due_at(), rescheduled.dispatch), (Some(at(6)), None));
    let next = rescheduled.job.clone().overdue(at(6), &POLICY).expect("overdue");
    assert_eq!(next.dispatch.map(|dispatch| dispatch.not_before), Some(at(6)));
    assert_eq!(rescheduled.job.reschedule(at(6)), Err(TransitionError::NotScheduled));
}

#[test]
fn a_new_job_may_start_even_if_the_workers_clock_is_behind() {
    let ahead = at(600);
    let new = submitted_at(600);
    assert_eq!(new.waits_until(at(0)), None);
    let running = started(new.clone(), 0);
    let handed_back = running.hand_back(ahead, &POLICY).expect("handed back").job;
    assert_eq!(started(handed_back, 1).attempt(), 1);
    assert_eq!(new.reschedule(at(0)), Err(TransitionError::NotScheduled));
}

#[test]
fn a_dead_workers_job_is_requeued_before_its_lease_lapses() {
    let next = started(submitted(), 0).release_dead_lease(at(1), &POLICY).expect("taken");
    assert_eq!((next.job.status(), next.job.attempt()), (Status::Queued, 1));
    assert_eq!(next.dispatch.map(|dispatch| dispatch.not_before), Some(at(1)));
    let last = started(started(submitted(), 0).release_dead_lease(at(1), &POLICY).expect("taken").job, 2);
    let end = last.release_dead_lease(at(3), &POLICY).expect("taken").job;
    assert_eq!(
        (end.status(), end.dead_letter().map(|letter| letter.error.code)),
        (Status::Failed, Some(ErrorCode::WorkerLost))
    );
    let stopping = started(submitted(), 0).request_cancel(at(1), &POLICY).expect("asked").job;
    assert_eq!(stopping.release_dead_lease(at(2), &POLICY).expect("taken").job.status(), Status::Cancelled);
    assert_eq!(submitted().release_dead_lease(at(2), &POLICY), Err(TransitionError::NotRunning));
}

#[test]
fn a_misconfigured_engine_costs_no_attempt() {
    let job = started(submitted(), 0);
    let job = job
        .fail_keeping_operation(at(1), AttemptFailure::misconfigured("no such model"), &POLICY, 0.0)
        .expect("set back")
        .job;
    assert_eq!((job.status(), job.attempt()), (Status::Queued, 0));
}

#[test]
fn without_delayed_messages_the_sweeper_publishes_what_is_due() {
    let policy = JobPolicy { queue_delays: false, ..POLICY };
    let failed = started(submitted(), 1).fail(
        at(2),
        AttemptFailure::retry(ErrorCode::EngineUnavailable, "it is down"),
        &policy,
        0.5,
    );
    let next = failed.expect("a retry");
    assert_eq!(next.dispatch, None, "a message would arrive at once, too early");
    let due = next.job.due_at().expect("a moment");
    assert_eq!(Some(due), next.job.waits_until(at(2)), "the sweep publishes it at its earliest start");
    let swept = next.job.overdue(due, &policy).expect("it is due");
    assert!(swept.dispatch.is_some());
    assert_eq!(swept.job.due_at(), Some(after(due, Duration::from_secs(30))));
    // A job that may start at once is published with the commit.
    let handed_back = started(submitted(), 1).hand_back(at(2), &policy).expect("handed back");
    assert!(handed_back.dispatch.is_some());
}
