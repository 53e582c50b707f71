//! The images that an attempt stores, and their removal when the attempt does not count.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tracing::Instrument as _;

use super::{Execution, context::Attempt, stored_keys::StoredKeys};
use crate::{
    domain::{
        failure::{AttemptFailure, ErrorCode},
        hex,
        stored_image::StoredImage,
    },
    engine::GeneratedImage,
    error::{BackendError, ErrorKind},
    failpoint::failpoint,
    media::{
        MediaFormat, MediaKey,
        image::{self, DecodeLimits, Prepared},
    },
};

/// How long to wait for writes of an attempt that has ended. An image that is written later is deleted with its job.
const WRITE_GRACE: Duration = Duration::from_secs(30);

/// What an image is for, which decides its key.
#[derive(Debug, Clone, Copy)]
pub(super) enum ImageRole {
    /// The n-th image of an illustration.
    Picture(usize),
    /// The n-th sample of a brand.
    Sample(usize),
}

/// An image in the media store.
pub(super) struct Stored {
    pub(super) image: StoredImage,
    pub(super) thumbnail_key: Option<String>,
}

impl Execution {
    /// Brings an image to size (width, height) and stores it, with a thumbnail if it is the first of an illustration.
    pub(super) async fn store_image(
        &self,
        attempt: &Attempt<'_>,
        generated: GeneratedImage,
        size: (u32, u32),
        role: ImageRole,
    ) -> Result<Stored, AttemptFailure> {
        let Attempt { job, fence, cx, stored, .. } = attempt;
        let needs_thumbnail = matches!(role, ImageRole::Picture(0));
        let prepared = prepare(generated, cx.attempt, size, needs_thumbnail).await?;
        let key = match role {
            ImageRole::Picture(n) => MediaKey::picture(&job.user, &job.id, cx.attempt, fence.0, n, prepared.format),
            ImageRole::Sample(n) => MediaKey::sample(&job.user, &job.id, cx.attempt, fence.0, n, prepared.format),
        };
        let image = StoredImage {
            key: key.to_string(),
            width: prepared.width,
            height: prepared.height,
            bytes: prepared.bytes.len() as u64,
            sha256: hex::encode(&prepared.sha256),
        };
        self.put(key, prepared.format, prepared.bytes, stored).await?;
        let mut thumbnail_key = None;
        if let Some(thumbnail) = prepared.thumbnail {
            let key = MediaKey::thumbnail(&job.user, &job.id, cx.attempt, fence.0, 0);
            thumbnail_key = Some(key.to_string());
            self.put(key, MediaFormat::Webp, thumbnail, stored).await?;
        }
        Ok(Stored { image, thumbnail_key })
    }

    async fn put(
        &self,
        key: MediaKey,
        format: MediaFormat,
        bytes: Bytes,
        stored: &StoredKeys,
    ) -> Result<(), AttemptFailure> {
        stored.add(key.clone());
        let media = Arc::clone(&self.media);
        let put = async move { media.put(&key, format, bytes).await };
        match stored.writes.spawn(put.in_current_span()).await {
            Ok(Ok(())) => {
                failpoint("after_put");
                Ok(())
            }
            // Only this attempt uses the key, so this is our own earlier write whose reply was lost.
            Ok(Err(error)) if error.kind == ErrorKind::AlreadyExists => Ok(()),
            Ok(Err(error)) => Err(storage_failure(&error)),
            Err(_) => Err(AttemptFailure::retry(ErrorCode::Internal, "storing the picture panicked; see the log")),
        }
    }

    /// Deletes what an attempt stored that does not count. Best effort: what remains is deleted with the job.
    pub(super) async fn delete_stored(&self, stored: &StoredKeys) {
        stored.writes.close();
        if tokio::time::timeout(WRITE_GRACE, stored.writes.wait()).await.is_err() {
            tracing::warn!("a picture of an abandoned attempt is still being written");
        }
        for key in stored.take() {
            if let Err(error) = self.media.delete(&key).await {
                tracing::warn!(%key, %error, "a picture of an abandoned attempt could not be deleted");
            }
        }
    }
}

/// Hides the error itself from the client: it names paths of this machine, which only the operator may see.
fn storage_failure(error: &BackendError) -> AttemptFailure {
    tracing::error!(%error, "storing the picture failed");
    AttemptFailure::retry(ErrorCode::StorageError, format!("the picture could not be stored ({})", error.kind))
}

/// Brings an image to size on a thread of its own, because processing pixels would block every task of the runtime.
async fn prepare(
    generated: GeneratedImage,
    attempt: u32,
    (width, height): (u32, u32),
    needs_thumbnail: bool,
) -> Result<Prepared, AttemptFailure> {
    let limits = DecodeLimits::default();
    tokio::task::spawn_blocking(move || image::prepare(generated.bytes, width, height, needs_thumbnail, &limits))
        .await
        .map_err(|_| AttemptFailure::retry(ErrorCode::Internal, "preparing the picture panicked; see the log"))?
        .map_err(|error| AttemptFailure::unusable(attempt, format!("the engine's picture: {error}")))
}
