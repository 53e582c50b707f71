//! Uploads: pictures that people send to train a brand from. Archives of them are in [`super::archives`].
//!
//! An upload is a picture and, written after it, the facts about it; both expire. A brand copies what it uses, so no
//! upload is ever referred to by anything that lasts.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{Jobs, archives::Unpacked};
use crate::{
    domain::{
        Timestamp,
        archive::ArchiveError,
        brand::ImageFacts,
        clock::after,
        ids::UserId,
        upload::{Announced, UploadId, UploadLimits},
    },
    error::{BackendError, ErrorKind},
    media::{
        MediaFormat, MediaKey, SignedUpload,
        image::{DecodeLimits, Kept, PictureError, keep},
    },
};

/// Files that are received at once: each is held in memory until it is checked.
const RECEIVED_AT_ONCE: usize = 4;
/// Archives that are received at once: each takes its size on the disk for temporary files.
const ARCHIVES_AT_ONCE: usize = 4;
/// Archives that are unpacked at once.
const UNPACKED_AT_ONCE: usize = 1;
/// Pictures that are decoded at once. Memory is what it costs, and a decoder uses one core anyway.
const DECODED_AT_ONCE: usize = 1;
/// Bytes a decoder may allocate for each pixel that is allowed: 8 bits of red, green, blue and alpha.
const BYTES_PER_PIXEL: u64 = 4;
/// How often expired uploads are looked for.
const EXPIRY_EVERY: Duration = Duration::from_mins(10);
/// Facts are short, also those of two hundred pictures with long names; more than this is something else.
const FACTS_BYTES: u64 = 512 * 1024;

/// The rules of uploads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadRules {
    /// What may be uploaded.
    pub limits: UploadLimits,
    /// How long an upload that no brand uses is kept.
    pub keep: Duration,
}

/// What uploads share: turns, and when to look for expired ones.
pub(super) struct Uploads {
    receiving: Semaphore,
    pub(super) archives: Semaphore,
    pub(super) unpacking: Semaphore,
    decoding: Arc<Semaphore>,
    next_expiry: Mutex<Timestamp>,
}

impl Default for Uploads {
    fn default() -> Self {
        Self {
            receiving: Semaphore::new(RECEIVED_AT_ONCE),
            archives: Semaphore::new(ARCHIVES_AT_ONCE),
            unpacking: Semaphore::new(UNPACKED_AT_ONCE),
            decoding: Arc::new(Semaphore::new(DECODED_AT_ONCE)),
            next_expiry: Mutex::new(Timestamp::MIN),
        }
    }
}

/// A place for a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadTarget {
    /// Its name.
    pub id: UploadId,
    /// The media type that was announced.
    pub content_type: &'static str,
    /// Until when the picture should have been sent.
    pub expires_at: Timestamp,
    /// Where it is sent, when that is not the gateway.
    pub direct: Option<SignedUpload>,
}

/// A picture that was uploaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Uploaded {
    /// What is known of it.
    #[serde(flatten)]
    pub facts: ImageFacts,
    /// Where it is.
    pub(super) key: String,
    /// SHA-256 of the bytes that were sent, in hex: tells a repeat from another picture.
    source: String,
}

/// What is noted of an upload, once somebody has looked at it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Facts {
    /// It is a picture.
    Taken(Uploaded),
    /// It is no usable one.
    Refused {
        /// Why.
        refused: String,
    },
    /// It is an archive.
    Unpacked(Unpacked),
    /// It is no usable one.
    RefusedArchive {
        /// Why.
        refused_archive: String,
    },
}

/// Why an upload was not taken.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// What was sent is no usable picture.
    #[error(transparent)]
    Refused(#[from] PictureError),
    /// What was sent is no usable archive.
    #[error(transparent)]
    RefusedArchive(#[from] ArchiveError),
    /// Another file was sent under this id before.
    #[error("another file was uploaded under this id")]
    Taken,
    /// A backend failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

impl Jobs {
    /// A place for a file of the user. Nothing is written before the file comes.
    pub async fn offer_upload(&self, user: &UserId, announced: Announced) -> Result<UploadTarget, BackendError> {
        let Announced { content_type, size } = announced;
        let (id, now) = (UploadId::random(&*self.ports.random), self.now());
        let raw = if announced.is_archive() { MediaKey::raw_archive } else { MediaKey::raw_upload }(user, &id);
        let direct = self.ports.media.upload_url(&raw, content_type, size, now).await?;
        let expires_at =
            direct.as_ref().map_or_else(|| after(now, self.config.uploads.keep), |direct| direct.expires_at);
        Ok(UploadTarget { id, content_type, expires_at, direct })
    }

    /// Waits for the permit to receive a file into memory.
    pub async fn upload_permit(&self) -> Result<SemaphorePermit<'_>, BackendError> {
        let permit = self.uploads.receiving.acquire().await;
        permit.map_err(|closed| BackendError::new(ErrorKind::Internal, "uploads.permit").because(closed))
    }

    /// Takes a picture. The same bytes again are answered as the first time; others under the same id are refused.
    pub async fn take_upload(&self, user: &UserId, id: &UploadId, bytes: Bytes) -> Result<Uploaded, UploadError> {
        let sent = bytes.clone();
        // Tens of milliseconds for a large file: not on the threads that answer everybody.
        let digest = tokio::task::spawn_blocking(move || Sha256::digest(&sent)).await.map_err(defect)?;
        let source = hex(&digest);
        if let Some(earlier) = self.facts(user, id).await? {
            return same(earlier, &source);
        }
        let kept = self.decoded(bytes).await?;
        let content = digest.iter().take(8).fold(0, |content, byte| content << 8 | u64::from(*byte));
        let key = MediaKey::upload(user, id, content, kept.format);
        let uploaded = Uploaded {
            facts: ImageFacts { width: kept.width, height: kept.height, fingerprint: kept.fingerprint },
            key: key.to_string(),
            source,
        };
        // The picture first: facts are the sign that both are there. The key names the content, so a picture that is
        // there already, from a sender who went away, is this one.
        existing_is_fine(self.ports.media.put(&key, kept.format, kept.bytes).await)?;
        match self.note(user, id, &Facts::Taken(uploaded.clone())).await {
            Ok(()) => Ok(uploaded),
            Err(error) if error.kind == ErrorKind::AlreadyExists => {
                let earlier = self.facts(user, id).await?.ok_or(UploadError::Taken)?;
                same(earlier, &uploaded.source)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Writes down what an upload is, once and for all.
    pub(super) async fn note(&self, user: &UserId, id: &UploadId, facts: &Facts) -> Result<(), BackendError> {
        let json = serde_json::to_vec(facts).map_err(defect)?;
        self.ports.media.put(&MediaKey::upload_facts(user, id), MediaFormat::Json, json.into()).await
    }

    /// What the user has uploaded under an id; `None` when nothing that is usable, or no longer.
    pub async fn uploaded(&self, user: &UserId, id: &UploadId) -> Result<Option<Uploaded>, BackendError> {
        Ok(self.facts(user, id).await?.and_then(|facts| match facts {
            Facts::Taken(uploaded) => Some(uploaded),
            Facts::Refused { .. } | Facts::Unpacked(_) | Facts::RefusedArchive { .. } => None,
        }))
    }

    /// What is noted of an upload; `None` when nobody has looked at one of this id.
    pub(super) async fn facts(&self, user: &UserId, id: &UploadId) -> Result<Option<Facts>, BackendError> {
        const OP: &str = "uploads.facts";
        let broken = |why: &dyn std::fmt::Display| BackendError::new(ErrorKind::Broken, OP).because(why.to_string());
        let key = MediaKey::upload_facts(user, id);
        let Some(read) = self.ports.media.get(&key, None).await? else { return Ok(None) };
        if read.info.length > FACTS_BYTES {
            return Err(broken(&format!("{key} is too long to be facts")));
        }
        let chunks: Vec<Bytes> = read.body.try_collect().await.map_err(|error| broken(&error))?;
        serde_json::from_slice(&chunks.concat()).map(Some).map_err(|error| broken(&format!("{key}: {error}")))
    }

    /// Removes uploads that are too old, now and then. A failure is logged: the next round does it.
    pub(super) async fn expire_uploads(&self) {
        let now = self.now();
        {
            let mut next = self.uploads.next_expiry.lock().unwrap_or_else(PoisonError::into_inner);
            if now < *next {
                return;
            }
            *next = after(now, EXPIRY_EVERY);
        }
        let before = now.checked_sub(self.config.uploads.keep).unwrap_or(Timestamp::MIN);
        match self.ports.media.expire("uploads/", before).await {
            Ok(0) => {}
            Ok(files) => tracing::info!(files, "expired uploads removed"),
            Err(error) => tracing::warn!(%error, "expired uploads could not be removed"),
        }
    }

    async fn decoded(&self, bytes: Bytes) -> Result<Kept, UploadError> {
        let UploadLimits { max_bytes, max_pixels, .. } = self.config.uploads.limits;
        let limits = DecodeLimits { max_bytes, max_pixels, max_alloc: max_pixels.saturating_mul(BYTES_PER_PIXEL) };
        let permit = Arc::clone(&self.uploads.decoding).acquire_owned().await.map_err(defect)?;
        let work = tokio::task::spawn_blocking(move || {
            let kept = keep(bytes, &limits);
            // Held until the memory is free again, also when the sender has gone away meanwhile.
            drop(permit);
            kept
        });
        Ok(work.await.map_err(defect)??)
    }
}

pub(super) fn hex(digest: &[u8]) -> String {
    digest.iter().fold(String::with_capacity(64), |hex, byte| hex + &format!("{byte:02x}"))
}

pub(super) fn defect(why: impl std::error::Error + Send + Sync + 'static) -> BackendError {
    BackendError::new(ErrorKind::Internal, "uploads.take").because(why)
}

fn same(earlier: Facts, source: &str) -> Result<Uploaded, UploadError> {
    match earlier {
        Facts::Taken(uploaded) if uploaded.source == source => Ok(uploaded),
        // A place takes one file, whatever became of it.
        _ => Err(UploadError::Taken),
    }
}

/// Creating what is there already is no failure where the key says what it must be.
pub(super) fn existing_is_fine<T: Default>(created: Result<T, BackendError>) -> Result<T, BackendError> {
    match created {
        Err(error) if error.kind == ErrorKind::AlreadyExists => Ok(T::default()),
        created => created,
    }
}
