//! Submit a training: check the images, copy them, then submit like every other job. Nothing is held before every image
//! has passed its check.

use super::{
    DatasetCheck, ImageChecks, Submission, SubmitError, Submitted, Submitter, UploadedPicture, dataset::unfit,
};
use crate::{
    domain::{
        brand::{BrandSpec, ImageCheck, TrainOrder, TrainRequest, TrainingImage},
        ids::{JobId, UserId},
        job::Work,
        kind::JobKind,
    },
    error::{BackendError, ErrorKind},
    media::{MediaFormat, MediaKey},
};

impl Submission {
    /// Accepts a training. When this returns `Ok`, the job, its hold and its copies of the images are durable.
    pub async fn submit_brand(&self, request: &TrainRequest, caller: Submitter) -> Result<Submitted, SubmitError> {
        let order = request.validate(&self.settings.brand_limits).map_err(SubmitError::Invalid)?;
        let user = caller.user.clone();
        let request_hash = order.hash(&user);
        let id = self.job_id(JobKind::Brand, &caller);
        if caller.idempotency_key.is_some()
            // A repeat must find its job even after the uploads have expired.
            && let Some(job) = self.writer.store.get(&id).await?
        {
            return Submitted::replay(job, &request_hash);
        }
        let check = self.check_order(&user, order).await?;
        if !check.is_fit() {
            return Err(unfit(check.verdicts));
        }
        let team = self.accounts.team_of(&user).await?;
        let DatasetCheck { order: TrainOrder { name, colors, .. }, uploads, verdicts, .. } = check;
        let images = self.copy_uploads(&user, &id, verdicts, uploads.into_iter().flatten()).await?;
        let work = Work::Brand(BrandSpec { name, colors, images: images.clone() });
        let accepted = self.accept(caller, id, team, work, request_hash).await;
        let uses_copies = match &accepted {
            Ok(submitted) => !submitted.replayed,
            // The job may have been written. Unused copies are better than a job without its images.
            Err(SubmitError::Backend(error)) => error.kind == ErrorKind::Timeout,
            Err(_) => false,
        };
        if !uses_copies {
            self.delete_copies(&images).await;
        }
        accepted
    }

    /// Copies the uploads into the brand. When an upload has just expired, no copy is left behind.
    async fn copy_uploads(
        &self,
        user: &UserId,
        id: &JobId,
        mut verdicts: ImageChecks,
        uploads: impl Iterator<Item = UploadedPicture>,
    ) -> Result<Vec<TrainingImage>, SubmitError> {
        let fence = self.random.next_u64();
        let mut images = Vec::with_capacity(verdicts.len());
        for (n, upload) in uploads.enumerate() {
            let UploadedPicture { facts, key, .. } = upload;
            let copied = match copy_keys(user, id, fence, n, &key) {
                Ok((from, to)) => match self.media.copy(&from, &to).await {
                    // The fence is drawn for this submission alone, so this is our own copy whose reply was lost.
                    Err(error) if error.kind == ErrorKind::AlreadyExists => Ok(Some(to)),
                    copied => copied.map(|found| found.then_some(to)),
                },
                Err(error) => Err(error),
            };
            match copied {
                Ok(Some(to)) => {
                    images.push(TrainingImage { key: to.to_string(), width: facts.width, height: facts.height });
                }
                Ok(None) => {
                    self.delete_copies(&images).await;
                    verdicts[n].verdict = ImageCheck::Missing;
                    return Err(unfit(verdicts));
                }
                Err(error) => {
                    self.delete_copies(&images).await;
                    return Err(error.into());
                }
            }
        }
        Ok(images)
    }

    /// Deletes the copies of a refused submission. After a failure they only waste space.
    async fn delete_copies(&self, images: &[TrainingImage]) {
        for image in images {
            let Ok(key) = image.key.parse::<MediaKey>() else { continue };
            if let Err(error) = self.media.delete(&key).await {
                tracing::warn!(%key, %error, "the copy of a training image stays behind");
            }
        }
    }
}

/// The key of an upload, and the key of the brand's copy of it.
fn copy_keys(
    user: &UserId,
    id: &JobId,
    fence: u64,
    n: usize,
    upload: &str,
) -> Result<(MediaKey, MediaKey), BackendError> {
    let broken = || {
        BackendError::new(ErrorKind::Broken, "uploads.copy").because(format!("{upload:?} is not the key of an image"))
    };
    let from: MediaKey = upload.parse().map_err(|_| broken())?;
    let format = MediaFormat::of_key(&from).ok_or_else(broken)?;
    Ok((from, MediaKey::training(user, id, fence, n, format)))
}
