//! Archives: their images are received like single uploads, once, and one image in memory at a time.
//!
//! The record of an archive lists its images and is written last. Until then every step may be repeated: the id of an
//! image follows from the archive's id, its content and the image's position, so a repeat finds what exists already.

use std::fs::File;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::{io::AsyncWriteExt as _, sync::SemaphorePermit};

use super::{UploadError, UploadRecord, UploadedPicture, Uploads, defect};
use crate::{
    domain::{archive::ArchiveLimits, brand::UploadContent, hex, ids::UserId, upload::UploadId},
    error::{BackendError, ErrorKind},
    media::{
        archive::{Archive, ArchivePicture, ArchiveReadError, digest},
        image::PictureError,
    },
};

/// The content of an uploaded archive.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UploadedArchive {
    /// Its images, sorted by name.
    pub(in crate::jobs::submission) pictures: Vec<ArchiveEntry>,
    /// SHA-256 of the archive, in hex; distinguishes a repeat from another archive.
    source: String,
}

/// An image of an archive.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::jobs::submission) struct ArchiveEntry {
    /// Its path in the archive.
    pub(in crate::jobs::submission) name: String,
    #[serde(flatten)]
    picture: ReceivedEntry,
    /// The error in its caption, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    caption: Option<String>,
}

/// Stored in records of archives, so the names of the variants stay.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum ReceivedEntry {
    Taken(UploadedPicture),
    Refused(String),
}

impl ArchiveEntry {
    /// What is checked, and the image that is copied if it passes.
    pub(in crate::jobs::submission) fn to_check(&self) -> (UploadContent, Option<UploadedPicture>) {
        match (&self.picture, &self.caption) {
            (ReceivedEntry::Refused(reason), _) => (UploadContent::NotAnImage(reason.clone()), None),
            (ReceivedEntry::Taken(_), Some(error)) => (UploadContent::BadCaption(error.clone()), None),
            (ReceivedEntry::Taken(picture), None) => (UploadContent::Picture(picture.facts), Some(picture.clone())),
        }
    }
}

impl UploadedArchive {
    /// How many images the archive contains, usable or not.
    pub fn count(&self) -> usize {
        self.pictures.len()
    }
}

/// An unnamed temporary file. The system frees its space when it is dropped.
pub struct Spool(tokio::fs::File);

impl Spool {
    /// Creates an empty file in the system's directory for temporary files.
    pub async fn new() -> Result<Self, BackendError> {
        let file = tokio::task::spawn_blocking(tempfile::tempfile).await.map_err(defect)?;
        Ok(Self(tokio::fs::File::from_std(file.map_err(spool_failed)?)))
    }

    /// Appends bytes.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), BackendError> {
        self.0.write_all(bytes).await.map_err(spool_failed)
    }

    /// The file, once everything is written.
    pub async fn finish(mut self) -> Result<File, BackendError> {
        self.0.flush().await.map_err(spool_failed)?;
        Ok(self.0.into_std().await)
    }
}

impl Uploads {
    /// Waits until an archive may be received into a temporary file.
    pub async fn archive_permit(&self) -> Result<SemaphorePermit<'_>, BackendError> {
        let permit = self.archives.acquire().await;
        permit.map_err(|closed| BackendError::new(ErrorKind::Internal, "uploads.permit").because(closed))
    }

    /// Stores the images of an archive. The same archive again gives the same result; another one under the same id is
    /// refused. An image that cannot be used is recorded with the others, unless the archive is refused as a whole.
    pub async fn receive_archive(
        &self,
        user: &UserId,
        id: &UploadId,
        mut file: File,
    ) -> Result<UploadedArchive, UploadError> {
        let _permit = self.unpacking.acquire().await.map_err(defect)?;
        let digested = blocking(move || digest(&mut file).map(|content| (content, file))).await?;
        let (content, file) = digested.map_err(spool_failed)?;
        let source = hex::encode(&content);
        if let Some(earlier) = self.record(user, id).await? {
            return same_archive(earlier, &source);
        }
        let limits = ArchiveLimits::of_pictures(self.max_images, self.settings.limits.max_bytes as u64);
        let mut archive = blocking(move || Archive::open(file, limits)).await?.map_err(archive_error)?;
        let mut pictures = Vec::with_capacity(archive.len());
        loop {
            // Held until the image is stored, as for every other file in memory.
            let _in_memory = self.receive_permit().await?;
            let n = pictures.len();
            let (opened, next) = blocking(move || {
                let next = archive.picture(n);
                (archive, next)
            })
            .await?;
            archive = opened;
            let Some(ArchivePicture { name, picture, caption }) = next.map_err(archive_error)? else { break };
            let picture = match picture {
                Ok(bytes) => self.receive_entry(user, &UploadId::derived(id, &content, n), bytes).await?,
                Err(reason) => ReceivedEntry::Refused(reason),
            };
            pictures.push(ArchiveEntry { name, picture, caption });
        }
        let archive = UploadedArchive { pictures, source: source.clone() };
        same_archive(self.record_once(user, id, UploadRecord::Archive(archive)).await?, &source)
    }

    async fn receive_entry(&self, user: &UserId, id: &UploadId, bytes: Bytes) -> Result<ReceivedEntry, UploadError> {
        match self.receive_picture(user, id, bytes).await {
            Ok(picture) => Ok(ReceivedEntry::Taken(picture)),
            // A failure to encode is a defect of this program and not of the image.
            Err(UploadError::Refused(error @ PictureError::Encode(_))) => Err(defect(error).into()),
            Err(UploadError::Refused(reason)) => Ok(ReceivedEntry::Refused(reason.to_string())),
            Err(error) => Err(error),
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, BackendError> {
    tokio::task::spawn_blocking(work).await.map_err(defect)
}

fn same_archive(record: UploadRecord, source: &str) -> Result<UploadedArchive, UploadError> {
    match record {
        UploadRecord::Archive(archive) if archive.source == source => Ok(archive),
        _ => Err(UploadError::Taken),
    }
}

fn archive_error(error: ArchiveReadError) -> UploadError {
    match error {
        ArchiveReadError::Refused(reason) => UploadError::RefusedArchive(reason),
        ArchiveReadError::File(error) => spool_failed(error).into(),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` calls")]
fn spool_failed(error: std::io::Error) -> BackendError {
    let reason = format!("a temporary file in {}: {error}", std::env::temp_dir().display());
    BackendError::new(ErrorKind::Broken, "uploads.spool").because(reason)
}
