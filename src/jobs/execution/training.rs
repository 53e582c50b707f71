//! The work of an attempt at a training: begin it or find it again, wait, learn the colours, draw the samples.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use tokio::{
    sync::{oneshot, watch},
    time::{Instant, sleep},
};

use super::{
    Execution,
    breakers::call,
    illustration::{Attempt, prepare, seed_of, stored_image},
    settle::Settled,
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
    engine::{AttemptContext, Dataset, OperationId, TrainingSpec, TrainingStatus},
    media::{
        MediaKey, MediaStore,
        image::{self, DecodeLimits},
    },
};

/// A training that the provider has begun. Nothing is asked of it before its name is committed: a worker that dies must
/// leave it to be found.
pub(super) struct Begun {
    pub(super) operation: OperationId,
    /// Told once the name is committed.
    pub(super) known: oneshot::Sender<()>,
}

/// The sides of a sample picture, in pixels.
const SAMPLE_SIDE: u32 = 512;

/// Colours that a palette is chosen from, at most.
const COLORS: usize = 12;

/// By how much of itself the wait between two polls varies.
const POLL_SPREAD: f64 = 0.2;

/// Training images were checked when they came; this bounds what reading them again may cost.
const LIMITS: DecodeLimits = DecodeLimits { max_bytes: 64 << 20, max_pixels: 40_000_000, max_alloc: 200 << 20 };

impl Execution {
    /// Trains, or finds out how the training went that an earlier attempt began.
    pub(super) async fn train(&self, attempt: &Attempt<'_>, brand: &BrandSpec) -> Settled {
        let (model_path, cost_micro_usd) = match self.finished_operation(attempt, brand).await {
            Ok(finished) => finished,
            Err(settled) => return settled,
        };
        let trained = async {
            let palette = self.learn(brand).await?;
            let began = attempt.job.started_at.unwrap_or(attempt.job.created_at);
            let training_ms = millis_between(began, self.now());
            let mut trained = TrainedBrand { palette, model_path, samples: Vec::new(), cost_micro_usd, training_ms };
            trained.samples = self.samples(attempt, &brand.style(attempt.job.id.as_str(), &trained)).await?;
            Ok(trained)
        };
        trained.await.map_or_else(Settled::Failed, |trained| Settled::Delivered(Output::Brand(trained)))
    }

    /// Waits for the operation; where its model is and what it cost.
    async fn finished_operation(
        &self,
        attempt: &Attempt<'_>,
        brand: &BrandSpec,
    ) -> Result<(Option<String>, u64), Settled> {
        let operation = match attempt.job.operation() {
            Some(operation) => {
                tracing::info!(operation, "re-attached to the training");
                OperationId(operation.to_owned())
            }
            None => self.begin(attempt, brand).await.map_err(Settled::Failed)?,
        };
        let mut unanswered: Option<Instant> = None;
        loop {
            let wait = match self.poll(attempt, &operation).await {
                Ok(TrainingStatus::Running(progress)) => {
                    unanswered = None;
                    attempt.cx.progress.send_if_modified(|last| last.replace(progress) != Some(progress));
                    attempt.settings.poll_every
                }
                Ok(TrainingStatus::Succeeded { model_path, cost_micro_usd }) => {
                    return Ok((model_path, cost_micro_usd));
                }
                Ok(TrainingStatus::Failed(failure)) => return Err(Settled::TrainingFailed(failure)),
                Err(failure) => {
                    // The training goes on whether it answers or not; the attempt gives up as an engine call would.
                    let since = *unanswered.get_or_insert_with(Instant::now);
                    match failure.disposition {
                        Disposition::Retry { after } | Disposition::Throttled { after }
                            if since.elapsed() < attempt.settings.timeout =>
                        {
                            tracing::debug!(%failure, "the trainer does not answer; asking again");
                            let asked = after.unwrap_or_default().min(attempt.settings.timeout);
                            asked.max(attempt.settings.poll_every)
                        }
                        _ => return Err(Settled::Failed(failure)),
                    }
                }
            };
            // Spread out: trainings that began together are not to be asked for together for half an hour.
            sleep(wait.mul_f64(1.0 + POLL_SPREAD * self.random.unit())).await;
        }
    }

    async fn poll(&self, attempt: &Attempt<'_>, operation: &OperationId) -> Result<TrainingStatus, AttemptFailure> {
        let (trainer, operation, now) = (Arc::clone(&self.trainer), operation.clone(), self.now());
        let permit = self.permit_of(&attempt.permit, &trainer.route());
        let poll = async move { trainer.poll(&operation, now).await };
        call(permit, attempt.settings.timeout, "the trainer", poll).await
    }

    /// Begins the training and returns once its name is committed.
    async fn begin(&self, attempt: &Attempt<'_>, brand: &BrandSpec) -> Result<OperationId, AttemptFailure> {
        let keys = brand.images.iter().map(|image| image.key.clone()).collect();
        let dataset = Arc::new(StoredPictures { media: Arc::clone(&self.media), keys });
        let spec = TrainingSpec { job_id: attempt.job.id.clone(), brand: brand.clone(), dataset, now: self.now() };
        let trainer = Arc::clone(&self.trainer);
        let permit = self.permit_of(&attempt.permit, &trainer.route());
        let start = async move { trainer.start(&spec).await };
        let operation = call(permit, attempt.settings.timeout, "the trainer", start).await?;
        let (known, committed) = oneshot::channel();
        let begun = Begun { operation: operation.clone(), known };
        if attempt.begun.send(begun).await.is_err() || committed.await.is_err() {
            // The attempt is over, so nobody reads this.
            return Err(AttemptFailure::retry(ErrorCode::Internal, "the training was not recorded"));
        }
        tracing::info!(operation = operation.0, "training begun");
        Ok(operation)
    }

    /// The brand's colours: those given, and those of its pictures, one decoded at a time.
    async fn learn(&self, brand: &BrandSpec) -> Result<Vec<Rgb>, AttemptFailure> {
        let mut colors = Vec::new();
        for picture in &brand.images {
            let Some(bytes) = read(&*self.media, &picture.key).await? else {
                tracing::warn!(key = picture.key, "a training image is gone; learning without it");
                continue;
            };
            match off_runtime(move || image::colors(&bytes, &LIMITS)).await? {
                Ok(found) => colors.extend(found),
                Err(error) => tracing::warn!(key = picture.key, %error, "learning without a training image"),
            }
        }
        let learnt = off_runtime(move || palette::palette(&colors, COLORS)).await?;
        let palette = palette::of_brand(&brand.colors, &learnt);
        if palette.is_empty() {
            return Err(AttemptFailure::retry(ErrorCode::StorageError, "no training image could be read"));
        }
        Ok(palette)
    }

    /// Draws and stores the sample pictures. The training is paid for by now, so what cannot be drawn at all is left out,
    /// and so is, in the last attempt, what might be drawn another time.
    async fn samples(&self, attempt: &Attempt<'_>, style: &Style) -> Result<Vec<StoredImage>, AttemptFailure> {
        let last = attempt.cx.attempt >= self.policy.retry.max_attempts;
        let mut samples = Vec::with_capacity(SAMPLE_PROMPTS.len());
        for (n, prompt) in SAMPLE_PROMPTS.into_iter().enumerate() {
            match self.sample(attempt, style, n, prompt).await {
                Ok(sample) => samples.extend(sample),
                Err(failure) => match failure.disposition {
                    Disposition::Throttled { .. } if last && is_down(failure.error.code) => {
                        tracing::warn!(%failure, sample = n, "the brand is delivered without this sample");
                    }
                    Disposition::Throttled { .. } | Disposition::Misconfigured => return Err(failure),
                    Disposition::Retry { .. } if !last => return Err(failure),
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
        let (width, height) = (SAMPLE_SIDE, SAMPLE_SIDE);
        let (prompt, style) = (prompt.to_owned(), style.clone());
        let illustration = IllustrationSpec { prompt, style, width, height, count: 1, seed: None };
        let seed = seed_of(&attempt.job.id).wrapping_add(u32::try_from(n).unwrap_or(0)) & MAX_SEED;
        // The progress that people see is the training's.
        let progress = watch::channel(None).0;
        let cx = AttemptContext { progress, ..attempt.cx.clone() };
        let Some(generated) = self.generate(attempt, illustration, seed, &cx).await?.images.into_iter().next() else {
            tracing::warn!(sample = n, "the engine withheld a sample picture");
            return Ok(None);
        };
        let prepared = prepare(generated, cx.attempt, (width, height), false).await?;
        let job = attempt.job;
        let key = MediaKey::sample(&job.user, &job.id, cx.attempt, attempt.fence.0, n, prepared.format);
        let sample = stored_image(&key, &prepared);
        self.put(key, prepared.format, prepared.bytes, attempt.stored).await?;
        Ok(Some(sample))
    }
}

/// The pictures of a training, read when they are asked for.
struct StoredPictures {
    media: Arc<dyn MediaStore>,
    keys: Vec<String>,
}

#[async_trait]
impl Dataset for StoredPictures {
    async fn picture(&self, n: usize) -> Result<Option<Bytes>, AttemptFailure> {
        let Some(key) = self.keys.get(n) else { return Ok(None) };
        read(&*self.media, key).await
    }
}

/// A training image, whole; `None` when it is gone.
async fn read(media: &dyn MediaStore, key: &str) -> Result<Option<Bytes>, AttemptFailure> {
    let Ok(key) = key.parse::<MediaKey>() else { return Ok(None) };
    let unread = |error: &dyn std::fmt::Display| {
        tracing::error!(%error, %key, "reading a training image failed");
        AttemptFailure::retry(ErrorCode::StorageError, "a training image could not be read")
    };
    let Some(mut read) = media.get(&key, None).await.map_err(|error| unread(&error))? else {
        return Ok(None);
    };
    let mut bytes = BytesMut::new();
    while let Some(chunk) = read.body.next().await {
        bytes.extend_from_slice(&chunk.map_err(|error| unread(&error))?);
        if bytes.len() > LIMITS.max_bytes {
            break; // decoding says why not
        }
    }
    Ok(Some(bytes.freeze()))
}

impl Execution {
    /// Pictures that show a style, for an engine that takes so many. One that is gone is left out.
    pub(super) async fn references(&self, style: &Style, most: usize) -> Result<Vec<Bytes>, AttemptFailure> {
        let mut pictures = Vec::new();
        for key in style.learnt.references.iter().take(most) {
            let Some(picture) = read(&*self.media, key).await? else {
                tracing::warn!(key, "a picture of the brand is gone; drawing without it");
                continue;
            };
            pictures.push(picture);
        }
        Ok(pictures)
    }
}

/// Whether the engine is left alone because it fails, which every probe costs an attempt.
fn is_down(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::EngineUnavailable | ErrorCode::EngineTimeout)
}

/// Computes on a thread of its own: pixels would hold up every other task of the runtime.
async fn off_runtime<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, AttemptFailure> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| AttemptFailure::retry(ErrorCode::Internal, "learning the colours panicked; see the log"))
}
