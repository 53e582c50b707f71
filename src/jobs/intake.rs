//! What clients have put into the media store by themselves: looked at before it is used, as if it came through the gateway.
//!
//! A raw file is what anybody may have written. It is read once, taken like every upload or noted as refused, and removed.
//! All of it may be repeated, by several at once: facts are created once, and who comes second finds them.

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    Jobs,
    uploads::{Facts, UploadError, defect, existing_is_fine},
};
use crate::{
    domain::{ids::UserId, upload::UploadId},
    error::{BackendError, ErrorKind},
    media::{MediaKey, image::PictureError},
};

/// Uploads of a request that are looked at together. What they hold in memory, `upload_permit` bounds for everybody.
const LOOKED_AT_TOGETHER: usize = 4;

impl Jobs {
    /// What is known of several uploads, in order, after a look at those that nobody has looked at yet.
    pub(super) async fn all_looked_at(
        &self,
        user: &UserId,
        ids: &[UploadId],
    ) -> Result<Vec<Option<Facts>>, BackendError> {
        let looks: Vec<_> = ids.iter().map(|id| self.looked_at(user, id)).collect();
        stream::iter(looks).buffered(LOOKED_AT_TOGETHER).try_collect().await
    }

    async fn looked_at(&self, user: &UserId, id: &UploadId) -> Result<Option<Facts>, BackendError> {
        if let Some(facts) = self.facts(user, id).await? {
            return Ok(Some(facts));
        }
        let (picture, archive) = (MediaKey::raw_upload(user, id), MediaKey::raw_archive(user, id));
        let (raw, facts) = if self.ports.media.head(&picture).await?.is_some() {
            let facts = self.look_at(user, id, &picture).await?;
            (picture, facts)
        } else if self.ports.media.head(&archive).await?.is_some() {
            let facts = self.look_into(user, id, &archive).await?;
            (archive, facts)
        } else {
            // Somebody else may have taken it between these looks.
            return self.facts(user, id).await;
        };
        // Its facts say everything; what stays after a failure expires.
        if let Err(error) = self.ports.media.delete(&raw).await {
            tracing::warn!(key = %raw, %error, "a file that was looked at stays until it expires");
        }
        Ok(facts)
    }

    async fn look_at(&self, user: &UserId, id: &UploadId, raw: &MediaKey) -> Result<Option<Facts>, BackendError> {
        let permit = self.upload_permit().await?;
        let facts = match self.read_raw(raw).await? {
            None => self.facts(user, id).await?,
            Some(Ok(bytes)) => self.taken_in(user, id, bytes).await?,
            Some(Err(refused)) => self.refused(user, id, &refused).await?,
        };
        drop(permit);
        Ok(facts)
    }

    async fn taken_in(&self, user: &UserId, id: &UploadId, bytes: Bytes) -> Result<Option<Facts>, BackendError> {
        match self.take_upload(user, id, bytes).await {
            Ok(uploaded) => Ok(Some(Facts::Taken(uploaded))),
            // That is this program's failure, not the picture's.
            Err(UploadError::Refused(error @ PictureError::Encode(_))) => Err(defect(error)),
            Err(UploadError::Refused(refused)) => self.refused(user, id, &refused).await,
            Err(UploadError::RefusedArchive(error)) => Err(defect(error)),
            // Through the gateway, meanwhile: that one counts.
            Err(UploadError::Taken) => self.facts(user, id).await,
            Err(UploadError::Backend(error)) => Err(error),
        }
    }

    /// Notes a refusal, so that the file need not be kept to say the same again.
    async fn refused(&self, user: &UserId, id: &UploadId, why: &PictureError) -> Result<Option<Facts>, BackendError> {
        tracing::info!(upload.id = %id, user.id = %user, %why, "an upload is no usable picture");
        existing_is_fine(self.note(user, id, &Facts::Refused { refused: why.to_string() }).await)?;
        self.facts(user, id).await
    }

    /// The file in memory, if it is there and not too large for that.
    async fn read_raw(&self, raw: &MediaKey) -> Result<Option<Result<Bytes, PictureError>>, BackendError> {
        let Some(read) = self.ports.media.get(raw, None).await? else { return Ok(None) };
        let max = self.config.uploads.limits.max_bytes;
        let bytes = usize::try_from(read.info.length).unwrap_or(usize::MAX);
        if bytes > max {
            return Ok(Some(Err(PictureError::TooManyBytes { bytes, max })));
        }
        let mut whole = Vec::with_capacity(bytes);
        let mut body = read.body;
        let broke_off = |why: &dyn std::fmt::Display| {
            BackendError::new(ErrorKind::Unavailable, "uploads.look").because(format!("{raw} broke off: {why}"))
        };
        while let Some(chunk) = body.try_next().await.map_err(|error| broke_off(&error))? {
            whole.extend_from_slice(&chunk);
        }
        if whole.len() == bytes {
            Ok(Some(Ok(whole.into())))
        } else {
            Err(broke_off(&format!("{} of {bytes} bytes came", whole.len())))
        }
    }
}
