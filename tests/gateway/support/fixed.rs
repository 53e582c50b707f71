//! A clock, random numbers and an engine that behave the same in every run.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use mediaforge::{
    domain::{
        Timestamp,
        clock::{Clock, Random},
        failure::{AttemptFailure, ErrorCode},
    },
    engine::{
        AttemptContext, BrandTrainer, Generation, ImageEngine, ImageSpec, OperationId, TrainingSpec, TrainingStatus,
    },
};

/// A clock that moves only when a test advances it.
pub struct TestClock(Mutex<Timestamp>);

impl TestClock {
    pub fn new() -> Self {
        Self(Mutex::new("2026-03-01T12:00:00Z".parse().unwrap()))
    }

    pub fn advance_ms(&self, ms: i64) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now = Timestamp::from_microsecond(now.as_microsecond() + ms * 1000).unwrap();
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Pseudo-random numbers with a fixed seed.
#[derive(Default)]
pub struct TestRandom(AtomicU64);

impl Random for TestRandom {
    fn next_u64(&self) -> u64 {
        let n = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed).wrapping_add(0x9E37_79B9_7F4A_7C15);
        let n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB)
    }
}

/// Creates no images, because the gateway never calls it.
pub struct NoEngine;

#[async_trait]
impl ImageEngine for NoEngine {
    async fn generate(&self, _spec: &ImageSpec, _cx: &AttemptContext) -> Result<Generation, AttemptFailure> {
        Err(AttemptFailure::fail(ErrorCode::Internal, "the gateway does not draw"))
    }
}

/// Trains nothing: the gateway only cancels trainings.
pub struct NoTrainer;

#[async_trait]
impl BrandTrainer for NoTrainer {
    async fn start(&self, _spec: &TrainingSpec) -> Result<OperationId, AttemptFailure> {
        Err(AttemptFailure::fail(ErrorCode::Internal, "the gateway does not train"))
    }

    async fn poll(&self, _operation: &OperationId, _now: Timestamp) -> Result<TrainingStatus, AttemptFailure> {
        Err(AttemptFailure::fail(ErrorCode::Internal, "the gateway does not train"))
    }

    async fn cancel(&self, _operation: &OperationId) -> Result<(), AttemptFailure> {
        Ok(())
    }
}
