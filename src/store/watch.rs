//! The parts of watching that both stores share: the state machine of a watch stream, the mailbox between the dispatcher
//! of changes and one stream, and the background task of a dispatcher.

use std::{
    collections::VecDeque,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::stream::{self, BoxStream, StreamExt as _};
use tokio::{sync::Notify, task::AbortHandle};

use super::{Result, Versioned, Watch};
use crate::domain::job::Job;

/// The operation that errors of a watch name.
pub(super) const OP: &str = "store.watch";

/// Jobs that are ready for the reader of a stream.
pub(super) type Ready = VecDeque<Versioned<Job>>;

/// The data of one watch stream: first a snapshot, then changes.
///
/// A source registers its mailbox when it is created, before anything is read: a change that is committed later is
/// either in the snapshot or in the mailbox.
pub(super) trait WatchSource: Send + 'static {
    /// Appends the snapshot, or the next part of it, to `ready`.
    fn read_snapshot(&mut self, ready: &mut Ready) -> impl Future<Output = Result<SnapshotProgress>> + Send;

    /// Appends a change to `ready`, or waits until there may be one.
    fn next_change(&mut self, ready: &mut Ready) -> impl Future<Output = Result<()>> + Send;
}

/// Whether a snapshot has been read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SnapshotProgress {
    More,
    Complete,
}

enum Phase {
    Snapshot,
    Live,
    Failed,
}

struct WatchStream<S> {
    source: S,
    phase: Phase,
    ready: Ready,
}

/// The stream of one watcher. It ends after an error: a stream that went on could have missed a change.
pub(super) fn stream(what: &Watch, source: impl WatchSource) -> BoxStream<'static, Result<Versioned<Job>>> {
    let phase = if let Watch::Changes(_) = what { Phase::Live } else { Phase::Snapshot };
    let watch = WatchStream { source, phase, ready: Ready::new() };
    stream::unfold(watch, |mut watch| async move { watch.next().await.map(|item| (item, watch)) }).boxed()
}

impl<S: WatchSource> WatchStream<S> {
    async fn next(&mut self) -> Option<Result<Versioned<Job>>> {
        loop {
            if let Some(job) = self.ready.pop_front() {
                if self.ready.is_empty() {
                    // Frees the memory: there may be thousands of idle watchers, and jobs are large.
                    self.ready = Ready::new();
                }
                return Some(Ok(job));
            }
            let step = match self.phase {
                Phase::Snapshot => self.read_snapshot().await,
                Phase::Live => self.source.next_change(&mut self.ready).await,
                Phase::Failed => return None,
            };
            if let Err(error) = step {
                self.phase = Phase::Failed;
                return Some(Err(error));
            }
        }
    }

    async fn read_snapshot(&mut self) -> Result<()> {
        if self.source.read_snapshot(&mut self.ready).await? == SnapshotProgress::Complete {
            self.phase = Phase::Live;
        }
        Ok(())
    }
}

/// Where a dispatcher leaves changes for one watcher. Each store has its own inbox `I`, which bounds what waits.
pub(super) struct Mailbox<I> {
    what: Watch,
    inbox: Mutex<I>,
    wakeup: Notify,
}

impl<I: Default> Mailbox<I> {
    pub(super) fn new(what: Watch) -> Arc<Self> {
        Arc::new(Self { what, inbox: Mutex::default(), wakeup: Notify::new() })
    }
}

impl<I> Mailbox<I> {
    /// What the watcher watches.
    pub(super) fn what(&self) -> &Watch {
        &self.what
    }

    pub(super) fn inbox(&self) -> MutexGuard<'_, I> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the watcher: its inbox has changed.
    pub(super) fn wake(&self) {
        self.wakeup.notify_one();
    }

    /// Returns when the inbox may have changed.
    pub(super) async fn woken(&self) {
        self.wakeup.notified().await;
    }
}

/// A background task that starts when it is first needed and ends with its owner.
#[derive(Default)]
pub(super) struct BackgroundTask(Mutex<Option<AbortHandle>>);

impl BackgroundTask {
    /// Starts the task unless it runs, or unless there is no runtime yet; then a later call starts it.
    pub(super) fn ensure_started<F: Future<Output = ()> + Send + 'static>(&self, task: impl FnOnce() -> F) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if running.as_ref().is_none_or(AbortHandle::is_finished) {
            *running = Some(runtime.spawn(task()).abort_handle());
        }
    }
}

impl Drop for BackgroundTask {
    fn drop(&mut self) {
        if let Some(running) = self.0.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            running.abort();
        }
    }
}
