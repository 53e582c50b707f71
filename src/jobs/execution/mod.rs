//! Execution: a worker claims a job, runs one attempt at it under a lease, and writes how the attempt ended.
//!
//! | file | step |
//! |---|---|
//! | `claim.rs` | compare-and-set of the lease, if the job may start and its engine may be called |
//! | `attempt.rs` | the attempt with its heartbeat, until it ends or is interrupted |
//! | `work.rs` | the work itself, in `illustration.rs` or `training.rs` |
//! | `settle.rs` | the result and its credits, in one commit |

mod attempt;
mod claim;
mod context;
mod dataset;
mod end;
mod engine_checks;
mod illustration;
mod images;
mod lease;
mod settle;
mod stored_keys;
mod training;
mod work;

use std::sync::Arc;

pub(super) use self::engine_checks::EngineChecks;
pub use self::{
    claim::{Claim, ClaimResult},
    context::AttemptSettings,
    end::AttemptOutcome,
};
use super::{
    breakers::{BreakerStatus, Breakers},
    claim_cache::ClaimCache,
    cleanup::Cleanup,
    writer::JobWriter,
};
use crate::{
    domain::{
        Timestamp,
        clock::{Clock, Random},
        job::{Job, JobPolicy, Work},
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

    /// The state of every breaker in this process.
    pub fn breakers(&self) -> Vec<BreakerStatus> {
        self.breakers.statuses()
    }

    /// What the job can be done by, in order of preference.
    fn routes(&self, job: &Job) -> Vec<String> {
        match &job.work {
            Work::Illustration(spec) => self.engine.routes(spec).into_iter().map(Into::into).collect(),
            Work::Brand(_) => vec![self.trainer.route().into_owned()],
        }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
