//! A circuit breaker: while a provider refuses or fails, nobody calls it, and one probe at a time finds out when it is well.
//!
//! A call asks first and reports afterwards with the ticket it was given. What is reported with a ticket of an earlier
//! phase says nothing of this one: a call that began before the breaker opened neither closes nor opens it again.

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
    /// Failures in a row that open it, at least 1. A provider that says it is full opens it at once.
    pub failures: u32,
    /// How long it stays open at first; doubles with each probe that fails.
    pub cooldown: Duration,
    /// How long it stays open at most, whatever the provider asks for; also between two probes of a misconfigured engine.
    pub cap: Duration,
}

/// How a provider answered a call.
#[derive(Debug, Clone, PartialEq)]
pub enum CallOutcome {
    /// It works. A refusal of this very request (filtered, invalid) is such an answer.
    Well,
    /// It is full, and may have said for how long.
    Throttled(Option<Duration>, JobError),
    /// It cannot be reached, fails, or is silent.
    Failed(JobError),
    /// It works for others: the model or the permission is missing, and only an operator can help.
    Misconfigured(JobError),
    /// The call says nothing of the provider: it was cancelled, or failed on our side.
    Unknown,
}

impl CallOutcome {
    /// What a failed attempt says of the provider.
    pub fn of(failure: &AttemptFailure) -> Self {
        let error = failure.error.clone();
        match (failure.disposition, error.code) {
            (Disposition::Throttled { after }, _) => Self::Throttled(after, error),
            (Disposition::Misconfigured, _) => Self::Misconfigured(error),
            (_, ErrorCode::EngineUnavailable | ErrorCode::EngineTimeout) => Self::Failed(error),
            (_, ErrorCode::ContentFiltered | ErrorCode::InvalidRequest | ErrorCode::EngineError) => Self::Well,
            _ => Self::Unknown,
        }
    }
}

/// The right to one call, and the phase it was given in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(u64);

/// What somebody who asks is told.
#[derive(Debug, Clone, PartialEq)]
pub enum CallDecision {
    /// Call, and report with this ticket.
    Go(Ticket),
    /// Do not call.
    Wait(Pause),
}

/// Why nobody may call now, and when to ask again.
#[derive(Debug, Clone, PartialEq)]
pub struct Pause {
    /// When to ask again.
    pub until: Timestamp,
    /// Over how long after that those who wait may spread, so that they do not all come at once.
    pub spread: Duration,
    /// Why.
    pub reason: JobError,
}

/// What a report did, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing anybody needs to know.
    Nothing,
    /// It opened.
    Opened,
    /// A probe failed: it is open for longer.
    StaysOpen,
    /// A probe succeeded.
    Closed,
}

/// Where a breaker is.
#[derive(Debug, Clone, PartialEq)]
pub enum Phase {
    /// Everybody may call.
    Closed {
        /// Failures since the last success.
        failures: u32,
    },
    /// Nobody may.
    Open(Opening),
    /// One call finds out whether it may close.
    HalfOpen(Opening),
}

/// Why and for how long a breaker is open.
#[derive(Debug, Clone, PartialEq)]
pub struct Opening {
    /// When the next probe may go.
    pub until: Timestamp,
    /// Why.
    pub reason: JobError,
    /// Whether it is an operator who has to help.
    pub is_misconfigured: bool,
    /// Probes that failed since it opened.
    pub trips: u32,
    /// How long this opening lasts.
    cooldown: Duration,
}

/// The breaker of one engine and model.
#[derive(Debug, Clone, PartialEq)]
pub struct Breaker {
    phase: Phase,
    epoch: u64,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { phase: Phase::Closed { failures: 0 }, epoch: 0 }
    }
}

impl Breaker {
    /// Where it is.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Whether it is as if it had never been used.
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Closed { failures: 0 })
    }

    /// May a call be made? The first who asks once the time is up is the probe.
    pub fn ask(&mut self, now: Timestamp, policy: &BreakerPolicy) -> CallDecision {
        match &self.phase {
            Phase::Closed { .. } => CallDecision::Go(Ticket(self.epoch)),
            Phase::Open(opening) if opening.is_over(now, policy) => {
                let opening = opening.clone();
                self.enter(Phase::HalfOpen(opening));
                CallDecision::Go(Ticket(self.epoch))
            }
            Phase::Open(opening) => CallDecision::Wait(opening.pause(opening.until)),
            // The probe's answer may take as long as a call takes.
            Phase::HalfOpen(opening) => {
                CallDecision::Wait(opening.pause(after(now, opening.cooldown.max(policy.cooldown))))
            }
        }
    }

    /// A ticket for a call that is made without asking: its answer counts while the breaker is closed.
    pub fn ticket(&self) -> Ticket {
        match self.phase {
            Phase::Closed { .. } => Ticket(self.epoch),
            // No phase has this number again.
            _ => Ticket(u64::MAX),
        }
    }

    /// Takes note of how a call was answered.
    pub fn report(&mut self, ticket: Ticket, answer: CallOutcome, now: Timestamp, policy: &BreakerPolicy) -> Change {
        if ticket.0 != self.epoch {
            self.report_late(&answer, now, policy);
            return Change::Nothing;
        }
        match (&mut self.phase, answer) {
            (Phase::Closed { failures }, CallOutcome::Well) => {
                *failures = 0;
                Change::Nothing
            }
            (Phase::Closed { failures }, CallOutcome::Failed(_)) if *failures + 1 < policy.failures => {
                *failures += 1;
                Change::Nothing
            }
            (Phase::HalfOpen(_), CallOutcome::Well) => {
                self.enter(Phase::Closed { failures: 0 });
                Change::Closed
            }
            // The next one may probe at once.
            (Phase::HalfOpen(opening), CallOutcome::Unknown) => {
                let opening = Opening { until: now, ..opening.clone() };
                self.enter(Phase::Open(opening));
                Change::Nothing
            }
            (Phase::HalfOpen(opening), answer) => {
                let trips = opening.trips.saturating_add(1);
                self.open(trips, answer, now, policy);
                Change::StaysOpen
            }
            (Phase::Closed { .. }, CallOutcome::Unknown) | (Phase::Open(_), _) => Change::Nothing,
            (Phase::Closed { .. }, answer) => {
                self.open(0, answer, now, policy);
                Change::Opened
            }
        }
    }

    /// Of a call that began in another phase only one thing counts: the provider's own word on when to come back.
    fn report_late(&mut self, answer: &CallOutcome, now: Timestamp, policy: &BreakerPolicy) {
        if let (Phase::Open(opening), CallOutcome::Throttled(Some(asked), _)) = (&mut self.phase, answer) {
            opening.until = opening.until.max(after(now, (*asked).min(policy.cap)));
        }
    }

    fn open(&mut self, trips: u32, answer: CallOutcome, now: Timestamp, policy: &BreakerPolicy) {
        let doubled = doubled(policy.cooldown, trips, policy.cap);
        let (cooldown, is_misconfigured, reason) = match answer {
            CallOutcome::Throttled(asked, reason) => {
                // "Come back in zero seconds" is no word on when.
                let asked = asked.filter(|asked| !asked.is_zero());
                (asked.map_or(doubled, |asked| asked.min(policy.cap)), false, reason)
            }
            CallOutcome::Misconfigured(reason) => (policy.cap, true, reason),
            CallOutcome::Failed(reason) => (doubled, false, reason),
            CallOutcome::Well | CallOutcome::Unknown => return,
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
    /// A clock that was set back must not keep a breaker open for longer than it may ever be.
    fn is_over(&self, now: Timestamp, policy: &BreakerPolicy) -> bool {
        self.until <= now || self.until > after(now, policy.cap)
    }

    fn pause(&self, until: Timestamp) -> Pause {
        Pause { until, spread: self.cooldown / 4, reason: self.reason.clone() }
    }
}
