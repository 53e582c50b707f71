//! Archives: what is in them is taken in like single uploads, once, one picture in memory at a time.
//!
//! An archive's facts list its pictures and are written last. Until then all of it may be repeated: a picture's id follows
//! from the archive's id and content and its position, so who comes second finds what is there.

use std::fs::File;

use bytes::Bytes;
use futures::TryStreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::{io::AsyncWriteExt as _, sync::SemaphorePermit};

use super::{
    Jobs,
    uploads::{Facts, UploadError, Uploaded, defect, existing_is_fine, hex},
};
use crate::{
    domain::{
        archive::{ArchiveError, ArchiveLimits},
        brand::Upload,
        ids::UserId,
        upload::UploadId,
    },
    error::{BackendError, ErrorKind},
    media::{
        MediaKey,
        archive::{Archive, Failure, Member, digest},
        image::PictureError,
    },
};

/// What an archive turned out to hold.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unpacked {
    /// Its pictures, sorted by name.
    pub(super) pictures: Vec<Entry>,
    /// SHA-256 of the archive, in hex: tells a repeat from another one.
    source: String,
}

/// A picture of an archive.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    /// Its path in the archive.
    pub(super) name: String,
    /// What it turned out to be.
    #[serde(flatten)]
    pub(super) picture: EntryPicture,
    /// What is wrong with its caption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    caption: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum EntryPicture {
    Taken(Uploaded),
    Refused(String),
}

impl Entry {
    /// What is judged, and what is copied when it is fit.
    pub(super) fn judged(&self) -> (Upload, Option<Uploaded>) {
        match (&self.picture, &self.caption) {
            (EntryPicture::Refused(why), _) => (Upload::NotAnImage(why.clone()), None),
            (EntryPicture::Taken(_), Some(why)) => (Upload::BadCaption(why.clone()), None),
            (EntryPicture::Taken(uploaded), None) => (Upload::Picture(uploaded.facts), Some(uploaded.clone())),
        }
    }
}

impl Unpacked {
    /// How many pictures were looked at, fit or not.
    pub fn count(&self) -> usize {
        self.pictures.len()
    }
}

/// A file of no name that is written before it is read. Its space is given back when it is dropped.
pub struct Spool(tokio::fs::File);

impl Spool {
    /// An empty one, where the system keeps temporary files.
    pub async fn new() -> Result<Self, BackendError> {
        let file = tokio::task::spawn_blocking(tempfile::tempfile).await.map_err(defect)?;
        Ok(Self(tokio::fs::File::from_std(file.map_err(spool_failed)?)))
    }

    /// Appends bytes.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), BackendError> {
        self.0.write_all(bytes).await.map_err(spool_failed)
    }

    /// The file, once everything is in it.
    pub async fn finish(mut self) -> Result<File, BackendError> {
        self.0.flush().await.map_err(spool_failed)?;
        Ok(self.0.into_std().await)
    }
}

impl Jobs {
    /// Waits for the permit to receive an archive into a temporary file.
    pub async fn archive_permit(&self) -> Result<SemaphorePermit<'_>, BackendError> {
        let permit = self.uploads.archives.acquire().await;
        permit.map_err(|closed| BackendError::new(ErrorKind::Internal, "uploads.permit").because(closed))
    }

    /// Takes an archive of pictures. The same one again is answered as the first time; another under the same id is
    /// refused. What cannot be used of it is noted with the rest, unless the archive is refused as a whole.
    pub async fn take_archive(&self, user: &UserId, id: &UploadId, mut file: File) -> Result<Unpacked, UploadError> {
        let permit = self.uploads.unpacking.acquire().await.map_err(defect)?;
        let digested = blocking(move || digest(&mut file).map(|content| (content, file))).await?;
        let (content, file) = digested.map_err(spool_failed)?;
        let source = hex(&content);
        if let Some(earlier) = self.facts(user, id).await? {
            return same(earlier, &source);
        }
        let limits = self.archive_limits();
        let mut archive = blocking(move || Archive::open(file, limits)).await?.map_err(refused)?;
        let mut pictures = Vec::with_capacity(archive.len());
        loop {
            // Held until the picture is kept, as for every other file in memory.
            let in_memory = self.upload_permit().await?;
            let n = pictures.len();
            let (opened, member) = blocking(move || {
                let member = archive.member(n);
                (archive, member)
            })
            .await?;
            archive = opened;
            let Some(Member { name, picture, caption }) = member.map_err(refused)? else { break };
            let picture = match picture {
                Ok(bytes) => self.entry_taken(user, &UploadId::derived(id, &content, n), bytes).await?,
                Err(why) => EntryPicture::Refused(why),
            };
            drop(in_memory);
            pictures.push(Entry { name, picture, caption });
        }
        let unpacked = Unpacked { pictures, source };
        let noted = self.note(user, id, &Facts::Unpacked(unpacked.clone())).await;
        drop(permit);
        match noted {
            Ok(()) => Ok(unpacked),
            Err(error) if error.kind == ErrorKind::AlreadyExists => {
                let earlier = self.facts(user, id).await?.ok_or(UploadError::Taken)?;
                same(earlier, &unpacked.source)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn entry_taken(&self, user: &UserId, id: &UploadId, bytes: Bytes) -> Result<EntryPicture, UploadError> {
        match self.take_upload(user, id, bytes).await {
            Ok(uploaded) => Ok(EntryPicture::Taken(uploaded)),
            // That is this program's failure, not the picture's.
            Err(UploadError::Refused(error @ PictureError::Encode(_))) => Err(defect(error).into()),
            Err(UploadError::Refused(why)) => Ok(EntryPicture::Refused(why.to_string())),
            Err(error) => Err(error),
        }
    }

    /// What an archive in the media store is, after a look into it.
    pub(super) async fn look_into(
        &self,
        user: &UserId,
        id: &UploadId,
        raw: &MediaKey,
    ) -> Result<Option<Facts>, BackendError> {
        let permit = self.archive_permit().await?;
        let facts = match self.fetched(raw).await? {
            None => self.facts(user, id).await?,
            Some(Err(why)) => self.archive_refused(user, id, &why).await?,
            Some(Ok(file)) => match self.take_archive(user, id, file).await {
                Ok(unpacked) => Some(Facts::Unpacked(unpacked)),
                Err(UploadError::RefusedArchive(why)) => self.archive_refused(user, id, &why).await?,
                Err(UploadError::Taken) => self.facts(user, id).await?,
                Err(UploadError::Backend(error)) => return Err(error),
                Err(UploadError::Refused(error)) => return Err(defect(error)),
            },
        };
        drop(permit);
        Ok(facts)
    }

    async fn archive_refused(
        &self,
        user: &UserId,
        id: &UploadId,
        why: &ArchiveError,
    ) -> Result<Option<Facts>, BackendError> {
        tracing::info!(upload.id = %id, user.id = %user, %why, "an upload is no usable archive");
        let refused_archive = why.to_string();
        existing_is_fine(self.note(user, id, &Facts::RefusedArchive { refused_archive }).await)?;
        self.facts(user, id).await
    }

    /// The archive in a temporary file, if it is there and not too large.
    async fn fetched(&self, raw: &MediaKey) -> Result<Option<Result<File, ArchiveError>>, BackendError> {
        let Some(read) = self.ports.media.get(raw, None).await? else { return Ok(None) };
        let (bytes, max) = (read.info.length, self.config.uploads.limits.max_archive_bytes as u64);
        if bytes > max {
            return Ok(Some(Err(ArchiveError::TooManyBytes { bytes, max })));
        }
        let broke_off = |why: String| {
            BackendError::new(ErrorKind::Unavailable, "uploads.look").because(format!("{raw} broke off: {why}"))
        };
        let (mut spool, mut body, mut come) = (Spool::new().await?, read.body, 0_u64);
        while let Some(chunk) = body.try_next().await.map_err(|error| broke_off(error.to_string()))? {
            come += chunk.len() as u64;
            if come > bytes {
                break;
            }
            spool.write(&chunk).await?;
        }
        if come != bytes {
            return Err(broke_off(format!("{come} of {bytes} bytes came")));
        }
        Ok(Some(Ok(spool.finish().await?)))
    }

    fn archive_limits(&self) -> ArchiveLimits {
        ArchiveLimits::of_pictures(self.config.brand_limits.max_images, self.config.uploads.limits.max_bytes as u64)
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, BackendError> {
    tokio::task::spawn_blocking(work).await.map_err(defect)
}

fn same(earlier: Facts, source: &str) -> Result<Unpacked, UploadError> {
    match earlier {
        Facts::Unpacked(unpacked) if unpacked.source == source => Ok(unpacked),
        _ => Err(UploadError::Taken),
    }
}

fn refused(failure: Failure) -> UploadError {
    match failure {
        Failure::Refused(why) => UploadError::RefusedArchive(why),
        Failure::File(error) => spool_failed(error).into(),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` calls")]
fn spool_failed(error: std::io::Error) -> BackendError {
    let why = format!("a temporary file in {}: {error}", std::env::temp_dir().display());
    BackendError::new(ErrorKind::Broken, "uploads.spool").because(why)
}
