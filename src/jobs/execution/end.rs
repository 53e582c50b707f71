//! How the work of an attempt ends.

use crate::domain::{
    failure::AttemptFailure,
    job::{Output, Status},
};

/// How the work of an attempt ended, before it is written.
#[derive(Debug, Clone)]
pub(super) enum AttemptEnd {
    Delivered(Output),
    /// The attempt failed. A training that goes on at the provider is not lost.
    Failed(AttemptFailure),
    /// The provider's operation itself failed.
    TrainingFailed(AttemptFailure),
    /// The worker stops: the job goes back into the queue.
    Stopped,
    /// A cancel was requested.
    Cancelled,
    /// Another process has taken the job: there is nothing to write.
    LeaseLost,
}

/// The result of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// Our commit moved the job to this status.
    Settled(Status),
    /// Another process has taken the job; what we made was dropped.
    Lost,
}
