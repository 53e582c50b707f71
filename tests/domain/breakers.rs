//! The breaker: it stops calls to a failing engine, allows one probe at a time, and can always close again.

use std::time::Duration;

use mediaforge::domain::{
    Timestamp,
    breaker::{Breaker, BreakerChange, BreakerPolicy, CallOutcome, CallPermit, CallRefusal, Phase},
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
    CallOutcome::Unavailable(JobError::new(ErrorCode::EngineUnavailable, "down"))
}

fn throttled(after: Option<u64>) -> CallOutcome {
    CallOutcome::Throttled(after.map(Duration::from_secs), JobError::new(ErrorCode::RateLimited, "full"))
}

fn misconfigured() -> CallOutcome {
    CallOutcome::Misconfigured(JobError::new(ErrorCode::EngineMisconfigured, "no such model"))
}

fn acquire(breaker: &mut Breaker, seconds: u64) -> CallPermit {
    match breaker.acquire(at(seconds), &POLICY) {
        Ok(ticket) => ticket,
        Err(pause) => panic!("at {seconds}: {pause:?}"),
    }
}

fn refused(breaker: &mut Breaker, seconds: u64) -> CallRefusal {
    match breaker.acquire(at(seconds), &POLICY) {
        Err(pause) => pause,
        Ok(ticket) => panic!("at {seconds}: {ticket:?}"),
    }
}

fn call(breaker: &mut Breaker, seconds: u64, answer: CallOutcome) -> BreakerChange {
    let ticket = acquire(breaker, seconds);
    breaker.report(ticket, answer, at(seconds), &POLICY)
}

#[test]
fn consecutive_failures_open_the_breaker_and_a_success_resets_the_count() {
    let mut breaker = Breaker::default();
    for answer in [down(), down(), CallOutcome::Healthy, down(), CallOutcome::Inconclusive, down()] {
        assert_eq!(call(&mut breaker, 0, answer), BreakerChange::None);
    }
    assert_eq!(call(&mut breaker, 0, down()), BreakerChange::Opened);
    let pause = refused(&mut breaker, 9);
    assert_eq!((pause.until, pause.reason.code), (at(10), ErrorCode::EngineUnavailable));
    assert!(pause.spread > Duration::ZERO, "waiting callers must not all return at once");
}

#[test]
fn a_throttled_call_opens_the_breaker_for_the_retry_after() {
    let mut breaker = Breaker::default();
    assert_eq!(call(&mut breaker, 0, throttled(Some(42))), BreakerChange::Opened);
    assert_eq!(refused(&mut breaker, 41).until, at(42));
    assert_eq!(
        call(&mut breaker, 42, throttled(None)),
        BreakerChange::StaysOpen,
        "without a Retry-After, twice the cooldown"
    );
    assert_eq!(refused(&mut breaker, 43).until, at(62));
    assert_eq!(
        call(&mut breaker, 62, throttled(Some(100_000))),
        BreakerChange::StaysOpen,
        "the cap limits any Retry-After"
    );
    assert_eq!(refused(&mut breaker, 63).until, at(122));
}

#[test]
fn a_successful_probe_closes_the_breaker() {
    let mut breaker = Breaker::default();
    call(&mut breaker, 0, throttled(None));
    let probe = acquire(&mut breaker, 10);
    assert_eq!(refused(&mut breaker, 10).until, at(20), "one is enough");
    assert_eq!(refused(&mut breaker, 1000).until, at(1010), "however long it takes");
    assert_eq!(breaker.report(probe, CallOutcome::Healthy, at(1000), &POLICY), BreakerChange::Closed);
    acquire(&mut breaker, 1000);
    acquire(&mut breaker, 1000);
}

#[test]
fn each_failed_probe_doubles_the_wait_up_to_the_cap() {
    let mut breaker = Breaker::default();
    call(&mut breaker, 0, throttled(None));
    let mut now = 10;
    for expected in [20, 40, 60, 60] {
        assert_eq!(call(&mut breaker, now, down()), BreakerChange::StaysOpen);
        assert_eq!(refused(&mut breaker, now).until, at(now + expected));
        now += expected;
    }
    assert_eq!(call(&mut breaker, now, CallOutcome::Healthy), BreakerChange::Closed);
    assert_eq!(call(&mut breaker, now, throttled(None)), BreakerChange::Opened);
    assert_eq!(refused(&mut breaker, now).until, at(now + 10), "the next opening begins anew");
}

#[test]
fn after_an_inconclusive_probe_the_next_probe_may_start_at_once() {
    let mut breaker = Breaker::default();
    call(&mut breaker, 0, throttled(None));
    assert_eq!(call(&mut breaker, 15, CallOutcome::Inconclusive), BreakerChange::None);
    acquire(&mut breaker, 15);
    refused(&mut breaker, 15);
}

#[test]
fn a_call_from_an_earlier_phase_can_only_prolong_the_opening() {
    let mut breaker = Breaker::default();
    let (early, late, later) = (acquire(&mut breaker, 0), acquire(&mut breaker, 0), acquire(&mut breaker, 0));
    call(&mut breaker, 0, throttled(Some(20)));
    assert_eq!(breaker.report(early, CallOutcome::Healthy, at(1), &POLICY), BreakerChange::None);
    assert_eq!(refused(&mut breaker, 2).until, at(20));
    breaker.report(late, throttled(Some(30)), at(5), &POLICY);
    assert_eq!(refused(&mut breaker, 20).until, at(35), "the later moment counts");
    acquire(&mut breaker, 35);
    breaker.report(later, down(), at(36), &POLICY);
    assert!(matches!(breaker.phase(), Phase::HalfOpen(_)), "that was not the probe");
}

#[test]
fn a_misconfigured_engine_is_probed_after_the_cap() {
    let mut breaker = Breaker::default();
    assert_eq!(call(&mut breaker, 0, misconfigured()), BreakerChange::Opened);
    assert!(matches!(breaker.phase(), Phase::Open(opening) if opening.is_misconfigured));
    assert_eq!(refused(&mut breaker, 1).until, at(60));
    assert_eq!(call(&mut breaker, 60, misconfigured()), BreakerChange::StaysOpen);
    assert_eq!(call(&mut breaker, 120, CallOutcome::Healthy), BreakerChange::Closed);
}

#[test]
fn a_clock_that_is_set_back_does_not_keep_the_breaker_open() {
    let mut breaker = Breaker::default();
    call(&mut breaker, 100_000, throttled(Some(60)));
    acquire(&mut breaker, 0);
}

#[test]
fn a_failed_attempt_is_mapped_to_an_outcome() {
    let retry = |code| CallOutcome::of(&AttemptFailure::retry(code, "why"));
    for code in [ErrorCode::EngineUnavailable, ErrorCode::EngineTimeout] {
        assert!(matches!(retry(code), CallOutcome::Unavailable(_)), "{code}");
    }
    for code in [ErrorCode::StorageError, ErrorCode::Internal, ErrorCode::WorkerLost] {
        assert_eq!(retry(code), CallOutcome::Inconclusive, "{code}");
    }
    for code in [ErrorCode::ContentFiltered, ErrorCode::InvalidRequest] {
        assert_eq!(CallOutcome::of(&AttemptFailure::fail(code, "why")), CallOutcome::Healthy, "{code}");
    }
    let asked = Some(Duration::from_secs(7));
    let throttled = CallOutcome::of(&AttemptFailure::throttled("why", asked));
    assert!(matches!(throttled, CallOutcome::Throttled(after, _) if after == asked));
    assert!(matches!(CallOutcome::of(&AttemptFailure::misconfigured("why")), CallOutcome::Misconfigured(_)));
}

#[derive(Debug, Clone)]
enum Step {
    Acquire,
    Report(usize, CallOutcome),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let answer = prop_oneof![
        Just(CallOutcome::Healthy),
        Just(CallOutcome::Inconclusive),
        Just(down()),
        Just(misconfigured()),
        proptest::option::of(0..200_u64).prop_map(throttled),
    ];
    prop_oneof![
        3 => Just(Step::Acquire),
        3 => (any::<prop::sample::Index>(), answer).prop_map(|(at, answer)| Step::Report(at.index(64), answer)),
        2 => (0..40_u64).prop_map(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn there_is_one_probe_at_a_time_a_bounded_wait_and_always_a_way_to_close(steps in proptest::collection::vec(step(), 1..80)) {
        let mut breaker = Breaker::default();
        let mut now = 0;
        let mut calls: Vec<CallPermit> = Vec::new();
        let mut probe: Option<CallPermit> = None;
        for step in steps {
            match step {
                Step::Pass(seconds) => now += seconds,
                Step::Acquire => match breaker.acquire(at(now), &POLICY) {
                    Ok(ticket) => {
                        prop_assert!(probe.is_none(), "a second call beside the probe");
                        if matches!(breaker.phase(), Phase::HalfOpen(_)) {
                            probe = Some(ticket);
                        }
                        calls.push(ticket);
                    }
                    Err(pause) => {
                        prop_assert!(pause.until > at(now), "a refusal names a moment in the future");
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
                    let was_well = answer == CallOutcome::Healthy;
                    let change = breaker.report(ticket, answer, at(now), &POLICY);
                    prop_assert!(change != BreakerChange::Closed || was_well);
                }
                Step::Report(..) => {}
            }
            prop_assert_eq!(probe.is_some(), matches!(breaker.phase(), Phase::HalfOpen(_)));
        }
        // When the probe has reported and the engine works, the breaker closes.
        if let Some(ticket) = probe {
            breaker.report(ticket, CallOutcome::Inconclusive, at(now), &POLICY);
        }
        now += 61;
        if let Ok(ticket) = breaker.acquire(at(now), &POLICY) {
            breaker.report(ticket, CallOutcome::Healthy, at(now), &POLICY);
        }
        prop_assert!(breaker.is_idle());
    }
}
