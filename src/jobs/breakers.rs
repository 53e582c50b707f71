//! Circuit breakers: which engines may be called, and when a job whose engine is paused comes back.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use crate::domain::{
    Timestamp,
    breaker::{Breaker, BreakerChange, BreakerPolicy, CallOutcome, CallPermit, CallRefusal, Phase},
    clock::{Clock, Random, after, until},
    failure::{AttemptFailure, Disposition, ErrorCode, JobError},
};

/// How many breakers are remembered at most. There is one for each engine and model.
const MAX_BREAKERS: usize = 256;

/// The state of an engine, for operators.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BreakerStatus {
    /// `engine/model`.
    pub engine: String,
    /// `closed` (calls pass), `open` (calls are paused) or `half-open` (one call tests the engine).
    pub state: &'static str,
    /// When the next call may test the engine, unless the breaker is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Why calls are paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<JobError>,
    /// Whether an operator has to help.
    pub misconfigured: bool,
}

/// The breakers of this process, by engine and model.
pub(super) struct Breakers {
    policy: BreakerPolicy,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    by_route: Mutex<BTreeMap<String, Breaker>>,
}

/// The permit for the first of several routes that may be called, and all routes, for a fallback.
#[derive(Debug)]
pub(super) struct RoutedPermit {
    pub(super) permit: Permit,
    pub(super) routes: Vec<String>,
}

impl Breakers {
    pub(super) fn new(policy: BreakerPolicy, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        Self { policy, clock, random, by_route: Mutex::default() }
    }

    /// The permit for one call of `name`, or how long to wait.
    fn try_permit(self: &Arc<Self>, name: &str) -> Result<Permit, CallRefusal> {
        let now = self.clock.now();
        let ticket = self.with_breaker(name, |breaker| breaker.acquire(now, &self.policy)).transpose()?;
        Ok(self.permit(name, ticket))
    }

    /// The permit for the first of these routes that may be called. Otherwise a pause with the reason of the first route,
    /// until the earliest time at which any of them may be called.
    pub(super) fn permit_for_any(self: &Arc<Self>, routes: Vec<String>) -> Result<RoutedPermit, CallRefusal> {
        let mut first: Option<CallRefusal> = None;
        for route in &routes {
            match self.try_permit(route) {
                Ok(permit) => return Ok(RoutedPermit { permit, routes }),
                Err(pause) => {
                    let until = first.as_ref().map_or(pause.until, |first| first.until.min(pause.until));
                    first = Some(CallRefusal { until, ..first.unwrap_or(pause) });
                }
            }
        }
        match first {
            Some(pause) => Err(pause),
            None => Ok(RoutedPermit { permit: self.permit("engine", None), routes }),
        }
    }

    /// The permit for the next route after `name` that may be called, if the failure of `name` has opened its breaker.
    /// `None` if the request itself was refused, or while `name` may still be called.
    pub(super) fn fallback(
        self: &Arc<Self>,
        routes: &[String],
        name: &str,
        failure: &AttemptFailure,
    ) -> Option<Permit> {
        if matches!(CallOutcome::of(failure), CallOutcome::Healthy | CallOutcome::Inconclusive) {
            return None;
        }
        let is_paused = self.with_breaker(name, |breaker| !matches!(breaker.phase(), Phase::Closed { .. }));
        let mut behind = routes.iter().skip_while(|route| *route != name).skip(1);
        is_paused.filter(|paused| *paused).and_then(|_| behind.find_map(|route| self.try_permit(route).ok()))
    }

    /// A permit for a call that is made even while the breaker is open, because it belongs to an attempt that has begun or
    /// to a job that has ended.
    pub(super) fn permit_without_check(self: &Arc<Self>, name: &str) -> Permit {
        let ticket = self.with_breaker(name, |breaker| breaker.permit_without_check());
        self.permit(name, ticket)
    }

    fn permit(self: &Arc<Self>, name: &str, ticket: Option<CallPermit>) -> Permit {
        Permit { breakers: Arc::clone(self), name: name.to_owned(), ticket }
    }

    /// The status of every breaker that has been used.
    pub(super) fn statuses(&self) -> Vec<BreakerStatus> {
        let status = |(name, breaker): (&String, &Breaker)| {
            let (state, opening) = match breaker.phase() {
                Phase::Closed { .. } => ("closed", None),
                Phase::Open(opening) => ("open", Some(opening)),
                Phase::HalfOpen(opening) => ("half-open", Some(opening)),
            };
            BreakerStatus {
                engine: name.clone(),
                state,
                until: opening.map(|opening| opening.until),
                reason: opening.map(|opening| opening.reason.clone()),
                misconfigured: opening.is_some_and(|opening| opening.is_misconfigured),
            }
        };
        self.lock().iter().map(status).collect()
    }

    /// When a job comes back whose engine is paused, and why it waits. The times are spread out, so that the jobs do not
    /// all come back at once.
    pub(super) fn next_try(&self, pause: &CallRefusal) -> (Timestamp, JobError) {
        let until = after(pause.until, pause.spread.mul_f64(self.random.unit()));
        let lead = match pause.reason.code {
            ErrorCode::RateLimited => "the engine is busy",
            ErrorCode::EngineMisconfigured => "the engine is not set up, and its operator has been told",
            _ => "the engine does not answer",
        };
        (until, JobError::new(pause.reason.code, format!("{lead}; next try at {until:.0}")))
    }

    /// The failure of an attempt whose engine is paused. It names when to come back, and costs no attempt.
    pub(super) fn throttled(&self, pause: &CallRefusal) -> AttemptFailure {
        let (at, error) = self.next_try(pause);
        AttemptFailure { error, disposition: Disposition::Throttled { after: Some(until(self.clock.now(), at)) } }
    }

    fn report(&self, name: &str, ticket: CallPermit, outcome: CallOutcome) {
        let now = self.clock.now();
        let reported = self.with_breaker(name, |breaker| {
            let change = breaker.report(ticket, outcome, now, &self.policy);
            (change, breaker.phase().clone())
        });
        if let Some((change, phase)) = reported {
            log_change(name, change, &phase);
        }
    }

    /// `None` when there are too many breakers to remember another one.
    fn with_breaker<T>(&self, name: &str, act: impl FnOnce(&mut Breaker) -> T) -> Option<T> {
        let mut breakers = self.lock();
        if let Some(breaker) = breakers.get_mut(name) {
            return Some(act(breaker));
        }
        if breakers.len() >= MAX_BREAKERS {
            breakers.retain(|_, breaker| !breaker.is_idle());
        }
        (breakers.len() < MAX_BREAKERS).then(|| act(breakers.entry(name.to_owned()).or_default()))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Breaker>> {
        self.by_route.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log_change(engine: &str, change: BreakerChange, phase: &Phase) {
    match (change, phase) {
        (BreakerChange::Opened | BreakerChange::StaysOpen, Phase::Open(opening)) => {
            let (code, reason, until) = (opening.reason.code.as_str(), &opening.reason.message, opening.until);
            if opening.is_misconfigured {
                tracing::error!(engine, code, reason, %until, "engine misconfigured; its jobs wait for an operator");
            } else {
                tracing::warn!(engine, code, reason, %until, "calls to the engine are paused; its jobs stay queued");
            }
        }
        (BreakerChange::Closed, _) => tracing::info!(engine, "engine is well again"),
        _ => {}
    }
}

/// The right to one call of an engine. A permit that is dropped without a report tells the breaker that nothing was learnt,
/// so that after a probe that was cancelled, lost or panicked the next call may probe.
pub(super) struct Permit {
    breakers: Arc<Breakers>,
    name: String,
    ticket: Option<CallPermit>,
}

impl Permit {
    /// The route that may be called.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn report(mut self, outcome: CallOutcome) {
        self.use_ticket(outcome);
    }

    fn use_ticket(&mut self, outcome: CallOutcome) {
        if let Some(ticket) = self.ticket.take() {
            self.breakers.report(&self.name, ticket, outcome);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.use_ticket(CallOutcome::Inconclusive);
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("name", &self.name).field("ticket", &self.ticket).finish_non_exhaustive()
    }
}

/// Calls an engine within a time limit, on a task of its own, so that an engine that blocks its thread does not block the
/// caller. Dropping the future stops the call at its next await.
pub(super) async fn call<T: Send + 'static>(
    permit: Permit,
    limit: Duration,
    callee: &'static str,
    work: impl Future<Output = Result<T, AttemptFailure>> + Send + 'static,
) -> Result<T, AttemptFailure> {
    let task = AbortOnDropHandle::new(tokio::spawn(work.in_current_span()));
    let result = match tokio::time::timeout(limit, task).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(AttemptFailure::retry(ErrorCode::Internal, format!("{callee} panicked; see the log"))),
        Err(_) => Err(AttemptFailure::retry(ErrorCode::EngineTimeout, format!("{callee} took longer than {limit:?}"))),
    };
    permit.report(result.as_ref().map_or_else(CallOutcome::of, |_| CallOutcome::Healthy));
    result
}
