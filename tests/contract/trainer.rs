//! The contract of `BrandTrainer`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use mediaforge::{
    config::{MockTrainerConfig, TrainerBackend, TrainerConfig},
    domain::{
        Timestamp,
        brand::{BrandSpec, TrainingImage},
        clock::Random,
        ids::JobId,
        job::{AttemptFailure, Disposition, ErrorCode, Progress},
    },
    engine::{self, BrandTrainer, Dataset, OperationId, TrainingSpec, TrainingStatus},
};

use crate::support::{at, defaults};

type Trainer = Arc<dyn BrandTrainer>;

fn job(n: u32) -> JobId {
    format!("brd_{n:020}").parse().unwrap()
}

/// A dataset that gives the same small picture under each number.
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

async fn running(trainer: &Trainer, operation: &OperationId, now: Timestamp) -> Progress {
    match trainer.poll(operation, now).await.unwrap() {
        TrainingStatus::Running(progress) => progress,
        other => panic!("{other:?}"),
    }
}

/// A trainer under test: opened twice it is two processes that share what the provider knows.
struct Subject<Open: Fn() -> Trainer> {
    open: Open,
    /// How many seconds after its start a training is certainly done.
    seconds: u64,
}

impl<Open: Fn() -> Trainer> Subject<Open> {
    async fn beginning_twice_is_one_operation(&self) {
        let trainer = (self.open)();
        let first = trainer.start(&spec(job(1), at(0))).await.unwrap();
        assert_eq!(first, trainer.start(&spec(job(1), at(1))).await.unwrap());
        let other = trainer.start(&spec(job(2), at(0))).await.unwrap();
        assert_ne!(first, other, "each job has its own");
    }

    async fn progress_grows_until_it_is_done_whoever_asks(&self) {
        let operation = (self.open)().start(&spec(job(3), at(0))).await.unwrap();
        let mut before = 0.0;
        for tenth in 0..10 {
            // Each time a process that did not begin it.
            let trainer = (self.open)();
            let progress = running(&trainer, &operation, at(self.seconds * tenth / 10)).await;
            assert!((before..1.0).contains(&progress.fraction), "{progress:?} after {before}");
            let (step, of) = (progress.step.unwrap_or(0), progress.total_steps.unwrap_or(0));
            assert!(step <= of, "{progress:?}");
            before = progress.fraction;
        }
        assert!(before > 0.0, "it has come somewhere");
        for _ in 0..2 {
            let done = (self.open)().poll(&operation, at(self.seconds)).await.unwrap();
            assert!(matches!(done, TrainingStatus::Succeeded { .. }), "{done:?}, at every poll from now on");
        }
    }

    async fn cancelling_is_idempotent_also_after_the_end(&self) {
        let trainer = (self.open)();
        let operation = trainer.start(&spec(job(4), at(0))).await.unwrap();
        for _ in 0..2 {
            trainer.cancel(&operation).await.unwrap();
            (self.open)().cancel(&operation).await.unwrap();
        }
        let ended = trainer.start(&spec(job(5), at(0))).await.unwrap();
        trainer.poll(&ended, at(self.seconds)).await.unwrap();
        trainer.cancel(&ended).await.unwrap();
    }

    async fn an_operation_that_nobody_began_has_failed(&self) {
        for name in ["", "nonsense", "mock:", "mock:brd_1:2", "projects/1/locations/x/customJobs/2"] {
            let status = (self.open)().poll(&OperationId(name.to_owned()), at(0)).await.unwrap();
            assert!(matches!(status, TrainingStatus::Failed(_)), "{name}: {status:?}");
        }
    }

    /// Cases that every trainer passes.
    async fn all(&self) {
        self.beginning_twice_is_one_operation().await;
        self.progress_grows_until_it_is_done_whoever_asks().await;
        self.cancelling_is_idempotent_also_after_the_end().await;
        self.an_operation_that_nobody_began_has_failed().await;
    }
}

// The mock trainer: what it promises beyond the contract.

/// Numbers in a row: fractions of 0 and 1 mean never and always.
struct Counting(AtomicU64);

impl Random for Counting {
    fn next_u64(&self) -> u64 {
        self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed)
    }
}

fn knobs() -> MockTrainerConfig {
    let duration = Duration::from_secs(30);
    MockTrainerConfig { duration, rate_limited: 0.0, unavailable: 0.0, misconfigured: 0.0, failed: 0.0, hang: 0.0 }
}

fn mock(mock: MockTrainerConfig) -> Trainer {
    let config = TrainerConfig { default: TrainerBackend::Mock, mock, ..defaults().trainer };
    engine::open_trainer(&config, Arc::new(Counting(AtomicU64::new(1))))
}

#[tokio::test]
async fn mock_keeps_the_contract() {
    Subject { open: || mock(knobs()), seconds: 30 }.all().await;
}

#[tokio::test]
async fn mock_counts_steps_and_seconds() {
    let trainer = mock(knobs());
    let operation = trainer.start(&spec(job(1), at(0))).await.unwrap();
    assert_eq!(operation.0, format!("mock:{}:{}", job(1), at(0).as_microsecond()));
    let half = Progress { fraction: 0.5, step: Some(50), total_steps: Some(100), eta_seconds: Some(15) };
    assert_eq!(running(&trainer, &operation, at(15)).await, half);
    let early = running(&trainer, &operation, Timestamp::UNIX_EPOCH).await;
    assert_eq!((early.step, early.eta_seconds), (Some(0), Some(30)), "a clock that was set back is no time at all");
}

#[tokio::test]
async fn mock_begins_anew_when_an_operation_is_over() {
    let trainer = mock(MockTrainerConfig { failed: 1.0, ..knobs() });
    let first = trainer.start(&spec(job(1), at(0))).await.unwrap();
    for _ in 0..2 {
        let TrainingStatus::Failed(failure) = trainer.poll(&first, at(30)).await.unwrap() else {
            panic!("it plays failed")
        };
        assert_eq!(failure.error.code, ErrorCode::EngineError);
    }
    let second = trainer.start(&spec(job(1), at(31))).await.unwrap();
    assert_ne!(first, second);
    running(&trainer, &second, at(60)).await;
    trainer.cancel(&second).await.unwrap();
    assert_ne!(second, trainer.start(&spec(job(1), at(61))).await.unwrap());
}

#[tokio::test]
async fn mock_plays_the_faults_it_is_told() {
    let operation = mock(knobs()).start(&spec(job(1), at(0))).await.unwrap();
    let limited = mock(MockTrainerConfig { rate_limited: 1.0, ..knobs() });
    let unavailable = mock(MockTrainerConfig { unavailable: 1.0, ..knobs() });
    let misconfigured = mock(MockTrainerConfig { misconfigured: 1.0, ..knobs() });
    for (trainer, code) in [
        (limited, ErrorCode::RateLimited),
        (unavailable, ErrorCode::EngineUnavailable),
        (misconfigured, ErrorCode::EngineMisconfigured),
    ] {
        let refused = trainer.start(&spec(job(1), at(0))).await.unwrap_err();
        let unanswered = trainer.poll(&operation, at(1)).await.unwrap_err();
        for failure in [refused, unanswered] {
            assert_eq!(failure.error.code, code);
            assert!(failure.disposition != Disposition::Fail, "it may pass");
        }
    }
    let hanging = mock(MockTrainerConfig { hang: 1.0, ..knobs() });
    let near = running(&hanging, &operation, at(29)).await.fraction;
    let never = running(&hanging, &operation, at(1_000_000)).await.fraction;
    assert!((near..1.0).contains(&never), "{near}, then {never}");
    // Half of the trainings: each has its fate, and keeps it.
    let half = mock(MockTrainerConfig { failed: 0.5, ..knobs() });
    let mut failed = 0;
    for n in 0..200 {
        let operation = half.start(&spec(job(n), at(u64::from(n)))).await.unwrap();
        let ends = half.poll(&operation, at(1000)).await.unwrap();
        assert_eq!(ends, half.poll(&operation, at(2000)).await.unwrap());
        failed += u32::from(matches!(ends, TrainingStatus::Failed(_)));
    }
    assert!((60..140).contains(&failed), "{failed} of 200");
}
