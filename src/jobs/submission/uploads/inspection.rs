//! Inspect files that clients have put into the media store directly, as if they came through the gateway.
//!
//! Anybody with the signed URL may have written such a raw file. It is read once, accepted like every upload or recorded
//! as refused, and then deleted. Each step may be repeated, and by several requests at once: a record is written only once,
//! and later requests find it.

use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};

use super::{UploadError, UploadRecord, Uploads, archive::Spool, defect};
use crate::{
    domain::{archive::ArchiveError, ids::UserId, upload::UploadId},
    error::{BackendError, ErrorKind},
    media::{MediaKey, MediaRead, image::PictureError},
};

/// Uploads of one request that are inspected at once. The semaphores of [`Uploads`] bound their memory for all requests.
const INSPECTED_AT_ONCE: usize = 4;

impl Uploads {
    /// The records of several uploads, in order. Uploads without a record are inspected first; `None` means that there is
    /// no such upload.
    pub(in crate::jobs::submission) async fn inspect_all(
        &self,
        user: &UserId,
        ids: &[UploadId],
    ) -> Result<Vec<Option<UploadRecord>>, BackendError> {
        let inspections: Vec<_> = ids.iter().map(|id| self.inspect(user, id)).collect();
        stream::iter(inspections).buffered(INSPECTED_AT_ONCE).try_collect().await
    }

    async fn inspect(&self, user: &UserId, id: &UploadId) -> Result<Option<UploadRecord>, BackendError> {
        if let Some(record) = self.record(user, id).await? {
            return Ok(Some(record));
        }
        let (picture, archive) = (MediaKey::raw_upload(user, id), MediaKey::raw_archive(user, id));
        let (raw, record) = if self.media.head(&picture).await?.is_some() {
            let record = self.inspect_picture(user, id, &picture).await?;
            (picture, record)
        } else if self.media.head(&archive).await?.is_some() {
            let record = self.inspect_archive(user, id, &archive).await?;
            (archive, record)
        } else {
            // Another request may have inspected it since the first look.
            return self.record(user, id).await;
        };
        // The record says everything. A raw file that cannot be deleted expires.
        if let Err(error) = self.media.delete(&raw).await {
            tracing::warn!(key = %raw, %error, "an inspected file stays until it expires");
        }
        Ok(record)
    }

    async fn inspect_picture(
        &self,
        user: &UserId,
        id: &UploadId,
        raw: &MediaKey,
    ) -> Result<Option<UploadRecord>, BackendError> {
        let _permit = self.receive_permit().await?;
        let Some(read) = self.media.get(raw, None).await? else { return self.record(user, id).await };
        let max = self.settings.limits.max_bytes;
        let bytes = usize::try_from(read.info.length).unwrap_or(usize::MAX);
        let received = if bytes > max {
            Err(UploadError::Refused(PictureError::TooManyBytes { bytes, max }))
        } else {
            let mut whole = Vec::with_capacity(bytes);
            let mut chunks = Box::pin(chunks_of_whole(raw, read));
            while let Some(chunk) = chunks.try_next().await? {
                whole.extend_from_slice(&chunk);
            }
            self.receive_picture(user, id, whole.into()).await.map(UploadRecord::Picture)
        };
        self.record_of(user, id, received).await
    }

    async fn inspect_archive(
        &self,
        user: &UserId,
        id: &UploadId,
        raw: &MediaKey,
    ) -> Result<Option<UploadRecord>, BackendError> {
        let _permit = self.archive_permit().await?;
        let Some(read) = self.media.get(raw, None).await? else { return self.record(user, id).await };
        let (bytes, max) = (read.info.length, self.settings.limits.max_archive_bytes as u64);
        let received = if bytes > max {
            Err(UploadError::RefusedArchive(ArchiveError::TooManyBytes { bytes, max }))
        } else {
            let mut spool = Spool::new().await?;
            let mut chunks = Box::pin(chunks_of_whole(raw, read));
            while let Some(chunk) = chunks.try_next().await? {
                spool.write(&chunk).await?;
            }
            self.receive_archive(user, id, spool.finish().await?).await.map(UploadRecord::Archive)
        };
        self.record_of(user, id, received).await
    }

    /// The record that follows from receiving a raw file. A refusal is recorded, so that the file can be deleted.
    async fn record_of(
        &self,
        user: &UserId,
        id: &UploadId,
        received: Result<UploadRecord, UploadError>,
    ) -> Result<Option<UploadRecord>, BackendError> {
        let refusal = match received {
            Ok(record) => return Ok(Some(record)),
            // A failure to encode is a defect of this program and not of the image.
            Err(UploadError::Refused(error @ PictureError::Encode(_))) => return Err(defect(error)),
            Err(UploadError::Refused(reason)) => {
                tracing::info!(upload.id = %id, user.id = %user, why = %reason, "an upload is not a usable image");
                UploadRecord::RefusedPicture { refused: reason.to_string() }
            }
            Err(UploadError::RefusedArchive(reason)) => {
                tracing::info!(upload.id = %id, user.id = %user, why = %reason, "an upload is not a usable archive");
                UploadRecord::RefusedArchive { refused_archive: reason.to_string() }
            }
            // Another file came through the gateway meanwhile; that one counts.
            Err(UploadError::Taken) => return self.record(user, id).await,
            Err(UploadError::Backend(error)) => return Err(error),
        };
        match self.record_once(user, id, refusal).await {
            Ok(record) => Ok(Some(record)),
            Err(UploadError::Backend(error)) => Err(error),
            // The existing record expired before it could be read.
            Err(_) => Ok(None),
        }
    }
}

/// The chunks of an object. The stream fails unless exactly the announced number of bytes arrives.
fn chunks_of_whole(raw: &MediaKey, read: MediaRead) -> impl Stream<Item = Result<Bytes, BackendError>> + use<> {
    let (raw, expected) = (raw.to_string(), read.info.length);
    let broken_off = move |reason: String| {
        BackendError::new(ErrorKind::Unavailable, "uploads.look").because(format!("{raw} broke off: {reason}"))
    };
    stream::unfold(Some((read.body, 0_u64)), move |state| {
        let broken_off = broken_off.clone();
        async move {
            let (mut body, received) = state?;
            let wrong_length = |received: u64| format!("{received} of {expected} bytes came");
            match body.next().await {
                Some(Ok(chunk)) => {
                    let received = received + chunk.len() as u64;
                    if received > expected {
                        return Some((Err(broken_off(wrong_length(received))), None));
                    }
                    Some((Ok(chunk), Some((body, received))))
                }
                Some(Err(error)) => Some((Err(broken_off(error.to_string())), None)),
                None if received == expected => None,
                None => Some((Err(broken_off(wrong_length(received))), None)),
            }
        }
    })
}
