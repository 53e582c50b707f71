//! Cleanup after a job: orphaned pictures, operations at a provider, and everything that a deleted job stored.
//!
//! A worker that loses its job removes its own pictures when it learns of the loss. A worker that is killed cannot, so the
//! next attempt removes them. Only a worker that is suspended until after the end of its job and is then killed leaves
//! pictures behind; they are removed with the job.

use std::{collections::HashSet, sync::Arc, time::Duration};

use super::breakers::{Breakers, call};
use crate::{
    domain::{
        ids::JobId,
        job::{Job, Output, State},
    },
    engine::{BrandTrainer, OperationId},
    error::BackendError,
    media::{MediaKey, MediaStore},
    store::{JobStore, Version},
};

/// How many objects of one job are listed at most.
const MAX_OBJECTS: usize = 1000;

/// How long cancelling an operation at the provider may take.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// Removes what jobs leave behind in the media store and at the trainer.
#[derive(Clone)]
pub(super) struct Cleanup {
    pub(super) store: Arc<dyn JobStore>,
    pub(super) media: Arc<dyn MediaStore>,
    pub(super) trainer: Arc<dyn BrandTrainer>,
    pub(super) breakers: Arc<Breakers>,
}

impl Cleanup {
    /// Cancels an operation at the provider whose job has ended without it. Best effort: the result would not be used.
    pub(super) async fn stop_training(&self, job: &JobId, operation: &str) {
        let id = OperationId(operation.to_owned());
        let trainer = Arc::clone(&self.trainer);
        let permit = self.breakers.permit_without_check(&trainer.route());
        let cancel = async move { trainer.cancel(&id).await };
        match call(permit, CANCEL_TIMEOUT, "stopping the training", cancel).await {
            Ok(()) => tracing::info!(job.id = %job, operation, "training stopped"),
            Err(failure) => tracing::warn!(job.id = %job, operation, %failure, "the training was not stopped"),
        }
    }

    /// Deletes the pictures that attempts up to the claim at version `last` stored and the finished job does not use. Best
    /// effort: what remains is deleted with the job.
    pub(super) async fn delete_orphans(&self, id: &JobId, last: Version) {
        match self.try_delete_orphans(id, last).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "removed pictures of attempts that died"),
            Err(error) => tracing::warn!(%error, "pictures of attempts that died stay until the job is deleted"),
        }
    }

    async fn try_delete_orphans(&self, id: &JobId, last: Version) -> Result<usize, BackendError> {
        let Some(job) = self.store.get(id).await? else { return Ok(0) };
        let prefix = MediaKey::job_prefix(&job.value.user, id);
        let used = used_keys(&job.value);
        let mut removed = 0;
        for key in self.media.list(&prefix, MAX_OBJECTS).await? {
            // A later claim belongs to a redrive, which cleans up at its own end.
            let is_past = key.fence().is_some_and(|fence| fence <= last.0);
            if is_past && !used.contains(key.as_str()) {
                self.media.delete(&key).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Removes a finished job with everything it stored, if it is still at `version`; otherwise returns a conflict.
    pub(super) async fn delete_job(&self, job: &Job, version: Version) -> Result<(), BackendError> {
        // Pictures first: a delete that is interrupted here can be repeated, but pictures without a job are never found.
        self.media.delete_prefix(&MediaKey::job_prefix(&job.user, &job.id)).await?;
        self.store.delete(&job.id, version).await
    }
}

/// The media keys that a finished job refers to.
fn used_keys(job: &Job) -> HashSet<&str> {
    let State::Succeeded { output, .. } = &job.state else { return HashSet::new() };
    match output {
        Output::Pictures(pictures) => {
            let images = pictures.images.iter().map(|image| image.key.as_str());
            images.chain(pictures.thumbnail_key.as_deref()).collect()
        }
        Output::Brand(trained) => trained.samples.iter().map(|image| image.key.as_str()).collect(),
    }
}
