//! The mock trainer: trainings that take their time and learn nothing, for laptops, tests and demonstrations.
//!
//! An operation's id holds its job and its start, and its progress follows from the clock. So nothing is stored: any
//! process can poll it, also after a restart.

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

/// The `Retry-After` of a simulated "too many requests".
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Trains by the clock; misbehaves as configured.
pub(super) struct MockTrainer {
    config: MockTrainerConfig,
    random: Arc<dyn Random>,
    /// Operations that this process started, so that starting twice is one operation. An operation of another process
    /// whose id was lost cannot be found, but it costs nothing either.
    started: Mutex<HashMap<JobId, OperationId>>,
}

impl MockTrainer {
    pub(super) fn new(config: MockTrainerConfig, random: Arc<dyn Random>) -> Self {
        Self { config, random, started: Mutex::default() }
    }

    fn started(&self) -> MutexGuard<'_, HashMap<JobId, OperationId>> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, operation: &OperationId) {
        self.started().retain(|_, started| started != operation);
    }

    fn simulate_faults(&self) -> Result<(), AttemptFailure> {
        if self.random.unit() < self.config.rate_limited {
            return Err(AttemptFailure::throttled("the mock trainer simulates a rate limit", Some(RETRY_AFTER)));
        }
        if self.random.unit() < self.config.misconfigured {
            return Err(AttemptFailure::misconfigured(
                "the mock trainer simulates a misconfiguration; set trainer.mock.misconfigured to 0",
            ));
        }
        if self.random.unit() < self.config.unavailable {
            return Err(AttemptFailure::retry(ErrorCode::EngineUnavailable, "the mock trainer simulates an outage"));
        }
        Ok(())
    }
}

/// When an operation started; `None` for an id that is not from this trainer.
fn start_of(operation: &OperationId) -> Option<Timestamp> {
    let (job, moment) = operation.0.strip_prefix("mock:")?.rsplit_once(':')?;
    job.parse::<JobId>().ok()?;
    Timestamp::from_microsecond(moment.parse().ok()?).ok()
}

/// A number in `[0, 1)` that depends on the operation only, so that every process simulates the same fate.
fn fate(operation: &OperationId, of: &str) -> f64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in operation.0.bytes().chain(of.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    // The last letters hardly change the high bits of an FNV hash; this finish mixes them.
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
        self.simulate_faults()?;
        let fresh = || OperationId(format!("mock:{}:{}", spec.job_id, spec.now.as_microsecond()));
        Ok(self.started().entry(spec.job_id.clone()).or_insert_with(fresh).clone())
    }

    async fn poll(&self, operation: &OperationId, now: Timestamp) -> Result<TrainingStatus, AttemptFailure> {
        self.simulate_faults()?;
        let Some(started) = start_of(operation) else {
            let message = "the trainer does not know this operation";
            return Ok(TrainingStatus::Failed(AttemptFailure::retry(ErrorCode::EngineError, message)));
        };
        // A clock that was set back counts as no time.
        let elapsed = Duration::try_from(now.duration_since(started)).unwrap_or_default();
        let hangs = fate(operation, "hang") < self.config.hang;
        if elapsed < self.config.duration || hangs {
            let elapsed = if hangs { elapsed.min(self.config.duration.mul_f64(0.99)) } else { elapsed };
            return Ok(TrainingStatus::Running(progress(elapsed, self.config.duration)));
        }
        self.forget(operation);
        if fate(operation, "failed") < self.config.failed {
            let message = "the mock trainer simulates a failed training";
            return Ok(TrainingStatus::Failed(AttemptFailure::retry(ErrorCode::EngineError, message)));
        }
        Ok(TrainingStatus::Succeeded { model_path: None, cost_micro_usd: 0 })
    }

    async fn cancel(&self, operation: &OperationId) -> Result<(), AttemptFailure> {
        self.forget(operation);
        Ok(())
    }

    fn route(&self) -> Cow<'_, str> {
        "mock".into()
    }
}
