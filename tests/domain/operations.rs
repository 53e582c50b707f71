//! A training continues at its provider when its worker disappears; the next attempt finds it.

use std::time::Duration;

use mediaforge::domain::{
    Timestamp,
    brand::{BrandSpec, TrainedBrand},
    clock::{SystemRandom, after},
    failure::{AttemptFailure, ErrorCode},
    ids::{JobId, RequestHash, WorkerId},
    job::{Job, JobPolicy, Lease, NewJob, Output, Status, Transition, TransitionError, Work},
    kind::JobKind,
    pricing::Prices,
    retry::RetryPolicy,
};

const POLICY: JobPolicy = JobPolicy {
    retry: RetryPolicy { max_attempts: 3, base: Duration::from_secs(10), cap: Duration::from_mins(10) },
    republish_after: Duration::from_secs(30),
    republish_cap: Duration::from_mins(10),
    cancel_grace: Duration::from_secs(10),
    queue_delays: true,
};

fn at(seconds: u64) -> Timestamp {
    after(Timestamp::UNIX_EPOCH, Duration::from_secs(seconds))
}

fn claim(job: Job, now: Timestamp) -> Job {
    let lease = Lease { owner: WorkerId::new(1, &SystemRandom), expires_at: after(now, Duration::from_secs(30)) };
    job.start(now, lease, &POLICY).expect("it can be started").job
}

/// A training whose first attempt has started an operation.
fn attached() -> Job {
    let new_job = NewJob {
        id: JobId::random(JobKind::Brand, &SystemRandom),
        user: "ada".parse().expect("an id"),
        team: None,
        work: Work::Brand(BrandSpec { name: "Acme".to_owned(), colors: Vec::new(), images: Vec::new() }),
        request_hash: RequestHash::of(b"acme"),
        trace: None,
        time_limit: Duration::from_hours(2),
        starting_grant: 100,
    };
    let prices = Prices { image: 1, image_large: 2, large_above_px: 1536, training: 25 };
    let job = claim(Job::submit(new_job, at(0), &prices, &POLICY).job, at(0));
    job.attach("operations/1".to_owned()).expect("it runs").job
}

fn failure() -> AttemptFailure {
    AttemptFailure::retry(ErrorCode::EngineUnavailable, "no answer")
}

#[test]
fn the_next_attempt_finds_the_operation() {
    type Interruption = fn(Job) -> Result<Transition, TransitionError>;
    let interruptions: [(&str, Interruption, u32); 3] = [
        ("a worker that shuts down", |job| job.hand_back(at(10), &POLICY), 0),
        ("a worker that disappears", |job| job.overdue(at(100), &POLICY), 1),
        ("an attempt that fails beside it", |job| job.fail_keeping_operation(at(10), failure(), &POLICY, 0.5), 1),
    ];
    for (what, interrupt, attempts) in interruptions {
        let waiting = interrupt(attached()).expect("it applies").job;
        assert_eq!((waiting.status(), waiting.attempt()), (Status::Queued, attempts), "{what}");
        assert_eq!(waiting.operation(), Some("operations/1"), "{what}");
        let again = claim(waiting, at(200));
        assert_eq!((again.attempt(), again.operation()), (attempts + 1, Some("operations/1")), "{what}");
    }
    let taken_over = claim(attached(), at(100));
    assert_eq!((taken_over.attempt(), taken_over.operation()), (2, Some("operations/1")));
}

#[test]
fn a_failed_operation_is_forgotten() {
    let waiting = attached().fail(at(10), failure(), &POLICY, 0.5).expect("it runs").job;
    assert_eq!((waiting.attempt(), waiting.operation()), (1, None));
    assert_eq!(claim(waiting, at(200)).operation(), None);
}

#[test]
fn a_finished_job_has_no_operation() {
    let stopped = attached().cancel(at(10)).expect("it runs").job;
    assert_eq!((stopped.status(), stopped.operation()), (Status::Cancelled, None));
    let late = attached().overdue(at(7200), &POLICY).expect("it is late").job;
    assert_eq!((late.status(), late.operation()), (Status::Failed, None));
}

#[test]
fn a_ready_brand_is_never_removed_by_age() {
    let trained =
        TrainedBrand { palette: Vec::new(), model_path: None, samples: Vec::new(), cost_micro_usd: 0, training_ms: 1 };
    let ready = attached().complete(at(10), Output::Brand(trained)).expect("it runs").job;
    assert_eq!((ready.status(), ready.removable_since()), (Status::Succeeded, None));
    let stopped = attached().cancel(at(10)).expect("it runs").job;
    assert_eq!(stopped.removable_since(), Some(at(10)));
    assert_eq!(attached().removable_since(), None, "it runs");
}
