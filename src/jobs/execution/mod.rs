//! Execution: a worker claims a job, runs one attempt at it under a lease, and writes how the attempt ended.

mod attempt;
pub(super) mod breakers;
mod claim;
mod engine_checks;
mod illustration;
mod settle;
mod training;

use std::sync::Arc;

use self::breakers::Breakers;
pub(super) use self::engine_checks::EngineChecks;
pub use self::{
    attempt::{AttemptSettings, Outcome},
    breakers::BreakerStatus,
    claim::{Claim, Claimed},
};
use super::{claim_cache::ClaimCache, cleanup::Cleanup, writer::JobWriter};
use crate::{
    domain::{
        Timestamp,
        clock::{Clock, Random},
        job::JobPolicy,
        message::DeadLetter,
    },
    engine::{BrandTrainer, ImageEngine},
    error::BackendError,
    media::MediaStore,
};

/// Claims and runs jobs.
pub struct Execution {
    pub(super) writer: JobWriter,
    pub(super) cleanup: Cleanup,
    pub(super) media: Arc<dyn MediaStore>,
    pub(super) engine: Arc<dyn ImageEngine>,
    pub(super) trainer: Arc<dyn BrandTrainer>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Arc<dyn Random>,
    pub(super) policy: JobPolicy,
    pub(super) breakers: Arc<Breakers>,
    pub(super) claim_cache: Arc<ClaimCache>,
    pub(super) engine_checks: EngineChecks,
}

impl Execution {
    /// Records a message that can never be processed.
    pub async fn record_dead_letter(&self, dead_letter: &DeadLetter) -> Result<(), BackendError> {
        self.writer.queue.record_dead_letter(dead_letter).await.map(drop)
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
