//! The trainer: its operations go on regardless of the workers.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use mediaforge::{
    domain::{
        Timestamp,
        failure::{AttemptFailure, ErrorCode},
        ids::JobId,
        job::{Progress, State},
    },
    engine::{BrandTrainer, OperationId, TrainingSpec, TrainingStatus},
};
use tokio::time::Instant;

use crate::{plan::Fault, process::Process, world::World};

/// The provider's operations, by name.
#[derive(Default)]
pub struct Operations(pub BTreeMap<String, Operation>);

#[expect(clippy::struct_excessive_bools, reason = "four independent facts")]
pub struct Operation {
    pub job: JobId,
    begun: Instant,
    /// The duration; `None`: it never ends.
    takes: Option<Duration>,
    fails: bool,
    pub is_cancelled: bool,
    /// Whether a process has tried to stop it.
    pub is_unwanted: bool,
    /// Whether the job has ever recorded it. Without a record no process can stop it.
    pub is_recorded: bool,
}

/// The state of an operation at the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationState {
    Running,
    Succeeded,
    Failed,
}

impl Operation {
    pub fn state(&self) -> OperationState {
        if self.is_cancelled {
            return OperationState::Failed;
        }
        match self.takes {
            Some(takes) if self.begun.elapsed() >= takes => {
                if self.fails {
                    OperationState::Failed
                } else {
                    OperationState::Succeeded
                }
            }
            _ => OperationState::Running,
        }
    }

    /// Whether it went on after this moment, when its job had ended.
    pub fn outlives(&self, end: Instant) -> bool {
        !self.is_cancelled && self.takes.is_none_or(|takes| self.begun + takes > end)
    }

    fn fraction(&self) -> f64 {
        let takes = self.takes.unwrap_or(Duration::from_hours(1));
        (self.begun.elapsed().as_secs_f64() / takes.as_secs_f64()).min(0.99)
    }
}

pub struct SimTrainer(pub Arc<Process>);

impl SimTrainer {
    async fn reach(&self) -> Result<(), AttemptFailure> {
        let world = &self.0.world;
        self.0.runs().await;
        self.0.travel().await;
        if world.strikes(Fault::TrainerHangs) {
            std::future::pending::<()>().await;
        }
        if world.strikes(Fault::TrainerRetry) {
            return Err(AttemptFailure::retry(ErrorCode::EngineUnavailable, "the trainer plays unavailable"));
        }
        if world.strikes(Fault::TrainerThrottles) {
            let after = world.dice.chance(500).then(|| world.dice.millis(100, 20_000));
            return Err(AttemptFailure::throttled("the trainer plays full", after));
        }
        Ok(())
    }

    /// A worker must record the operation before it polls: if it dies, the next worker cannot find it otherwise.
    fn check_recorded(&self, operation: &OperationId) {
        let world = &self.0.world;
        let job = {
            let mut operations = world.operations.lock().expect("a lock");
            let operation = operations.0.get_mut(&operation.0).expect("an operation");
            operation.is_recorded = true;
            operation.job.clone()
        };
        let recorded = {
            let records = world.records.lock().expect("a lock");
            let job = records.rows.get(&job).map(|row| &row.job.value);
            job.is_none_or(|job| match &job.state {
                State::Running { lease, operation: recorded, .. } if Some(&lease.owner) == self.0.worker_id.get() => {
                    recorded.as_deref() == Some(&operation.0)
                }
                _ => true, // another worker's by now
            })
        };
        if !recorded {
            world.violation("a training is recorded before it is waited for", format!("{} of {job}", operation.0));
        }
    }

    async fn answer<T>(&self, answer: T) -> T {
        self.0.travel().await;
        self.0.runs().await;
        answer
    }
}

/// Starts an operation, or finds the job's operation that goes on or has succeeded.
fn begin(world: &World, job: &JobId) -> OperationId {
    let mut operations = world.operations.lock().expect("a lock");
    let known = |operation: &Operation| operation.job == *job && operation.state() != OperationState::Failed;
    if let Some((name, _)) = operations.0.iter().find(|(_, operation)| known(operation)) {
        world.count("training found again");
        return OperationId(name.clone());
    }
    let name = format!("operation-{}", operations.0.len());
    let takes = (!world.strikes(Fault::TrainerOperationSticks)).then(|| world.dice.millis(2_000, 60_000));
    let fails = world.strikes(Fault::TrainerOperationFails);
    let (begun, job) = (Instant::now(), job.clone());
    operations.0.insert(
        name.clone(),
        Operation { job, begun, takes, fails, is_cancelled: false, is_unwanted: false, is_recorded: false },
    );
    world.count("training begun");
    OperationId(name)
}

#[async_trait]
impl BrandTrainer for SimTrainer {
    async fn start(&self, spec: &TrainingSpec) -> Result<OperationId, AttemptFailure> {
        self.reach().await?;
        let world = &self.0.world;
        if world.strikes(Fault::TrainerFails) {
            return Err(AttemptFailure::fail(ErrorCode::InvalidRequest, "the trainer plays incapable"));
        }
        let operation = begin(world, &spec.job_id);
        world.event(&self.0.name, "trainer begins", spec.job_id.as_str(), || operation.0.clone());
        if world.strikes(Fault::TrainerStartReplyLost) {
            return self.answer(Err(AttemptFailure::retry(ErrorCode::EngineTimeout, "no answer"))).await;
        }
        self.answer(Ok(operation)).await
    }

    async fn poll(&self, operation: &OperationId, _: Timestamp) -> Result<TrainingStatus, AttemptFailure> {
        self.check_recorded(operation);
        self.reach().await?;
        let status = {
            let operations = self.0.world.operations.lock().expect("a lock");
            let operation = &operations.0[&operation.0];
            match operation.state() {
                OperationState::Running => {
                    TrainingStatus::Running(Progress { fraction: operation.fraction(), ..Progress::default() })
                }
                OperationState::Succeeded => TrainingStatus::Succeeded { model_path: None, cost_micro_usd: 1 },
                OperationState::Failed => {
                    TrainingStatus::Failed(AttemptFailure::retry(ErrorCode::EngineError, "the training plays failed"))
                }
            }
        };
        self.answer(Ok(status)).await
    }

    async fn cancel(&self, operation: &OperationId) -> Result<(), AttemptFailure> {
        let world = &self.0.world;
        // A cancel is tried once. Even if it fails, the caller has done its part.
        world.operations.lock().expect("a lock").0.get_mut(&operation.0).expect("an operation").is_unwanted = true;
        world.event(&self.0.name, "trainer cancels", &operation.0, String::new);
        self.reach().await?;
        if world.strikes(Fault::TrainerCancelFails) {
            return Err(AttemptFailure::retry(ErrorCode::EngineUnavailable, "the trainer does not stop"));
        }
        world.operations.lock().expect("a lock").0.get_mut(&operation.0).expect("an operation").is_cancelled = true;
        world.count("training stopped");
        self.answer(Ok(())).await
    }
}
