//! Orphans: what attempts that died in the middle have stored, removed once their job has its end.
//!
//! A worker that lost its job removes its own pictures when it learns so. One that was killed does not, and the attempt that
//! follows does it. Left behind is only what a worker stores that sleeps through the end of its job and is then killed; it
//! goes with the job.

use std::collections::HashSet;

use super::Jobs;
use crate::{
    domain::{
        ids::JobId,
        job::{Job, Output, State},
    },
    error::BackendError,
    media::MediaKey,
    store::Version,
};

/// Objects of one job that are looked at.
const MOST: usize = 1000;

impl Jobs {
    /// Removes what earlier attempts stored of a finished job. Best effort: what stays is deleted with the job.
    pub(super) async fn sweep_orphans(&self, id: &JobId, last: Version) {
        match self.remove_orphans(id, last).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "removed what attempts that died had stored"),
            Err(error) => tracing::warn!(%error, "what attempts that died have stored stays until the job is deleted"),
        }
    }

    async fn remove_orphans(&self, id: &JobId, last: Version) -> Result<usize, BackendError> {
        let Some(job) = self.ports.store.get(id).await? else { return Ok(0) };
        let prefix = MediaKey::job_prefix(&job.value.user, id);
        let kept = kept(&job.value);
        let mut removed = 0;
        for key in self.ports.media.list(&prefix, MOST).await? {
            // A claim that is younger than this one belongs to a redrive, which has its own end.
            let is_past = key.fence().is_some_and(|fence| fence <= last.0);
            if is_past && !kept.contains(key.as_str()) {
                self.ports.media.delete(&key).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// What a finished job shows.
fn kept(job: &Job) -> HashSet<&str> {
    let State::Succeeded { output, .. } = &job.state else { return HashSet::new() };
    match output {
        Output::Pictures(pictures) => {
            let images = pictures.images.iter().map(|image| image.key.as_str());
            images.chain(pictures.thumbnail_key.as_deref()).collect()
        }
        Output::Brand(trained) => trained.samples.iter().map(|image| image.key.as_str()).collect(),
    }
}
