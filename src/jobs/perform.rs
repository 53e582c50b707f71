//! The work of an attempt itself: draw, bring to size, store.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::FutureExt as _;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::{Jobs, settle::Settled};
use crate::{
    domain::{
        clock::millis_between,
        ids::JobId,
        job::{AttemptFailure, ErrorCode, Job, Output, Pictures, StoredImage, Work},
        request::{IllustrationSpec, MAX_SEED},
    },
    engine::{AttemptContext, Generated, ImageSpec},
    error::{BackendError, ErrorKind},
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

impl Jobs {
    /// Draws and stores. A panic in an engine is a failed attempt, never a dead process.
    pub(super) async fn perform(
        &self,
        job: &Job,
        fence: Version,
        cx: &AttemptContext,
        timeout: Duration,
        stored: &StoredKeys,
    ) -> Settled {
        let drawn = async {
            match &job.work {
                Work::Illustration(spec) => self.draw(job, spec, fence, cx, timeout, stored).await,
                Work::Brand(_) => Err(AttemptFailure::fail(ErrorCode::InvalidRequest, "this build trains no brands")),
            }
        };
        match AssertUnwindSafe(drawn).catch_unwind().await {
            Ok(Ok(output)) => Settled::Delivered(output),
            Ok(Err(failure)) => Settled::Failed(failure),
            Err(_) => Settled::Failed(AttemptFailure::retry(ErrorCode::Internal, "the attempt panicked; see the log")),
        }
    }

    async fn draw(
        &self,
        job: &Job,
        illustration: &IllustrationSpec,
        fence: Version,
        cx: &AttemptContext,
        timeout: Duration,
        stored: &StoredKeys,
    ) -> Result<Output, AttemptFailure> {
        let started = self.now();
        let seed = illustration.seed.unwrap_or_else(|| seed_of(&job.id));
        let spec = ImageSpec { illustration: illustration.clone(), seed };
        let generation =
            tokio::time::timeout(timeout, self.ports.engine.generate(&spec, cx)).await.map_err(|_| {
                AttemptFailure::retry(ErrorCode::EngineTimeout, format!("the engine took longer than {timeout:?}"))
            })??;
        let mut images = Vec::with_capacity(generation.images.len());
        let mut thumbnail_key = None;
        for (n, generated) in generation.images.into_iter().take(job.hold.units as usize).enumerate() {
            let prepared = prepare(generated, illustration.width, illustration.height, n == 0).await?;
            let key = MediaKey::picture(&job.user, &job.id, cx.attempt, fence.0, n, prepared.format);
            images.push(StoredImage {
                key: key.to_string(),
                width: prepared.width,
                height: prepared.height,
                bytes: prepared.bytes.len() as u64,
                sha256: hex(&prepared.sha256),
            });
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

    async fn put(
        &self,
        key: MediaKey,
        format: MediaFormat,
        bytes: bytes::Bytes,
        stored: &StoredKeys,
    ) -> Result<(), AttemptFailure> {
        stored.note(key.clone());
        let media = Arc::clone(&self.ports.media);
        let put = async move { media.put(&key, format, bytes).await };
        match stored.puts.spawn(put.in_current_span()).await {
            Ok(Ok(())) => Ok(()),
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
            if let Err(error) = self.ports.media.delete(&key).await {
                tracing::warn!(%key, %error, "a picture of an abandoned attempt could not be deleted");
            }
        }
    }
}

/// The seed of a request that names none: the same in every attempt, so that a retry draws the same picture.
fn seed_of(id: &JobId) -> u32 {
    let folded =
        id.as_str().bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(16_777_619));
    folded & MAX_SEED
}

fn storage_failure(error: &BackendError) -> AttemptFailure {
    AttemptFailure::retry(ErrorCode::StorageError, format!("storing the picture failed: {error}"))
}

/// Brings a picture to size on a thread of its own: pixels would hold up every other task of the runtime.
async fn prepare(
    generated: Generated,
    width: u32,
    height: u32,
    with_thumbnail: bool,
) -> Result<Prepared, AttemptFailure> {
    let limits = DecodeLimits::default();
    tokio::task::spawn_blocking(move || image::prepare(generated.bytes, width, height, with_thumbnail, &limits))
        .await
        .map_err(|_| AttemptFailure::retry(ErrorCode::Internal, "preparing the picture panicked; see the log"))?
        .map_err(|error| AttemptFailure::retry(ErrorCode::EngineError, format!("the engine's picture: {error}")))
}

fn hex(digest: &[u8]) -> String {
    use std::fmt::Write as _;
    digest.iter().fold(String::with_capacity(2 * digest.len()), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}"); // writing to a String cannot fail
        hex
    })
}
