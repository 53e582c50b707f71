//! The work of an attempt itself: draw, bring to size, store.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::FutureExt as _;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::{
    AttemptSettings, Execution,
    breakers::{Permit, call},
    settle::Settled,
    training::Begun,
};
use crate::{
    domain::{
        clock::millis_between,
        failure::{AttemptFailure, ErrorCode},
        hex,
        ids::JobId,
        job::{Job, Output, Pictures, Work},
        request::{IllustrationSpec, MAX_SEED},
        stored_image::StoredImage,
    },
    engine::{AttemptContext, GeneratedImage, Generation, ImageSpec},
    error::{BackendError, ErrorKind},
    failpoint::failpoint,
    media::{
        MediaFormat, MediaKey,
        image::{self, DecodeLimits, Prepared},
    },
    store::Version,
};

/// How long to wait for a picture that is being written when its attempt ends; it is then deleted with its job.
const PUT_GRACE: Duration = Duration::from_secs(30);

/// What an attempt has stored so far, to be deleted should it not be the one that counts.
#[derive(Default)]
pub(super) struct StoredKeys {
    keys: Mutex<Vec<MediaKey>>,
    /// Writes under way. One goes on when its attempt ends, and would put its picture in place after the deletion.
    puts: TaskTracker,
}

impl StoredKeys {
    fn note(&self, key: MediaKey) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).push(key);
    }

    fn take(&self) -> Vec<MediaKey> {
        std::mem::take(&mut self.keys.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What the work of one attempt goes by.
pub(super) struct Attempt<'a> {
    pub(super) job: &'a Job,
    /// Names what this attempt stores.
    pub(super) fence: Version,
    pub(super) cx: &'a AttemptContext,
    pub(super) settings: &'a AttemptSettings,
    pub(super) stored: &'a StoredKeys,
    /// To whoever holds the claim and can write.
    pub(super) begun: mpsc::Sender<Begun>,
    /// The claim's right to call the engine, until it is used.
    pub(super) permit: Mutex<Option<Permit>>,
}

impl Execution {
    /// Draws or trains, and stores. A panic in an engine is a failed attempt, never a dead process.
    pub(super) async fn run_work(&self, attempt: &Attempt<'_>) -> Settled {
        let work = async {
            match &attempt.job.work {
                Work::Illustration(spec) => {
                    self.draw(attempt, spec).await.map_or_else(Settled::Failed, Settled::Delivered)
                }
                Work::Brand(brand) => self.train(attempt, brand).await,
            }
        };
        AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| {
            Settled::Failed(AttemptFailure::retry(ErrorCode::Internal, "the attempt panicked; see the log"))
        })
    }

    /// One call of the engine, which takes no longer than it may; and another, of what stands in for it, when after that it
    /// may not be called any more: with the probe's answer a job has waited long enough.
    pub(super) async fn generate(
        &self,
        attempt: &Attempt<'_>,
        illustration: IllustrationSpec,
        seed: u32,
        cx: &AttemptContext,
    ) -> Result<Generation, AttemptFailure> {
        let engine = &self.engine;
        let routes = engine.routes(&illustration);
        let mut permit = self.permit_of_any(&attempt.permit, &routes)?;
        loop {
            let route = permit.name().to_owned();
            let references = self.references(&illustration.style, engine.references(&route)).await?;
            let spec = ImageSpec { illustration: illustration.clone(), seed, route: route.clone(), references };
            let (engine, cx) = (Arc::clone(engine), cx.clone());
            let drawing = async move { engine.generate(&spec, &cx).await };
            let failure = match call(permit, attempt.settings.timeout, "the engine", drawing).await {
                Ok(generation) => return Ok(generation),
                Err(failure) => failure,
            };
            permit = self.breakers.fallback(&routes, &route, &failure).ok_or_else(|| failure.clone())?;
            tracing::warn!(
                engine = route,
                instead = permit.name(),
                reason = failure.error.message,
                "another engine draws"
            );
        }
    }

    async fn draw(&self, attempt: &Attempt<'_>, illustration: &IllustrationSpec) -> Result<Output, AttemptFailure> {
        let Attempt { job, fence, cx, stored, .. } = attempt;
        let started = self.now();
        let seed = illustration.seed.unwrap_or_else(|| seed_of(&job.id));
        let generation = self.generate(attempt, illustration.clone(), seed, cx).await?;
        failpoint("after_generate");
        let mut images = Vec::with_capacity(generation.images.len());
        let mut thumbnail_key = None;
        for (n, generated) in generation.images.into_iter().take(job.hold.units as usize).enumerate() {
            let size = (illustration.width, illustration.height);
            let prepared = prepare(generated, cx.attempt, size, n == 0).await?;
            let key = MediaKey::picture(&job.user, &job.id, cx.attempt, fence.0, n, prepared.format);
            images.push(stored_image(&key, &prepared));
            self.put(key, prepared.format, prepared.bytes, stored).await?;
            if let Some(thumbnail) = prepared.thumbnail {
                let key = MediaKey::thumbnail(&job.user, &job.id, cx.attempt, fence.0, n);
                thumbnail_key = Some(key.to_string());
                self.put(key, MediaFormat::Webp, thumbnail, stored).await?;
            }
        }
        Ok(Output::Pictures(Pictures {
            images,
            thumbnail_key,
            filtered: generation.filtered,
            model: generation.model,
            final_prompt: generation.final_prompt,
            seed: generation.seed,
            cost_micro_usd: generation.cost_micro_usd,
            generation_ms: millis_between(started, self.now()),
        }))
    }

    pub(super) async fn put(
        &self,
        key: MediaKey,
        format: MediaFormat,
        bytes: bytes::Bytes,
        stored: &StoredKeys,
    ) -> Result<(), AttemptFailure> {
        stored.note(key.clone());
        let media = Arc::clone(&self.media);
        let put = async move { media.put(&key, format, bytes).await };
        match stored.puts.spawn(put.in_current_span()).await {
            Ok(Ok(())) => {
                failpoint("after_put");
                Ok(())
            }
            // The key names this attempt alone, so it can only be our own earlier write whose answer was lost.
            Ok(Err(error)) if error.kind == ErrorKind::AlreadyExists => Ok(()),
            Ok(Err(error)) => Err(storage_failure(&error)),
            Err(_) => Err(AttemptFailure::retry(ErrorCode::Internal, "storing the picture panicked; see the log")),
        }
    }

    /// Deletes what an attempt stored that does not count. Best effort: what stays is deleted with its job.
    pub(super) async fn drop_stored(&self, stored: &StoredKeys) {
        stored.puts.close();
        if tokio::time::timeout(PUT_GRACE, stored.puts.wait()).await.is_err() {
            tracing::warn!("a picture of an abandoned attempt is still being written");
        }
        for key in stored.take() {
            if let Err(error) = self.media.delete(&key).await {
                tracing::warn!(%key, %error, "a picture of an abandoned attempt could not be deleted");
            }
        }
    }
}

/// The seed of a request that names none: the same in every attempt, so that a retry draws the same picture.
pub(super) fn seed_of(id: &JobId) -> u32 {
    let folded =
        id.as_str().bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(16_777_619));
    folded & MAX_SEED
}

pub(super) fn stored_image(key: &MediaKey, prepared: &Prepared) -> StoredImage {
    StoredImage {
        key: key.to_string(),
        width: prepared.width,
        height: prepared.height,
        bytes: prepared.bytes.len() as u64,
        sha256: hex::encode(&prepared.sha256),
    }
}

/// The error names paths of this machine, which are the operator's to read and not the client's.
fn storage_failure(error: &BackendError) -> AttemptFailure {
    tracing::error!(%error, "storing the picture failed");
    AttemptFailure::retry(ErrorCode::StorageError, format!("the picture could not be stored ({})", error.kind))
}

/// Brings a picture of this attempt to size, (width, height), on a thread of its own: pixels would hold up every other
/// task of the runtime.
pub(super) async fn prepare(
    generated: GeneratedImage,
    attempt: u32,
    (width, height): (u32, u32),
    with_thumbnail: bool,
) -> Result<Prepared, AttemptFailure> {
    let limits = DecodeLimits::default();
    tokio::task::spawn_blocking(move || image::prepare(generated.bytes, width, height, with_thumbnail, &limits))
        .await
        .map_err(|_| AttemptFailure::retry(ErrorCode::Internal, "preparing the picture panicked; see the log"))?
        .map_err(|error| AttemptFailure::unusable(attempt, format!("the engine's picture: {error}")))
}
