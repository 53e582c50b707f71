//! The mock trainer: trainings that take their time and learn nothing, for laptops, tests and demonstrations.
//!
//! An operation's name says which job it is of and when it began, and how far it is follows from the clock. So nothing is
//! kept anywhere: whoever knows the name can ask, also after a restart.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;

use super::{BrandTrainer, OperationId, TrainingSpec, TrainingStatus};
use crate::{
    config::MockTrainerConfig,
    domain::{
        Timestamp,
        clock::Random,
        failure::{AttemptFailure, ErrorCode},
        ids::JobId,
        job::Progress,
    },
};

/// Steps of every training.
const STEPS: u32 = 100;

/// When a simulated "too many requests" says to come back.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Trains by the clock; misbehaves as configured.
pub(super) struct MockTrainer {
    config: MockTrainerConfig,
    random: Arc<dyn Random>,
    /// What this process began, so that beginning twice is one operation. Of another process's operation whose name was
    /// lost nothing remains to be found, and nothing to be paid.
    begun: Mutex<HashMap<JobId, OperationId>>,
}

impl MockTrainer {
    pub(super) fn new(config: MockTrainerConfig, random: Arc<dyn Random>) -> Self {
        Self { config, random, begun: Mutex::default() }
    }

    fn begun(&self) -> MutexGuard<'_, HashMap<JobId, OperationId>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, operation: &OperationId) {
        self.begun().retain(|_, begun| begun != operation);
    }

    fn available(&self) -> Result<(), AttemptFailure> {
        if self.random.unit() < self.config.rate_limited {
            return Err(AttemptFailure::throttled("the mock trainer plays rate-limited", Some(RETRY_AFTER)));
        }
        if self.random.unit() < self.config.misconfigured {
            return Err(AttemptFailure::misconfigured(
                "the mock trainer plays misconfigured; set trainer.mock.misconfigured to 0",
            ));
        }
        if self.random.unit() < self.config.unavailable {
            return Err(AttemptFailure::retry(ErrorCode::EngineUnavailable, "the mock trainer plays unavailable"));
        }
        Ok(())
    }
}

/// When an operation began; `None` for a name that this trainer never gave.
fn began(operation: &OperationId) -> Option<Timestamp> {
    let (job, moment) = operation.0.strip_prefix("mock:")?.rsplit_once(':')?;
    job.parse::<JobId>().ok()?;
    Timestamp::from_microsecond(moment.parse().ok()?).ok()
}

/// A number in `[0, 1)` that is the operation's own: whoever asks, whenever, its fate is the same.
fn fate(operation: &OperationId, of: &str) -> f64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in operation.0.bytes().chain(of.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    // The high bits of such a hash hardly move with the last letters; stirred once more they do.
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    f64::from(u32::try_from((hash ^ (hash >> 33)) >> 32).unwrap_or(0)) / 4_294_967_296.0
}

fn progress(elapsed: Duration, duration: Duration) -> Progress {
    let fraction = (elapsed.as_secs_f64() / duration.as_secs_f64().max(f64::MIN_POSITIVE)).clamp(0.0, 1.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to STEPS")]
    let step = (fraction * f64::from(STEPS)) as u32;
    let left = duration.saturating_sub(elapsed).as_millis().div_ceil(1000);
    Progress {
        fraction,
        step: Some(step),
        total_steps: Some(STEPS),
        eta_seconds: Some(u32::try_from(left).unwrap_or(u32::MAX)),
    }
}

#[async_trait]
impl BrandTrainer for MockTrainer {
    async fn start(&self, spec: &TrainingSpec) -> Result<OperationId, AttemptFailure> {
        self.available()?;
        let fresh = || OperationId(format!("mock:{}:{}", spec.job_id, spec.now.as_microsecond()));
        Ok(self.begun().entry(spec.job_id.clone()).or_insert_with(fresh).clone())
    }

    async fn poll(&self, operation: &OperationId, now: Timestamp) -> Result<TrainingStatus, AttemptFailure> {
        self.available()?;
        let Some(began) = began(operation) else {
            let message = "the trainer knows no such operation";
            return Ok(TrainingStatus::Failed(AttemptFailure::retry(ErrorCode::EngineError, message)));
        };
        // A clock that was set back is as good as no time at all.
        let elapsed = Duration::try_from(now.duration_since(began)).unwrap_or_default();
        let hangs = fate(operation, "hang") < self.config.hang;
        if elapsed < self.config.duration || hangs {
            let elapsed = if hangs { elapsed.min(self.config.duration.mul_f64(0.99)) } else { elapsed };
            return Ok(TrainingStatus::Running(progress(elapsed, self.config.duration)));
        }
        self.forget(operation);
        if fate(operation, "failed") < self.config.failed {
            let message = "the mock trainer plays a failed training";
            return Ok(TrainingStatus::Failed(AttemptFailure::retry(ErrorCode::EngineError, message)));
        }
        Ok(TrainingStatus::Succeeded { model_path: None, cost_micro_usd: 0 })
    }

    async fn cancel(&self, operation: &OperationId) -> Result<(), AttemptFailure> {
        self.forget(operation);
        Ok(())
    }

    fn breaker_name(&self) -> Cow<'_, str> {
        "mock".into()
    }
}
