//! The mock trainer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use mediaforge::{
    config::{MockTrainerConfig, TrainerBackend, TrainerConfig},
    domain::{
        Timestamp,
        clock::Random,
        failure::{Disposition, ErrorCode},
        job::Progress,
    },
    engine::{self, OperationId, TrainerAccess, TrainingStatus},
};

use super::{Trainer, World, all, job, running, spec};
use crate::support::{at, defaults};

/// A fixed sequence of numbers: fractions of 0 and 1 mean never and always.
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
    let mut config = defaults();
    config.trainer = TrainerConfig { default: TrainerBackend::Mock, mock, ..config.trainer };
    let random = Arc::new(Counting(AtomicU64::new(1)));
    engine::open_trainer(&config, TrainerAccess { random, tokens: None }).unwrap()
}

/// Only time advances it.
struct Clockwork;

#[async_trait]
impl World for Clockwork {
    fn open(&self) -> Trainer {
        mock(knobs())
    }

    async fn advance(&self, _: &OperationId, tenths: u64) -> Timestamp {
        at(30 * tenths / 10)
    }
}

#[tokio::test]
async fn mock_keeps_the_contract() {
    all(&Clockwork).await;
}

#[tokio::test]
async fn mock_counts_steps_and_seconds() {
    let trainer = mock(knobs());
    let operation = trainer.start(&spec(job(1), at(0))).await.unwrap();
    assert_eq!(operation.0, format!("mock:{}:{}", job(1), at(0).as_microsecond()));
    let half = Progress { fraction: 0.5, step: Some(50), total_steps: Some(100), eta_seconds: Some(15) };
    assert_eq!(running(&trainer, &operation, at(15)).await, half);
    let early = running(&trainer, &operation, Timestamp::UNIX_EPOCH).await;
    assert_eq!((early.step, early.eta_seconds), (Some(0), Some(30)), "a clock that was set back counts as no time");
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
async fn mock_simulates_the_configured_faults() {
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
    // Half of the trainings hang or fail; the fate of each never changes.
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
