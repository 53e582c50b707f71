//! A circuit breaker: it stops calls to a provider that refuses or fails, and lets one probe at a time find out when the
//! provider has recovered.
//!
//! A caller acquires a permit before a call and reports the outcome with that permit. A permit belongs to the phase in
//! which it was given: a call that began before the breaker opened can neither close it nor open it again.

use std::time::Duration;

use super::{
    Timestamp,
    clock::after,
    failure::{AttemptFailure, Disposition, ErrorCode, JobError},
    retry::doubled,
};

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Consecutive failures that open the breaker, at least 1. A throttled call opens it at once.
    pub failures: u32,
    /// How long the breaker first stays open. Each failed probe doubles it.
    pub cooldown: Duration,
    /// The longest time the breaker stays open, whatever the provider asks for. A misconfigured engine always waits this
    /// long between two probes.
    pub cap: Duration,
}

/// What a call showed about its provider.
#[derive(Debug, Clone, PartialEq)]
pub enum CallOutcome {
    /// The provider works. A refusal of this one request (filtered, invalid) also shows that.
    Healthy,
    /// The provider has no capacity; it may have sent a `Retry-After`.
    Throttled(Option<Duration>, JobError),
    /// The provider cannot be reached, answers with a server error, or does not answer in time.
    Unavailable(JobError),
    /// The model or a permission is missing: only an operator can help.
    Misconfigured(JobError),
    /// The call shows nothing about the provider: it was cancelled, or it failed on our side.
    Inconclusive,
}

impl CallOutcome {
    /// What a failed attempt shows about its provider.
    pub fn of(failure: &AttemptFailure) -> Self {
        let error = failure.error.clone();
        match (failure.disposition, error.code) {
            (Disposition::Throttled { after }, _) => Self::Throttled(after, error),
            (Disposition::Misconfigured, _) => Self::Misconfigured(error),
            (_, ErrorCode::EngineUnavailable | ErrorCode::EngineTimeout) => Self::Unavailable(error),
            (_, ErrorCode::ContentFiltered | ErrorCode::InvalidRequest | ErrorCode::EngineError) => Self::Healthy,
            _ => Self::Inconclusive,
        }
    }
}

/// The right to one call, and the phase in which it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallPermit(u64);

/// Why a call is not allowed now, and when to try again.
#[derive(Debug, Clone, PartialEq)]
pub struct CallRefusal {
    /// The earliest moment to try again.
    pub until: Timestamp,
    /// Callers spread their next try over this time after `until`, so that they do not all arrive at once.
    pub spread: Duration,
    /// Why the breaker is open.
    pub reason: JobError,
}

/// How a report changed the breaker, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerChange {
    /// The phase is the same, or the change is not worth a log line.
    None,
    /// It opened.
    Opened,
    /// A probe failed: it stays open for longer.
    StaysOpen,
    /// A probe succeeded.
    Closed,
}

/// The phase of a breaker.
#[derive(Debug, Clone, PartialEq)]
pub enum Phase {
    /// Calls are allowed.
    Closed {
        /// Failures since the last success.
        failures: u32,
    },
    /// Calls are refused.
    Open(Opening),
    /// One probe is under way; all other calls are refused.
    HalfOpen(Opening),
}

/// Why and for how long a breaker is open.
#[derive(Debug, Clone, PartialEq)]
pub struct Opening {
    /// When the next probe may start.
    pub until: Timestamp,
    /// Why it is open.
    pub reason: JobError,
    /// Whether an operator has to correct the configuration.
    pub is_misconfigured: bool,
    /// Probes that failed since the breaker opened.
    pub trips: u32,
    /// How long this opening lasts.
    cooldown: Duration,
}

/// The breaker of one engine and model.
#[derive(Debug, Clone, PartialEq)]
pub struct Breaker {
    phase: Phase,
    /// The number of the phase; permits carry it.
    epoch: u64,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { phase: Phase::Closed { failures: 0 }, epoch: 0 }
    }
}

impl Breaker {
    /// The present phase.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Whether it is closed and has counted no failure, like a new breaker.
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Closed { failures: 0 })
    }

    /// A permit for one call, or why the call is refused. The first caller after the opening has ended makes the probe.
    pub fn acquire(&mut self, now: Timestamp, policy: &BreakerPolicy) -> Result<CallPermit, CallRefusal> {
        match &self.phase {
            Phase::Closed { .. } => Ok(CallPermit(self.epoch)),
            Phase::Open(opening) if opening.is_over(now, policy) => {
                let opening = opening.clone();
                self.enter(Phase::HalfOpen(opening));
                Ok(CallPermit(self.epoch))
            }
            Phase::Open(opening) => Err(opening.refusal(opening.until)),
            // The probe may take as long as any call.
            Phase::HalfOpen(opening) => Err(opening.refusal(after(now, opening.cooldown.max(policy.cooldown)))),
        }
    }

    /// A permit for a call that is made in any phase. Its outcome counts only if the breaker is closed now.
    pub fn permit_without_check(&self) -> CallPermit {
        match self.phase {
            Phase::Closed { .. } => CallPermit(self.epoch),
            // No phase ever has this number.
            _ => CallPermit(u64::MAX),
        }
    }

    /// Records the outcome of the call that this permit allowed.
    pub fn report(
        &mut self,
        permit: CallPermit,
        outcome: CallOutcome,
        now: Timestamp,
        policy: &BreakerPolicy,
    ) -> BreakerChange {
        if permit.0 != self.epoch {
            self.report_late(&outcome, now, policy);
            return BreakerChange::None;
        }
        match (&mut self.phase, outcome) {
            (Phase::Closed { failures }, CallOutcome::Healthy) => {
                *failures = 0;
                BreakerChange::None
            }
            (Phase::Closed { failures }, CallOutcome::Unavailable(_)) if *failures + 1 < policy.failures => {
                *failures += 1;
                BreakerChange::None
            }
            (Phase::HalfOpen(_), CallOutcome::Healthy) => {
                self.enter(Phase::Closed { failures: 0 });
                BreakerChange::Closed
            }
            // The next caller may probe at once.
            (Phase::HalfOpen(opening), CallOutcome::Inconclusive) => {
                let opening = Opening { until: now, ..opening.clone() };
                self.enter(Phase::Open(opening));
                BreakerChange::None
            }
            (Phase::HalfOpen(opening), outcome) => {
                let trips = opening.trips.saturating_add(1);
                self.open(trips, outcome, now, policy);
                BreakerChange::StaysOpen
            }
            (Phase::Closed { .. }, CallOutcome::Inconclusive) | (Phase::Open(_), _) => BreakerChange::None,
            (Phase::Closed { .. }, outcome) => {
                self.open(0, outcome, now, policy);
                BreakerChange::Opened
            }
        }
    }

    /// A call that began in an earlier phase changes one thing only: its `Retry-After` can prolong the opening.
    fn report_late(&mut self, outcome: &CallOutcome, now: Timestamp, policy: &BreakerPolicy) {
        if let (Phase::Open(opening), CallOutcome::Throttled(Some(retry_after), _)) = (&mut self.phase, outcome) {
            opening.until = opening.until.max(after(now, (*retry_after).min(policy.cap)));
        }
    }

    fn open(&mut self, trips: u32, outcome: CallOutcome, now: Timestamp, policy: &BreakerPolicy) {
        let doubled = doubled(policy.cooldown, trips, policy.cap);
        let (cooldown, is_misconfigured, reason) = match outcome {
            CallOutcome::Throttled(retry_after, reason) => {
                // A `Retry-After` of zero seconds does not say when to come back.
                let retry_after = retry_after.filter(|wait| !wait.is_zero());
                (retry_after.map_or(doubled, |wait| wait.min(policy.cap)), false, reason)
            }
            CallOutcome::Misconfigured(reason) => (policy.cap, true, reason),
            CallOutcome::Unavailable(reason) => (doubled, false, reason),
            CallOutcome::Healthy | CallOutcome::Inconclusive => return,
        };
        let until = after(now, cooldown);
        self.enter(Phase::Open(Opening { until, reason, is_misconfigured, trips, cooldown }));
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.epoch += 1;
    }
}

impl Opening {
    /// If the clock was set back, the opening still ends: it never lasts longer than the cap.
    fn is_over(&self, now: Timestamp, policy: &BreakerPolicy) -> bool {
        self.until <= now || self.until > after(now, policy.cap)
    }

    fn refusal(&self, until: Timestamp) -> CallRefusal {
        CallRefusal { until, spread: self.cooldown / 4, reason: self.reason.clone() }
    }
}
