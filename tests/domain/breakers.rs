//! The breaker: nobody calls an engine that is not well, one probe at a time finds out, and no history keeps it shut for good.

use std::time::Duration;

use mediaforge::domain::{
    Timestamp,
    breaker::{Breaker, BreakerPolicy, CallDecision, CallOutcome, Change, Pause, Phase, Ticket},
    clock::after,
    failure::{AttemptFailure, ErrorCode, JobError},
};
use proptest::prelude::*;

const POLICY: BreakerPolicy =
    BreakerPolicy { failures: 3, cooldown: Duration::from_secs(10), cap: Duration::from_mins(1) };

fn at(seconds: u64) -> Timestamp {
    after(Timestamp::from_second(1_800_000_000).expect("a time"), Duration::from_secs(seconds))
}

fn down() -> CallOutcome {
    CallOutcome::Failed(JobError::new(ErrorCode::EngineUnavailable, "down"))
}

fn full(after: Option<u64>) -> CallOutcome {
    CallOutcome::Throttled(after.map(Duration::from_secs), JobError::new(ErrorCode::RateLimited, "full"))
}

fn lost() -> CallOutcome {
    CallOutcome::Misconfigured(JobError::new(ErrorCode::EngineMisconfigured, "no such model"))
}

fn go(breaker: &mut Breaker, seconds: u64) -> Ticket {
    match breaker.ask(at(seconds), &POLICY) {
        CallDecision::Go(ticket) => ticket,
        CallDecision::Wait(pause) => panic!("at {seconds}: {pause:?}"),
    }
}

fn wait(breaker: &mut Breaker, seconds: u64) -> Pause {
    match breaker.ask(at(seconds), &POLICY) {
        CallDecision::Wait(pause) => pause,
        CallDecision::Go(ticket) => panic!("at {seconds}: {ticket:?}"),
    }
}

fn call(breaker: &mut Breaker, seconds: u64, answer: CallOutcome) -> Change {
    let ticket = go(breaker, seconds);
    breaker.report(ticket, answer, at(seconds), &POLICY)
}

#[test]
fn a_burst_of_failures_opens_it_and_a_success_in_between_does_not_let_it() {
    let mut breaker = Breaker::default();
    for answer in [down(), down(), CallOutcome::Well, down(), CallOutcome::Unknown, down()] {
        assert_eq!(call(&mut breaker, 0, answer), Change::Nothing);
    }
    assert_eq!(call(&mut breaker, 0, down()), Change::Opened);
    let pause = wait(&mut breaker, 9);
    assert_eq!((pause.until, pause.reason.code), (at(10), ErrorCode::EngineUnavailable));
    assert!(pause.spread > Duration::ZERO, "those who wait must not all come back at once");
}

#[test]
fn too_many_requests_opens_it_at_once_for_as_long_as_the_provider_says() {
    let mut breaker = Breaker::default();
    assert_eq!(call(&mut breaker, 0, full(Some(42))), Change::Opened);
    assert_eq!(wait(&mut breaker, 41).until, at(42));
    assert_eq!(call(&mut breaker, 42, full(None)), Change::StaysOpen, "without a word, twice the cooldown");
    assert_eq!(wait(&mut breaker, 43).until, at(62));
    assert_eq!(call(&mut breaker, 62, full(Some(100_000))), Change::StaysOpen, "bounded, whatever it says");
    assert_eq!(wait(&mut breaker, 63).until, at(122));
}

#[test]
fn one_probe_at_a_time_and_its_success_closes() {
    let mut breaker = Breaker::default();
    call(&mut breaker, 0, full(None));
    let probe = go(&mut breaker, 10);
    assert_eq!(wait(&mut breaker, 10).until, at(20), "one is enough");
    assert_eq!(wait(&mut breaker, 1000).until, at(1010), "however long it takes");
    assert_eq!(breaker.report(probe, CallOutcome::Well, at(1000), &POLICY), Change::Closed);
    go(&mut breaker, 1000);
    go(&mut breaker, 1000);
}

#[test]
fn each_failed_probe_doubles_the_wait_up_to_the_cap() {
    let mut breaker = Breaker::default();
    call(&mut breaker, 0, full(None));
    let mut now = 10;
    for expected in [20, 40, 60, 60] {
        assert_eq!(call(&mut breaker, now, down()), Change::StaysOpen);
        assert_eq!(wait(&mut breaker, now).until, at(now + expected));
        now += expected;
    }
    assert_eq!(call(&mut breaker, now, CallOutcome::Well), Change::Closed);
    assert_eq!(call(&mut breaker, now, full(None)), Change::Opened);
    assert_eq!(wait(&mut breaker, now).until, at(now + 10), "the next opening begins anew");
}

#[test]
fn a_probe_that_learns_nothing_lets_the_next_one_go_at_once() {
    let mut breaker = Breaker::default();
    call(&mut breaker, 0, full(None));
    assert_eq!(call(&mut breaker, 15, CallOutcome::Unknown), Change::Nothing);
    go(&mut breaker, 15);
    wait(&mut breaker, 15);
}

#[test]
fn what_began_before_it_opened_changes_nothing_but_the_providers_word() {
    let mut breaker = Breaker::default();
    let (early, late, later) = (go(&mut breaker, 0), go(&mut breaker, 0), go(&mut breaker, 0));
    call(&mut breaker, 0, full(Some(20)));
    assert_eq!(breaker.report(early, CallOutcome::Well, at(1), &POLICY), Change::Nothing);
    assert_eq!(wait(&mut breaker, 2).until, at(20));
    breaker.report(late, full(Some(30)), at(5), &POLICY);
    assert_eq!(wait(&mut breaker, 20).until, at(35), "the later moment counts");
    go(&mut breaker, 35);
    breaker.report(later, down(), at(36), &POLICY);
    assert!(matches!(breaker.phase(), Phase::HalfOpen(_)), "that was not the probe");
}

#[test]
fn a_misconfigured_engine_is_tried_again_from_time_to_time() {
    let mut breaker = Breaker::default();
    assert_eq!(call(&mut breaker, 0, lost()), Change::Opened);
    assert!(matches!(breaker.phase(), Phase::Open(opening) if opening.is_misconfigured));
    assert_eq!(wait(&mut breaker, 1).until, at(60));
    assert_eq!(call(&mut breaker, 60, lost()), Change::StaysOpen);
    assert_eq!(call(&mut breaker, 120, CallOutcome::Well), Change::Closed);
}

#[test]
fn a_clock_that_is_set_back_does_not_keep_it_open() {
    let mut breaker = Breaker::default();
    call(&mut breaker, 100_000, full(Some(60)));
    go(&mut breaker, 0);
}

#[test]
fn what_a_failed_attempt_says_of_its_engine() {
    let retry = |code| CallOutcome::of(&AttemptFailure::retry(code, "why"));
    for code in [ErrorCode::EngineUnavailable, ErrorCode::EngineTimeout] {
        assert!(matches!(retry(code), CallOutcome::Failed(_)), "{code}");
    }
    for code in [ErrorCode::StorageError, ErrorCode::Internal, ErrorCode::WorkerLost] {
        assert_eq!(retry(code), CallOutcome::Unknown, "{code}");
    }
    for code in [ErrorCode::ContentFiltered, ErrorCode::InvalidRequest] {
        assert_eq!(CallOutcome::of(&AttemptFailure::fail(code, "why")), CallOutcome::Well, "{code}");
    }
    let asked = Some(Duration::from_secs(7));
    let throttled = CallOutcome::of(&AttemptFailure::throttled("why", asked));
    assert!(matches!(throttled, CallOutcome::Throttled(after, _) if after == asked));
    assert!(matches!(CallOutcome::of(&AttemptFailure::misconfigured("why")), CallOutcome::Misconfigured(_)));
}

#[derive(Debug, Clone)]
enum Step {
    Ask,
    Report(usize, CallOutcome),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let answer = prop_oneof![
        Just(CallOutcome::Well),
        Just(CallOutcome::Unknown),
        Just(down()),
        Just(lost()),
        proptest::option::of(0..200_u64).prop_map(full),
    ];
    prop_oneof![
        3 => Just(Step::Ask),
        3 => (any::<prop::sample::Index>(), answer).prop_map(|(at, answer)| Step::Report(at.index(64), answer)),
        2 => (0..40_u64).prop_map(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn one_probe_a_bounded_wait_and_never_shut_for_good(steps in proptest::collection::vec(step(), 1..80)) {
        let mut breaker = Breaker::default();
        let mut now = 0;
        let mut calls: Vec<Ticket> = Vec::new();
        let mut probe: Option<Ticket> = None;
        for step in steps {
            match step {
                Step::Pass(seconds) => now += seconds,
                Step::Ask => match breaker.ask(at(now), &POLICY) {
                    CallDecision::Go(ticket) => {
                        prop_assert!(probe.is_none(), "a second call beside the probe");
                        if matches!(breaker.phase(), Phase::HalfOpen(_)) {
                            probe = Some(ticket);
                        }
                        calls.push(ticket);
                    }
                    CallDecision::Wait(pause) => {
                        prop_assert!(pause.until > at(now), "whoever is told to wait must wait");
                        prop_assert!(pause.until <= after(at(now), POLICY.cap), "for no longer than the cap");
                        let is_closed = matches!(breaker.phase(), Phase::Closed { .. });
                        prop_assert!(!is_closed);
                    }
                },
                Step::Report(which, answer) if !calls.is_empty() => {
                    let ticket = calls.remove(which % calls.len());
                    if probe == Some(ticket) {
                        probe = None;
                    }
                    let was_well = answer == CallOutcome::Well;
                    let change = breaker.report(ticket, answer, at(now), &POLICY);
                    prop_assert!(change != Change::Closed || was_well);
                }
                Step::Report(..) => {}
            }
            prop_assert_eq!(probe.is_some(), matches!(breaker.phase(), Phase::HalfOpen(_)));
        }
        // Once the engine is well and whoever probed has reported, it closes.
        if let Some(ticket) = probe {
            breaker.report(ticket, CallOutcome::Unknown, at(now), &POLICY);
        }
        now += 61;
        if let CallDecision::Go(ticket) = breaker.ask(at(now), &POLICY) {
            breaker.report(ticket, CallOutcome::Well, at(now), &POLICY);
        }
        prop_assert!(breaker.is_idle());
    }
}
