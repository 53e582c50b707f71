//! Maintenance: what a worker does from time to time, so that no job is stuck and nothing old stays.

mod dead_workers;
mod retention;
mod sweep;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

pub use self::sweep::SweepReport;
use super::{cleanup::Cleanup, writer::JobWriter};
use crate::{
    domain::{
        Timestamp,
        clock::{Clock, after},
        job::{Job, JobPolicy},
    },
    media::MediaStore,
    store::Version,
};

/// How often expired uploads are looked for.
const EXPIRY_INTERVAL: Duration = Duration::from_mins(10);

/// Sweeps overdue and expired things.
pub struct Maintenance {
    pub(super) writer: JobWriter,
    pub(super) cleanup: Cleanup,
    pub(super) media: Arc<dyn MediaStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) policy: JobPolicy,
    /// How long a finished job is kept; `None`: for ever.
    pub(super) retention: Option<Duration>,
    /// How long an upload is kept.
    pub(super) upload_keep: Duration,
    pub(super) next_expiry: Mutex<Timestamp>,
}

impl Maintenance {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Deletes uploads that are too old, at most once in [`EXPIRY_INTERVAL`]. A failure is logged: the next round retries.
    async fn expire_uploads(&self) {
        let now = self.now();
        {
            let mut next = self.next_expiry.lock().unwrap_or_else(PoisonError::into_inner);
            if now < *next {
                return;
            }
            *next = after(now, EXPIRY_INTERVAL);
        }
        let before = now.checked_sub(self.upload_keep).unwrap_or(Timestamp::MIN);
        match self.media.expire("uploads/", before).await {
            Ok(0) => {}
            Ok(files) => tracing::info!(files, "expired uploads removed"),
            Err(error) => tracing::warn!(%error, "expired uploads could not be removed"),
        }
    }

    /// Does what the worker of a job does at its end, for a job that was taken from its worker. `operation` is the training
    /// that the job was running.
    async fn finish_taken_job(&self, job: Job, version: Version, operation: Option<String>) {
        if job.status().is_final() {
            if let Some(operation) = operation {
                self.cleanup.stop_training(&job.id, &operation).await;
            }
            if job.attempt() > 0 {
                self.cleanup.delete_orphans(&job.id, version).await;
            }
        }
        self.writer.publish_dead_letter(job, version).await;
    }
}
