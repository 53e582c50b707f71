//! What the parts of an attempt share.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::stored_keys::StoredKeys;
use crate::{
    domain::job::Job,
    engine::{AttemptContext, OperationId},
    store::Version,
};

/// How long an attempt may be silent, and how long it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptSettings {
    /// How long a claim lasts without a heartbeat.
    pub lease: Duration,
    /// How often the lease is renewed.
    pub heartbeat: Duration,
    /// How long one call of an engine may take. A training may take until the job's deadline.
    pub timeout: Duration,
    /// How often a training is polled.
    pub poll_every: Duration,
}

/// What the work of one attempt needs to know.
pub(super) struct Attempt<'a> {
    pub(super) job: &'a Job,
    /// Names what this attempt stores.
    pub(super) fence: Version,
    pub(super) cx: &'a AttemptContext,
    pub(super) settings: &'a AttemptSettings,
    pub(super) stored: &'a StoredKeys,
    /// Receives a training that was started; the other end holds the lease and can write.
    pub(super) started: mpsc::Sender<StartedTraining>,
}

/// A training that the provider has started. The work waits until its id is committed, so that the next worker can find
/// the training if this one dies.
pub(super) struct StartedTraining {
    pub(super) operation: OperationId,
    /// Notified once the id is committed.
    pub(super) recorded: oneshot::Sender<()>,
}
