//! Uploads: images, and archives of images, that clients send to train a brand from.
//!
//! An upload consists of an image and a record that describes it, written after the image. Both expire. A brand copies the
//! images that it uses, so nothing that lasts refers to an upload.

mod archive;
mod inspection;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::TryStreamExt as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, SemaphorePermit};

pub use self::archive::{Spool, UploadedArchive};
use crate::{
    domain::{
        Timestamp,
        archive::ArchiveError,
        brand::ImageFacts,
        clock::{Clock, Random, after},
        hex,
        ids::UserId,
        upload::{AnnouncedUpload, UploadId, UploadLimits},
    },
    error::{BackendError, ErrorKind},
    media::{
        MediaFormat, MediaKey, MediaStore, SignedUpload,
        image::{DecodeLimits, PictureError, TrainingPicture, training_picture},
    },
};

/// Files received at once: each is held in memory until it is checked.
const RECEIVED_AT_ONCE: usize = 4;
/// Archives received at once: each occupies a temporary file of its size.
const ARCHIVES_AT_ONCE: usize = 4;
/// Archives unpacked at once.
const UNPACKED_AT_ONCE: usize = 1;
/// Images decoded at once. Decoding costs memory, and a decoder uses only one core anyway.
const DECODED_AT_ONCE: usize = 1;
/// Bytes that a decoder may allocate for each allowed pixel: 8 bits each of red, green, blue and alpha.
const BYTES_PER_PIXEL: u64 = 4;
/// The longest record. A record of two hundred images with long names is shorter.
const MAX_RECORD_BYTES: u64 = 512 * 1024;

/// The settings of uploads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadSettings {
    /// What may be uploaded.
    pub limits: UploadLimits,
    /// How long an upload that no brand uses is kept.
    pub keep: Duration,
}

/// Receives uploads and checks them. The semaphores bound what all clients together occupy in memory and on disk.
pub struct Uploads {
    media: Arc<dyn MediaStore>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    settings: UploadSettings,
    /// Images in one archive, at most.
    max_images: usize,
    receiving: Semaphore,
    archives: Semaphore,
    unpacking: Semaphore,
    decoding: Arc<Semaphore>,
}

/// Where a client sends a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadTarget {
    /// The id of the upload.
    pub id: UploadId,
    /// The announced media type.
    pub content_type: &'static str,
    /// When the file must have been sent.
    pub expires_at: Timestamp,
    /// The address in the media store; `None` when the client sends the file to the gateway.
    pub direct: Option<SignedUpload>,
}

/// An uploaded image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UploadedPicture {
    /// Its size and fingerprint.
    #[serde(flatten)]
    pub facts: ImageFacts,
    /// Its media key.
    pub(super) key: String,
    /// SHA-256 of the bytes that were sent, in hex; distinguishes a repeat from another image.
    source: String,
}

/// The stored record of an upload, written once the upload has been inspected.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum UploadRecord {
    Picture(UploadedPicture),
    RefusedPicture {
        /// The reason.
        refused: String,
    },
    Archive(UploadedArchive),
    RefusedArchive {
        /// The reason.
        refused_archive: String,
    },
}

/// Why an upload was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The file is not a usable image.
    #[error(transparent)]
    Refused(#[from] PictureError),
    /// The file is not a usable archive.
    #[error(transparent)]
    RefusedArchive(#[from] ArchiveError),
    /// Another file was sent under this id before.
    #[error("another file was uploaded under this id")]
    Taken,
    /// A backend failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

impl Uploads {
    /// Uploads into this media store. An archive may hold up to `max_images` images.
    pub(in crate::jobs) fn new(
        media: Arc<dyn MediaStore>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        settings: UploadSettings,
        max_images: usize,
    ) -> Self {
        Self {
            media,
            clock,
            random,
            settings,
            max_images,
            receiving: Semaphore::new(RECEIVED_AT_ONCE),
            archives: Semaphore::new(ARCHIVES_AT_ONCE),
            unpacking: Semaphore::new(UNPACKED_AT_ONCE),
            decoding: Arc::new(Semaphore::new(DECODED_AT_ONCE)),
        }
    }

    /// Offers a place for a file of the user. Nothing is written before the file arrives.
    pub async fn offer(&self, user: &UserId, announced: AnnouncedUpload) -> Result<UploadTarget, BackendError> {
        let AnnouncedUpload { content_type, size } = announced;
        let (id, now) = (UploadId::random(&*self.random), self.clock.now());
        let raw = if announced.is_archive() { MediaKey::raw_archive } else { MediaKey::raw_upload }(user, &id);
        let direct = self.media.upload_url(&raw, content_type, size, now).await?;
        let expires_at = direct.as_ref().map_or_else(|| after(now, self.settings.keep), |direct| direct.expires_at);
        Ok(UploadTarget { id, content_type, expires_at, direct })
    }

    /// Waits until a file may be received into memory.
    pub async fn receive_permit(&self) -> Result<SemaphorePermit<'_>, BackendError> {
        let permit = self.receiving.acquire().await;
        permit.map_err(|closed| BackendError::new(ErrorKind::Internal, "uploads.permit").because(closed))
    }

    /// Stores an image. The same bytes again give the same result; other bytes under the same id are refused.
    pub async fn receive_picture(
        &self,
        user: &UserId,
        id: &UploadId,
        bytes: Bytes,
    ) -> Result<UploadedPicture, UploadError> {
        let sent = bytes.clone();
        // Hashing a large file takes tens of milliseconds, which would block every task of the runtime.
        let digest = tokio::task::spawn_blocking(move || Sha256::digest(&sent)).await.map_err(defect)?;
        let source = hex::encode(&digest);
        if let Some(earlier) = self.record(user, id).await? {
            return same_picture(earlier, &source);
        }
        let kept = self.decode(bytes).await?;
        let content = digest.iter().take(8).fold(0, |content, byte| content << 8 | u64::from(*byte));
        let key = MediaKey::upload(user, id, content, kept.format);
        let uploaded = UploadedPicture {
            facts: ImageFacts { width: kept.width, height: kept.height, fingerprint: kept.fingerprint },
            key: key.to_string(),
            source: source.clone(),
        };
        // The image first: the record proves that both exist. The key names the content, so an image that exists already,
        // from a client that went away, is this image.
        match self.media.put(&key, kept.format, kept.bytes).await {
            Err(error) if error.kind != ErrorKind::AlreadyExists => return Err(error.into()),
            _ => {}
        }
        same_picture(self.record_once(user, id, UploadRecord::Picture(uploaded)).await?, &source)
    }

    /// The usable image that the user has uploaded under an id, until it expires.
    pub async fn picture(&self, user: &UserId, id: &UploadId) -> Result<Option<UploadedPicture>, BackendError> {
        Ok(match self.record(user, id).await? {
            Some(UploadRecord::Picture(picture)) => Some(picture),
            _ => None,
        })
    }

    /// Writes the record of an upload, and returns it. A record is written only once: if one exists, that one is returned.
    async fn record_once(
        &self,
        user: &UserId,
        id: &UploadId,
        record: UploadRecord,
    ) -> Result<UploadRecord, UploadError> {
        let json = serde_json::to_vec(&record).map_err(defect)?;
        match self.media.put(&MediaKey::upload_facts(user, id), MediaFormat::Json, json.into()).await {
            Ok(()) => Ok(record),
            Err(error) if error.kind == ErrorKind::AlreadyExists => {
                self.record(user, id).await?.ok_or(UploadError::Taken)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The record of an upload; `None` when no upload of this id has been inspected.
    async fn record(&self, user: &UserId, id: &UploadId) -> Result<Option<UploadRecord>, BackendError> {
        const OP: &str = "uploads.facts";
        let broken = |why: &dyn std::fmt::Display| BackendError::new(ErrorKind::Broken, OP).because(why.to_string());
        let key = MediaKey::upload_facts(user, id);
        let Some(read) = self.media.get(&key, None).await? else { return Ok(None) };
        if read.info.length > MAX_RECORD_BYTES {
            return Err(broken(&format!("{key} is too long for the record of an upload")));
        }
        let chunks: Vec<Bytes> = read.body.try_collect().await.map_err(|error| broken(&error))?;
        serde_json::from_slice(&chunks.concat()).map(Some).map_err(|error| broken(&format!("{key}: {error}")))
    }

    async fn decode(&self, bytes: Bytes) -> Result<TrainingPicture, UploadError> {
        let UploadLimits { max_bytes, max_pixels, .. } = self.settings.limits;
        let limits = DecodeLimits { max_bytes, max_pixels, max_alloc: max_pixels.saturating_mul(BYTES_PER_PIXEL) };
        let permit = Arc::clone(&self.decoding).acquire_owned().await.map_err(defect)?;
        let work = tokio::task::spawn_blocking(move || {
            let kept = training_picture(bytes, &limits);
            // Held until the memory is free again, even if the client has gone away meanwhile.
            drop(permit);
            kept
        });
        Ok(work.await.map_err(defect)??)
    }
}

fn defect(why: impl std::error::Error + Send + Sync + 'static) -> BackendError {
    BackendError::new(ErrorKind::Internal, "uploads.take").because(why)
}

fn same_picture(earlier: UploadRecord, source: &str) -> Result<UploadedPicture, UploadError> {
    match earlier {
        UploadRecord::Picture(uploaded) if uploaded.source == source => Ok(uploaded),
        // An id accepts one file, even if that file was refused.
        _ => Err(UploadError::Taken),
    }
}
