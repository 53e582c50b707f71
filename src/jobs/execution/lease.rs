//! A job that this worker holds under a lease, and the detection of its loss.

use futures::stream::BoxStream;

use super::end::AttemptEnd;
use crate::{
    domain::{
        Timestamp,
        ids::WorkerId,
        job::{Job, State},
    },
    error::BackendError,
    store::{Version, Versioned},
};

/// The changes of a claimed job.
pub(super) type Changes = BoxStream<'static, Result<Versioned<Job>, BackendError>>;

/// A job that this worker holds. Every write names the version, which keeps out a worker that has lost its lease.
#[derive(Debug)]
pub(super) struct LeasedJob {
    pub(super) job: Job,
    /// The version that we last wrote or accepted.
    pub(super) version: Version,
    /// The version that our claim wrote.
    pub(super) fence: Version,
    /// The provider's operation, even while its id is not recorded yet.
    pub(super) operation: Option<String>,
    pub(super) identity: AttemptIdentity,
}

/// Distinguishes one attempt from all others at the same job.
#[derive(Debug, Clone)]
pub(super) struct AttemptIdentity {
    owner: WorkerId,
    attempt: u32,
    /// An attempt that was handed back and started again by the same worker has the same number.
    started_at: Option<Timestamp>,
}

impl AttemptIdentity {
    /// How the stored state of the job interrupts this attempt, if it does.
    pub(super) fn interruption(&self, stored: &Job) -> Option<AttemptEnd> {
        match &stored.state {
            State::Running { attempt, lease, started_at, cancel_by, .. }
                if lease.owner == self.owner && *attempt == self.attempt && Some(*started_at) == self.started_at =>
            {
                cancel_by.is_some().then_some(AttemptEnd::Cancelled)
            }
            _ => Some(AttemptEnd::LeaseLost),
        }
    }
}

impl LeasedJob {
    /// A job that was just claimed at this version.
    pub(super) fn new(job: Job, version: Version, owner: WorkerId) -> Self {
        let started_at = match &job.state {
            State::Running { started_at, .. } => Some(*started_at),
            _ => None,
        };
        let identity = AttemptIdentity { owner, attempt: job.attempt(), started_at };
        let operation = job.operation().map(str::to_owned);
        Self { job, version, fence: version, operation, identity }
    }

    /// Accepts what another process wrote, as long as the job is still ours. Returns whether that ends the attempt.
    pub(super) fn adopt(&mut self, stored: Versioned<Job>) -> Option<AttemptEnd> {
        if stored.version <= self.version {
            return None;
        }
        let interruption = self.identity.interruption(&stored.value);
        if !matches!(interruption, Some(AttemptEnd::LeaseLost)) {
            self.version = stored.version;
            self.job = stored.value;
        }
        interruption
    }

    /// Whether another worker may have taken over by now.
    pub(super) fn lease_expired(&self, now: Timestamp) -> bool {
        match &self.job.state {
            State::Running { lease, .. } => lease.expires_at <= now,
            _ => true,
        }
    }

    /// Whether another attempt may have run before. A first claim follows the submission directly.
    pub(super) fn may_have_predecessors(&self) -> bool {
        self.job.attempt() > 1 || self.fence > Version(2)
    }
}
