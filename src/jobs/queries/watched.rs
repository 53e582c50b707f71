//! The stream of one job: its current state, then every later change.

use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};

use crate::{
    domain::job::Job,
    error::BackendError,
    store::{Version, Versioned},
};

type Change = Result<Versioned<Job>, BackendError>;

/// A job under watch. Chained stream adapters would each reserve space for a job, and thousands of streams may be open.
pub(super) struct WatchedJob {
    current: Option<Box<Versioned<Job>>>,
    current_version: Version,
    changes: BoxStream<'static, Change>,
}

impl WatchedJob {
    /// `changes` must have been subscribed to before `current` was read, or a change in between would be missed.
    pub(super) fn new(current: Versioned<Job>, changes: BoxStream<'static, Change>) -> Self {
        // The state that was read comes first: if the job is deleted meanwhile, a watch that begins now stays silent.
        Self { current_version: current.version, current: Some(Box::new(current)), changes }
    }

    /// Ends right after the final state. `take_while` would drop that state, and `scan` would wait for one more change.
    pub(super) fn until_final(self) -> BoxStream<'static, Change> {
        let states = stream::unfold(Some(self), |watched| async {
            let mut watched = watched?;
            let change = watched.next().await?;
            let is_final = matches!(&change, Ok(job) if job.value.status().is_final());
            Some((change, (!is_final).then_some(watched)))
        });
        states.boxed()
    }

    async fn next(&mut self) -> Option<Change> {
        if let Some(current) = self.current.take() {
            return Some(Ok(*current));
        }
        loop {
            match self.changes.next().await? {
                Ok(job) if job.version <= self.current_version => {}
                change => return Some(change),
            }
        }
    }
}
