//! Breakers: which engines may be called, and what becomes of a job whose engine may not.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use super::Execution;
use crate::domain::{
    Timestamp,
    breaker::{Breaker, BreakerChange, BreakerPolicy, CallOutcome, CallPermit, CallRefusal, Phase},
    clock::{Clock, Random, after, until},
    failure::{AttemptFailure, Disposition, ErrorCode, JobError},
    job::{Job, Work},
};

/// Breakers that are remembered, at most. There is one per engine and model.
const MAX_CIRCUITS: usize = 256;

/// How an engine is doing, as operators see it.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BreakerStatus {
    /// `engine/model`.
    pub engine: String,
    /// `closed` (it is called), `open` (it is not) or `half-open` (one call finds out).
    pub state: &'static str,
    /// When it is tried again, while it is not called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Why it is not called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<JobError>,
    /// Whether an operator has to help.
    pub misconfigured: bool,
}

/// The breakers of this process, by engine and model.
pub(in crate::jobs) struct Breakers {
    policy: BreakerPolicy,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    breakers: Mutex<BTreeMap<String, Breaker>>,
}

impl Breakers {
    pub(in crate::jobs) fn new(policy: BreakerPolicy, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        Self { policy, clock, random, breakers: Mutex::default() }
    }

    /// May `name` be called? The permit is the right to one call.
    pub(in crate::jobs) fn ask(self: &Arc<Self>, name: &str) -> Result<Permit, CallRefusal> {
        let now = self.clock.now();
        let verdict = self.with(name, |breaker| breaker.acquire(now, &self.policy));
        match verdict {
            Some(Err(pause)) => Err(pause),
            Some(Ok(ticket)) => Ok(self.permit(name, Some(ticket))),
            None => Ok(self.permit(name, None)),
        }
    }

    /// May any of these be called, the first before the others? If none may, the first says why, and whichever may be asked
    /// soonest until when.
    fn ask_any(self: &Arc<Self>, routes: &[Cow<'_, str>]) -> Result<Permit, CallRefusal> {
        let mut refused: Option<CallRefusal> = None;
        for route in routes {
            match self.ask(route) {
                Ok(permit) => return Ok(permit),
                Err(pause) => {
                    let until = refused.as_ref().map_or(pause.until, |first| first.until.min(pause.until));
                    refused = Some(CallRefusal { until, ..refused.unwrap_or(pause) });
                }
            }
        }
        refused.map_or_else(|| Ok(self.permit("engine", None)), Err)
    }

    /// Who draws in place of `name`, which has just failed like this and may not be called any more: the first behind it that
    /// may. Nobody, when it is the request that it refused, or while it may still be called.
    pub(in crate::jobs) fn fallback(
        self: &Arc<Self>,
        routes: &[Cow<'_, str>],
        name: &str,
        failure: &AttemptFailure,
    ) -> Option<Permit> {
        if matches!(CallOutcome::of(failure), CallOutcome::Healthy | CallOutcome::Inconclusive) {
            return None;
        }
        let is_left_alone = self.with(name, |breaker| !matches!(breaker.phase(), Phase::Closed { .. }));
        let mut behind = routes.iter().skip_while(|route| **route != name).skip(1);
        is_left_alone.filter(|left_alone| *left_alone).and_then(|_| behind.find_map(|route| self.ask(route).ok()))
    }

    /// For a call that belongs to an attempt which has begun, so that nobody is asked.
    pub(in crate::jobs) fn permit_without_check(self: &Arc<Self>, name: &str) -> Permit {
        let ticket = self.with(name, |breaker| breaker.permit_without_check());
        self.permit(name, ticket)
    }

    fn permit(self: &Arc<Self>, name: &str, ticket: Option<CallPermit>) -> Permit {
        Permit { breakers: Arc::clone(self), name: name.to_owned(), ticket }
    }

    /// Every breaker that was ever asked for.
    pub(in crate::jobs) fn all(&self) -> Vec<BreakerStatus> {
        let view = |(name, breaker): (&String, &Breaker)| {
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
        self.breakers().iter().map(view).collect()
    }

    /// When a job that may not call its engine comes back: spread out, so that they do not all come at once.
    pub(in crate::jobs) fn come_back(&self, pause: &CallRefusal) -> (Timestamp, JobError) {
        let until = after(pause.until, pause.spread.mul_f64(self.random.unit()));
        let lead = match pause.reason.code {
            ErrorCode::RateLimited => "the engine is busy",
            ErrorCode::EngineMisconfigured => "the engine is not set up, and its operator has been told",
            _ => "the engine does not answer",
        };
        (until, JobError::new(pause.reason.code, format!("{lead}; next try at {until:.0}")))
    }
    fn report(&self, name: &str, ticket: CallPermit, answer: CallOutcome) {
        let now = self.clock.now();
        let reported = self.with(name, |breaker| {
            let change = breaker.report(ticket, answer, now, &self.policy);
            (change, breaker.phase().clone())
        });
        if let Some((change, phase)) = reported {
            log(name, change, &phase);
        }
    }

    /// `None` when there are too many breakers to remember another one.
    fn with<T>(&self, name: &str, act: impl FnOnce(&mut Breaker) -> T) -> Option<T> {
        let mut breakers = self.breakers();
        if let Some(breaker) = breakers.get_mut(name) {
            return Some(act(breaker));
        }
        if breakers.len() >= MAX_CIRCUITS {
            breakers.retain(|_, breaker| !breaker.is_idle());
        }
        (breakers.len() < MAX_CIRCUITS).then(|| act(breakers.entry(name.to_owned()).or_default()))
    }

    fn breakers(&self) -> MutexGuard<'_, BTreeMap<String, Breaker>> {
        self.breakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log(engine: &str, change: BreakerChange, phase: &Phase) {
    match (change, phase) {
        (BreakerChange::Opened | BreakerChange::StaysOpen, Phase::Open(opening)) => {
            let (code, reason, until) = (opening.reason.code.as_str(), &opening.reason.message, opening.until);
            if opening.is_misconfigured {
                tracing::error!(engine, code, reason, %until, "engine misconfigured; its jobs wait for an operator");
            } else {
                tracing::warn!(engine, code, reason, %until, "engine is left alone; its jobs stay queued");
            }
        }
        (BreakerChange::Closed, _) => tracing::info!(engine, "engine is well again"),
        _ => {}
    }
}

/// The right to one call of an engine. Dropped without a report, it says that nothing was learnt, so that a probe that is
/// cancelled, lost or panics lets the next one try.
pub(in crate::jobs) struct Permit {
    breakers: Arc<Breakers>,
    name: String,
    ticket: Option<CallPermit>,
}

impl Permit {
    /// What may be called.
    pub(in crate::jobs) fn name(&self) -> &str {
        &self.name
    }

    /// How the engine answered.
    fn report(mut self, answer: CallOutcome) {
        self.settle(answer);
    }

    fn settle(&mut self, answer: CallOutcome) {
        if let Some(ticket) = self.ticket.take() {
            self.breakers.report(&self.name, ticket, answer);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.settle(CallOutcome::Inconclusive);
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("name", &self.name).field("ticket", &self.ticket).finish_non_exhaustive()
    }
}

impl Execution {
    /// How the engines of this process are doing.
    pub fn breakers(&self) -> Vec<BreakerStatus> {
        self.breakers.all()
    }

    /// May this job's engine be called, or one that stands in for it?
    pub(in crate::jobs) fn ask_engine(&self, job: &Job) -> Result<Permit, CallRefusal> {
        let routes = match &job.work {
            Work::Illustration(spec) => self.engine.routes(spec),
            Work::Brand(_) => vec![self.trainer.breaker_name()],
        };
        self.breakers.ask_any(&routes)
    }

    /// The permit that the claim brought, for its first call of any of these routes; otherwise, as for the samples of a
    /// training, one for the first that may be called. While none may, nobody is called: the failure says when to come back,
    /// and costs no attempt.
    pub(in crate::jobs) fn permit_of_any(
        &self,
        claimed: &Mutex<Option<Permit>>,
        routes: &[Cow<'_, str>],
    ) -> Result<Permit, AttemptFailure> {
        let mut claimed = claimed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(permit) = claimed.take_if(|permit| routes.iter().any(|route| *route == permit.name)) {
            return Ok(permit);
        }
        self.breakers.ask_any(routes).map_err(|pause| {
            let (at, error) = self.breakers.come_back(&pause);
            AttemptFailure { error, disposition: Disposition::Throttled { after: Some(until(self.now(), at)) } }
        })
    }

    /// The permit that the claim brought, for its first call of that breaker; a plain one for every other call.
    pub(in crate::jobs) fn permit_of(&self, claimed: &Mutex<Option<Permit>>, breaker: &str) -> Permit {
        let mut claimed = claimed.lock().unwrap_or_else(PoisonError::into_inner);
        claimed.take_if(|permit| permit.name == breaker).unwrap_or_else(|| self.breakers.permit_without_check(breaker))
    }
}

/// One call of an engine: on a task of its own, so that one that blocks its thread does not hold up whoever waits, and no
/// longer than it may take. Dropping the future stops the call at its next await.
pub(in crate::jobs) async fn call<T: Send + 'static>(
    permit: Permit,
    limit: Duration,
    what: &'static str,
    work: impl Future<Output = Result<T, AttemptFailure>> + Send + 'static,
) -> Result<T, AttemptFailure> {
    let task = AbortOnDropHandle::new(tokio::spawn(work.in_current_span()));
    let answered = match tokio::time::timeout(limit, task).await {
        Ok(Ok(answered)) => answered,
        Ok(Err(_)) => Err(AttemptFailure::retry(ErrorCode::Internal, format!("{what} panicked; see the log"))),
        Err(_) => Err(AttemptFailure::retry(ErrorCode::EngineTimeout, format!("{what} took longer than {limit:?}"))),
    };
    permit.report(answered.as_ref().map_or_else(CallOutcome::of, |_| CallOutcome::Healthy));
    answered
}
