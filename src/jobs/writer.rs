//! Store first, then publish: the two writes that every use case makes, in the order that loses nothing.

use std::sync::Arc;

use crate::{
    domain::job::{Dispatch, Job, Transition},
    error::{BackendError, ErrorKind},
    failpoint::failpoint,
    queue::JobQueue,
    store::{Committed, JobStore, Version},
};

/// Writes transitions to the store and publishes the messages that follow from them.
#[derive(Clone)]
pub(super) struct JobWriter {
    pub(super) store: Arc<dyn JobStore>,
    pub(super) queue: Arc<dyn JobQueue>,
}

impl JobWriter {
    /// Commits a transition and publishes its message, unless the store has done so itself.
    pub(super) async fn commit(&self, expected: Version, next: &Transition) -> Result<Version, BackendError> {
        let Committed { version, dispatched } = self.store.commit(expected, next).await?;
        self.publish(next.dispatch.as_ref(), dispatched).await;
        Ok(version)
    }

    /// Like [`JobWriter::commit`], but reads the job after a timeout to find out whether the commit was written. For
    /// callers with work to do after a commit, such as stopping a training.
    pub(super) async fn commit_or_verify(&self, expected: Version, next: &Transition) -> Result<Version, BackendError> {
        let error = match self.commit(expected, next).await {
            Err(error) if error.kind == ErrorKind::Timeout => error,
            known => return known,
        };
        let current = self.store.get(&next.job.id).await?;
        match current {
            Some(current) if current.version.0 == expected.0 + 1 && current.value == next.job => {
                self.publish(next.dispatch.as_ref(), false).await;
                Ok(current.version)
            }
            _ => Err(error),
        }
    }

    /// Publishes a message that the store has not dispatched itself. A failure is logged and not returned: the job's
    /// `due_at` makes the sweeper publish again.
    pub(super) async fn publish(&self, dispatch: Option<&Dispatch>, is_dispatched: bool) {
        failpoint("before_publish");
        let Some(dispatch) = dispatch.filter(|_| !is_dispatched) else { return };
        if let Err(error) = self.queue.publish(dispatch).await {
            tracing::warn!(job.id = %dispatch.message.job_id, %error, "publish failed; the sweeper will publish again");
        }
    }

    /// Publishes the dead letter that a failed job owes, if any, and returns whether it did. After a failure the sweeper
    /// tries again.
    pub(super) async fn publish_dead_letter(&self, job: Job, version: Version) -> bool {
        let Some(dead_letter) = job.dead_letter() else { return false };
        let id = job.id.clone();
        let published = async {
            self.queue.record_dead_letter(&dead_letter).await?;
            match job.mark_dead_lettered() {
                Ok(next) => self.store.commit(version, &next).await.map(drop),
                Err(_) => Ok(()),
            }
        };
        match published.await {
            Ok(()) => {
                tracing::info!(job.id = %id, "dead letter published");
                true
            }
            Err(error) => {
                tracing::warn!(job.id = %id, %error, "dead letter failed; the sweeper will try again");
                false
            }
        }
    }
}
