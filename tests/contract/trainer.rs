//! The contract of `BrandTrainer`: every trainer runs the same cases; the files below have each trainer's own.

#[cfg(unix)]
mod command;
mod mock;
mod vertex;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use mediaforge::{
    config::Config,
    domain::{
        Timestamp,
        brand::{BrandSpec, TrainingImage},
        clock::SystemRandom,
        failure::AttemptFailure,
        ids::JobId,
        job::Progress,
    },
    engine::{self, BrandTrainer, Dataset, OperationId, TrainerAccess, TrainingSpec, TrainingStatus},
    google::token::TokenSource,
};

use crate::support::{at, soon};

type Trainer = Arc<dyn BrandTrainer>;

fn job(n: u32) -> JobId {
    format!("brd_{n:020}").parse().unwrap()
}

/// A dataset with the same small picture for each number.
struct Pictures;

#[async_trait]
impl Dataset for Pictures {
    async fn picture(&self, n: usize) -> Result<Option<Bytes>, AttemptFailure> {
        Ok((n < 5).then(|| Bytes::from_static(b"a picture")))
    }
}

fn spec(job_id: JobId, now: Timestamp) -> TrainingSpec {
    let image = |n: usize| TrainingImage { key: format!("brands/ada/{job_id}/{n}.png"), width: 512, height: 512 };
    let images = (0..5).map(image).collect();
    let colors = vec!["#ff6600".parse().unwrap()];
    let brand = BrandSpec { name: "Acme".to_owned(), colors, images };
    TrainingSpec { brand, dataset: Arc::new(Pictures), job_id, now }
}

fn opened(config: &Config, tokens: Option<Arc<dyn TokenSource>>) -> Trainer {
    engine::open_trainer(config, TrainerAccess { random: Arc::new(SystemRandom), tokens }).unwrap()
}

async fn running(trainer: &Trainer, operation: &OperationId, now: Timestamp) -> Progress {
    match trainer.poll(operation, now).await.unwrap() {
        TrainingStatus::Running(progress) => progress,
        other => panic!("{other:?}"),
    }
}

/// Polls until the training has ended.
async fn ended(trainer: &Trainer, operation: &OperationId, now: Timestamp) -> TrainingStatus {
    let ended = async {
        loop {
            match trainer.poll(operation, now).await.unwrap() {
                TrainingStatus::Running(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
                ended => return ended,
            }
        }
    };
    soon("the end of the training", ended).await
}

async fn failure(trainer: &Trainer, operation: &OperationId, now: Timestamp) -> AttemptFailure {
    match ended(trainer, operation, now).await {
        TrainingStatus::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

/// A small model file.
fn model() -> Vec<u8> {
    let header = br#"{"lora.up":{"dtype":"F16","shape":[2,2],"data_offsets":[0,8]}}"#;
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header);
    file.extend_from_slice(&[0; 8]);
    file
}

/// The environment of a trainer: opening it twice gives two processes with one provider.
#[async_trait]
trait World: Sync {
    fn open(&self) -> Trainer;

    /// Advances a training to this tenth of its way, ten being its end; returns the time of that point.
    async fn advance(&self, operation: &OperationId, tenths: u64) -> Timestamp;
}

async fn starting_twice_is_one_operation(world: &dyn World) {
    let trainer = world.open();
    let first = trainer.start(&spec(job(1), at(0))).await.unwrap();
    assert_eq!(first, trainer.start(&spec(job(1), at(1))).await.unwrap());
    let other = trainer.start(&spec(job(2), at(0))).await.unwrap();
    assert_ne!(first, other, "each job has its own");
    for operation in [first, other] {
        trainer.cancel(&operation).await.unwrap();
    }
}

async fn progress_grows_until_the_end_in_every_process(world: &dyn World) {
    let operation = world.open().start(&spec(job(3), at(0))).await.unwrap();
    let mut before = 0.0;
    for tenth in 0..10 {
        let now = world.advance(&operation, tenth).await;
        // Each time another process than the one that started it.
        let progress = running(&world.open(), &operation, now).await;
        assert!((before..1.0).contains(&progress.fraction), "{progress:?} after {before}");
        let (step, of) = (progress.step.unwrap_or(0), progress.total_steps.unwrap_or(0));
        assert!(step <= of, "{progress:?}");
        before = progress.fraction;
    }
    assert!(before > 0.5, "it has advanced");
    let end = world.advance(&operation, 10).await;
    let done = ended(&world.open(), &operation, end).await;
    assert!(matches!(done, TrainingStatus::Succeeded { .. }), "{done:?}");
    assert_eq!(done, world.open().poll(&operation, end).await.unwrap(), "at every poll from now on");
}

async fn cancelling_is_idempotent_also_after_the_end(world: &dyn World) {
    let trainer = world.open();
    let operation = trainer.start(&spec(job(4), at(0))).await.unwrap();
    for _ in 0..2 {
        trainer.cancel(&operation).await.unwrap();
        world.open().cancel(&operation).await.unwrap();
    }
    let done = trainer.start(&spec(job(5), at(0))).await.unwrap();
    let mut now = at(0);
    for tenth in 0..=10 {
        now = world.advance(&done, tenth).await;
    }
    ended(&trainer, &done, now).await;
    trainer.cancel(&done).await.unwrap();
}

async fn an_unknown_operation_has_failed(world: &dyn World) {
    let names = [
        "",
        "nonsense",
        "mock:",
        "mock:brd_1:2",
        "projects/1/locations/x/customJobs/2",
        "projects/../locations/x/customJobs/2",
    ];
    let ours = ["command:brd_00000000000000000099:1", "command:../../etc:1", "command:brd_00000000000000000099:01"];
    for name in names.into_iter().chain(ours) {
        let operation = OperationId(name.to_owned());
        let status = world.open().poll(&operation, at(0)).await.unwrap();
        assert!(matches!(status, TrainingStatus::Failed(_)), "{name}: {status:?}");
        world.open().cancel(&operation).await.unwrap();
    }
}

/// Cases for every trainer.
async fn all(world: &dyn World) {
    starting_twice_is_one_operation(world).await;
    progress_grows_until_the_end_in_every_process(world).await;
    cancelling_is_idempotent_also_after_the_end(world).await;
    an_unknown_operation_has_failed(world).await;
}
