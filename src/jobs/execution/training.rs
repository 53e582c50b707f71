//! The work of an attempt at a training: start it or find it again, wait for it, learn the colours, generate the samples.

use std::sync::Arc;

use tokio::{
    sync::{oneshot, watch},
    time::{Instant, sleep},
};

use super::{
    Execution,
    context::{Attempt, StartedTraining},
    dataset::{LIMITS, read_image},
    end::AttemptEnd,
    images::ImageRole,
    work::seed_of,
};
use crate::{
    domain::{
        brand::{BrandSpec, SAMPLE_PROMPTS, TrainedBrand},
        clock::millis_between,
        failure::{AttemptFailure, Disposition, ErrorCode},
        job::Output,
        palette::{self, Rgb},
        request::{IllustrationSpec, MAX_SEED},
        stored_image::StoredImage,
        style::Style,
    },
    engine::{AttemptContext, OperationId, TrainingSpec, TrainingStatus},
    jobs::breakers::{Permit, RoutedPermit, call},
    media::image,
};

/// The sides of a sample image, in pixels.
const SAMPLE_SIDE: u32 = 512;

/// How many colours a palette is chosen from at most.
const COLORS: usize = 12;

/// The part of itself by which the wait between two polls varies.
const POLL_SPREAD: f64 = 0.2;

impl Execution {
    /// Trains the brand, or continues with the training that an earlier attempt started.
    pub(super) async fn train(&self, attempt: &Attempt<'_>, brand: &BrandSpec, permit: RoutedPermit) -> AttemptEnd {
        let (model_path, cost_micro_usd) = match self.finished_training(attempt, brand, permit.permit).await {
            Ok(finished) => finished,
            Err(end) => return end,
        };
        let trained = async {
            let palette = self.learn_palette(brand).await?;
            let started = attempt.job.started_at.unwrap_or(attempt.job.created_at);
            let training_ms = millis_between(started, self.now());
            let mut trained = TrainedBrand { palette, model_path, samples: Vec::new(), cost_micro_usd, training_ms };
            trained.samples = self.samples(attempt, &brand.style(attempt.job.id.as_str(), &trained)).await?;
            Ok(trained)
        };
        trained.await.map_or_else(AttemptEnd::Failed, |trained| AttemptEnd::Delivered(Output::Brand(trained)))
    }

    /// Waits for the end of the operation and returns the path of its model and its cost.
    async fn finished_training(
        &self,
        attempt: &Attempt<'_>,
        brand: &BrandSpec,
        permit: Permit,
    ) -> Result<(Option<String>, u64), AttemptEnd> {
        // The claim's permit is for the first call of the trainer, whichever that is.
        let (operation, mut permit) = match attempt.job.operation() {
            Some(operation) => {
                tracing::info!(operation, "re-attached to the training");
                (OperationId(operation.to_owned()), Some(permit))
            }
            None => (self.start_training(attempt, brand, permit).await.map_err(AttemptEnd::Failed)?, None),
        };
        let mut unanswered_since: Option<Instant> = None;
        loop {
            let wait = match self.poll_training(attempt, &operation, permit.take()).await {
                Ok(TrainingStatus::Running(progress)) => {
                    unanswered_since = None;
                    attempt.cx.progress.send_if_modified(|last| last.replace(progress) != Some(progress));
                    attempt.settings.poll_every
                }
                Ok(TrainingStatus::Succeeded { model_path, cost_micro_usd }) => {
                    return Ok((model_path, cost_micro_usd));
                }
                Ok(TrainingStatus::Failed(failure)) => return Err(AttemptEnd::TrainingFailed(failure)),
                Err(failure) => {
                    // The training goes on whether or not the provider answers. The attempt fails after the same time as
                    // a call of an engine.
                    let since = *unanswered_since.get_or_insert_with(Instant::now);
                    match failure.disposition {
                        Disposition::Retry { after } | Disposition::Throttled { after }
                            if since.elapsed() < attempt.settings.timeout =>
                        {
                            tracing::debug!(%failure, "the trainer does not answer; polling again");
                            let wait = after.unwrap_or_default().min(attempt.settings.timeout);
                            wait.max(attempt.settings.poll_every)
                        }
                        _ => return Err(AttemptEnd::Failed(failure)),
                    }
                }
            };
            // Spread out, so that trainings that started together are not polled together for half an hour.
            sleep(wait.mul_f64(1.0 + POLL_SPREAD * self.random.unit())).await;
        }
    }

    /// Polls the operation. Without a permit the call is made even if the breaker is open: the attempt has begun.
    async fn poll_training(
        &self,
        attempt: &Attempt<'_>,
        operation: &OperationId,
        permit: Option<Permit>,
    ) -> Result<TrainingStatus, AttemptFailure> {
        let (trainer, operation, now) = (Arc::clone(&self.trainer), operation.clone(), self.now());
        let permit = permit.unwrap_or_else(|| self.breakers.permit_without_check(&trainer.route()));
        let poll = async move { trainer.poll(&operation, now).await };
        call(permit, attempt.settings.timeout, "the trainer", poll).await
    }

    /// Starts the training and returns once its id is committed.
    async fn start_training(
        &self,
        attempt: &Attempt<'_>,
        brand: &BrandSpec,
        permit: Permit,
    ) -> Result<OperationId, AttemptFailure> {
        let dataset = self.dataset(brand);
        let spec = TrainingSpec { job_id: attempt.job.id.clone(), brand: brand.clone(), dataset, now: self.now() };
        let trainer = Arc::clone(&self.trainer);
        let start = async move { trainer.start(&spec).await };
        let operation = call(permit, attempt.settings.timeout, "the trainer", start).await?;
        let (recorded, is_recorded) = oneshot::channel();
        let training = StartedTraining { operation: operation.clone(), recorded };
        if attempt.started.send(training).await.is_err() || is_recorded.await.is_err() {
            // The attempt has ended, so this failure is not written.
            return Err(AttemptFailure::retry(ErrorCode::Internal, "the training was not recorded"));
        }
        tracing::info!(operation = operation.0, "training begun");
        Ok(operation)
    }

    /// The colours of the brand: those of the request, and those of its images, which are decoded one at a time.
    async fn learn_palette(&self, brand: &BrandSpec) -> Result<Vec<Rgb>, AttemptFailure> {
        let mut colors = Vec::new();
        for training_image in &brand.images {
            let key = &training_image.key;
            let Some(bytes) = read_image(&*self.media, key).await? else {
                tracing::warn!(key, "a training image is gone; learning without it");
                continue;
            };
            match run_blocking(move || image::colors(&bytes, &LIMITS)).await? {
                Ok(found) => colors.extend(found),
                Err(error) => tracing::warn!(key, %error, "learning without a training image"),
            }
        }
        let learnt = run_blocking(move || palette::palette(&colors, COLORS)).await?;
        let palette = palette::of_brand(&brand.colors, &learnt);
        if palette.is_empty() {
            return Err(AttemptFailure::retry(ErrorCode::StorageError, "no training image could be read"));
        }
        Ok(palette)
    }

    /// Generates and stores the sample images. The training is already paid for, so a sample that cannot be generated at
    /// all is left out. In the last attempt, so is a sample that a retry might generate.
    async fn samples(&self, attempt: &Attempt<'_>, style: &Style) -> Result<Vec<StoredImage>, AttemptFailure> {
        let is_last_attempt = attempt.cx.attempt >= self.policy.retry.max_attempts;
        let mut samples = Vec::with_capacity(SAMPLE_PROMPTS.len());
        for (n, prompt) in SAMPLE_PROMPTS.into_iter().enumerate() {
            match self.sample(attempt, style, n, prompt).await {
                Ok(sample) => samples.extend(sample),
                Err(failure) => match failure.disposition {
                    Disposition::Throttled { .. } if is_last_attempt && is_outage(failure.error.code) => {
                        tracing::warn!(%failure, sample = n, "the brand is delivered without this sample");
                    }
                    Disposition::Throttled { .. } | Disposition::Misconfigured => return Err(failure),
                    Disposition::Retry { .. } if !is_last_attempt => return Err(failure),
                    _ => tracing::warn!(%failure, sample = n, "the brand is delivered without this sample"),
                },
            }
        }
        Ok(samples)
    }

    async fn sample(
        &self,
        attempt: &Attempt<'_>,
        style: &Style,
        n: usize,
        prompt: &str,
    ) -> Result<Option<StoredImage>, AttemptFailure> {
        let size = (SAMPLE_SIDE, SAMPLE_SIDE);
        let (prompt, style) = (prompt.to_owned(), style.clone());
        let illustration = IllustrationSpec { prompt, style, width: size.0, height: size.1, count: 1, seed: None };
        let routes = self.engine.routes(&illustration).into_iter().map(Into::into).collect();
        let permit = self.breakers.permit_for_any(routes).map_err(|pause| self.breakers.throttled(&pause))?;
        let seed = seed_of(&attempt.job.id).wrapping_add(u32::try_from(n).unwrap_or(0)) & MAX_SEED;
        // Clients see the progress of the training, so the progress of a sample is dropped.
        let cx = AttemptContext { progress: watch::channel(None).0, ..attempt.cx.clone() };
        let generation = self.generate(attempt, permit, &illustration, seed, &cx).await?;
        let Some(generated) = generation.images.into_iter().next() else {
            tracing::warn!(sample = n, "the engine withheld a sample picture");
            return Ok(None);
        };
        let stored = self.store_image(attempt, generated, size, ImageRole::Sample(n)).await?;
        Ok(Some(stored.image))
    }
}

/// Whether the engine is paused because it fails. Each probe of such an engine costs an attempt.
fn is_outage(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::EngineUnavailable | ErrorCode::EngineTimeout)
}

/// Computes on a thread of its own, because processing pixels would block every task of the runtime.
async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, AttemptFailure> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| AttemptFailure::retry(ErrorCode::Internal, "learning the colours panicked; see the log"))
}
