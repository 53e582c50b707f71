//! The embedded parts behind wrappers that misbehave on demand.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, stream::BoxStream};
use mediaforge::{
    domain::{
        Timestamp,
        ids::JobId,
        job::{Dispatch, Job, Transition},
        message::DeadLetter,
    },
    error::{BackendError, ErrorKind},
    media::{MediaFormat, MediaInfo, MediaKey, MediaRead, MediaStore, MediaUrl, SignedUpload},
    queue::{JobQueue, MessageId, StoredDeadLetter},
    store::{Committed, Inserted, JobFilter, JobStore, Page, PageRequest, Result, Version, Versioned, Watch},
};
use tokio::sync::{Notify, RwLock};

/// Failures to come, each for as many calls.
#[derive(Default)]
pub struct Plan {
    /// Commits that happen, and whose answer is lost.
    pub commit_unanswered: AtomicU32,
    /// Inserts of that sort.
    pub insert_unanswered: AtomicU32,
    /// Inserts that find nobody, once `insert_unanswered` has struck.
    pub insert_unavailable: AtomicU32,
    /// Commits that fail by a defect.
    pub commit_defect: AtomicU32,
    /// Commits that find their account damaged.
    pub commit_broken: AtomicU32,
    /// Dead letters that are not taken.
    pub letter_unavailable: AtomicU32,
    /// Commits that never answer, and do not happen.
    pub commit_hangs: AtomicU32,
    /// Reads of a job that find nobody, once `commit_unanswered` has struck.
    pub get_unavailable: AtomicU32,
    /// Deletions that find that somebody wrote in between.
    pub delete_conflicts: AtomicU32,
    /// Reads of a job that is deleted right after.
    pub get_then_deleted: AtomicU32,
    /// Watches that break after the first state.
    pub watch_broken: AtomicU32,
    /// Searches for overdue jobs that panic.
    pub due_panics: AtomicU32,
    /// Questions whether the store lives that are never answered.
    pub ping_hangs: AtomicU32,
    /// Commits that are done, and answer only when `go_on` says so.
    pub commit_late: AtomicU32,
    pub committed: Notify,
    pub hanging: Notify,
    pub go_on: Notify,
}

fn strikes(left: &AtomicU32) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

pub struct FaultyStore {
    pub inner: Arc<dyn JobStore>,
    pub plan: Arc<Plan>,
}

#[async_trait]
impl JobStore for FaultyStore {
    async fn insert(&self, first: &Transition) -> Result<Inserted> {
        let is_waiting = self.plan.insert_unanswered.load(Ordering::SeqCst) > 0;
        if !is_waiting && strikes(&self.plan.insert_unavailable) {
            return Err(BackendError::new(ErrorKind::Unavailable, "store.insert"));
        }
        let inserted = self.inner.insert(first).await;
        if strikes(&self.plan.insert_unanswered) {
            return Err(BackendError::new(ErrorKind::Timeout, "store.insert"));
        }
        inserted
    }

    async fn get(&self, id: &JobId) -> Result<Option<Versioned<Job>>> {
        let is_waiting = self.plan.commit_unanswered.load(Ordering::SeqCst) > 0;
        if !is_waiting && strikes(&self.plan.get_unavailable) {
            return Err(BackendError::new(ErrorKind::Unavailable, "store.get"));
        }
        let found = self.inner.get(id).await?;
        if let Some(found) = found.as_ref().filter(|_| strikes(&self.plan.get_then_deleted)) {
            self.inner.delete(id, found.version).await?;
        }
        Ok(found)
    }

    async fn list(&self, filter: &JobFilter, page: &PageRequest) -> Result<Page<Versioned<Job>>> {
        self.inner.list(filter, page).await
    }

    async fn commit(&self, expected: Version, next: &Transition) -> Result<Committed> {
        if strikes(&self.plan.commit_hangs) {
            self.plan.hanging.notify_one();
            std::future::pending::<()>().await;
        }
        if strikes(&self.plan.commit_defect) {
            return Err(BackendError::new(ErrorKind::Internal, "store.commit"));
        }
        if strikes(&self.plan.commit_broken) {
            return Err(BackendError::new(ErrorKind::Broken, "store.commit"));
        }
        let committed = self.inner.commit(expected, next).await;
        if strikes(&self.plan.commit_late) {
            self.plan.committed.notify_one();
            self.plan.go_on.notified().await;
        }
        if strikes(&self.plan.commit_unanswered) {
            return Err(BackendError::new(ErrorKind::Timeout, "store.commit"));
        }
        committed
    }

    async fn delete(&self, id: &JobId, expected: Version) -> Result<()> {
        if strikes(&self.plan.delete_conflicts) {
            return Err(BackendError::new(ErrorKind::Conflict, "store.delete"));
        }
        self.inner.delete(id, expected).await
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Versioned<Job>>> {
        assert!(!strikes(&self.plan.due_panics), "secret detail of a panic");
        self.inner.due(now, limit).await
    }

    async fn removable(&self, before: Timestamp, limit: usize) -> Result<Vec<Versioned<Job>>> {
        self.inner.removable(before, limit).await
    }

    fn watch(&self, what: Watch) -> BoxStream<'static, Result<Versioned<Job>>> {
        let changes = self.inner.watch(what);
        if !strikes(&self.plan.watch_broken) {
            return changes;
        }
        // As a backend's own stream: polled again after its end, it panics.
        let broken = futures::stream::unfold(0, |told| async move {
            (told == 0).then(|| (Err(BackendError::new(ErrorKind::Unavailable, "store.watch")), 1))
        });
        broken.boxed()
    }

    async fn ping(&self) -> Result<()> {
        if strikes(&self.plan.ping_hangs) {
            std::future::pending::<()>().await;
        }
        self.inner.ping().await
    }
}

pub struct FaultyQueue {
    pub inner: Arc<dyn JobQueue>,
    pub plan: Arc<Plan>,
}

#[async_trait]
impl JobQueue for FaultyQueue {
    fn delays(&self) -> bool {
        self.inner.delays()
    }

    async fn publish(&self, dispatch: &Dispatch) -> Result<MessageId> {
        self.inner.publish(dispatch).await
    }

    async fn dead_letter(&self, dead_letter: &DeadLetter) -> Result<MessageId> {
        if strikes(&self.plan.letter_unavailable) {
            return Err(BackendError::new(ErrorKind::Unavailable, "queue.dead_letter"));
        }
        self.inner.dead_letter(dead_letter).await
    }

    async fn dead_letters(&self, limit: usize) -> Result<Vec<StoredDeadLetter>> {
        self.inner.dead_letters(limit).await
    }

    async fn discard_dead_letters(&self, keys: &[String]) -> Result<usize> {
        self.inner.discard_dead_letters(keys).await
    }

    async fn purge_dead_letters(&self) -> Result<()> {
        self.inner.purge_dead_letters().await
    }

    async fn ping(&self) -> Result<()> {
        self.inner.ping().await
    }
}

/// Pictures on disk, none of which is written while somebody holds the gate. Like the disk itself, a write goes on when nobody
/// waits for it any more.
pub struct SlowMedia {
    pub inner: Arc<dyn MediaStore>,
    pub begun: Notify,
    pub gate: Arc<RwLock<()>>,
}

#[async_trait]
impl MediaStore for SlowMedia {
    async fn put(&self, key: &MediaKey, format: MediaFormat, bytes: Bytes) -> Result<()> {
        let (inner, gate, key) = (Arc::clone(&self.inner), Arc::clone(&self.gate), key.clone());
        self.begun.notify_one();
        let write = async move {
            let _open = gate.read().await;
            inner.put(&key, format, bytes).await
        };
        tokio::spawn(write).await.expect("no panic")
    }

    async fn get(&self, key: &MediaKey, range: Option<Range<u64>>) -> Result<Option<MediaRead>> {
        self.inner.get(key, range).await
    }

    async fn head(&self, key: &MediaKey) -> Result<Option<MediaInfo>> {
        self.inner.head(key).await
    }

    async fn copy(&self, from: &MediaKey, to: &MediaKey) -> Result<bool> {
        self.inner.copy(from, to).await
    }

    async fn expire(&self, prefix: &str, before: Timestamp) -> Result<usize> {
        self.inner.expire(prefix, before).await
    }

    async fn list(&self, prefix: &str, limit: usize) -> Result<Vec<MediaKey>> {
        self.inner.list(prefix, limit).await
    }

    async fn delete(&self, key: &MediaKey) -> Result<()> {
        self.inner.delete(key).await
    }

    async fn delete_prefix(&self, prefix: &str) -> Result<()> {
        self.inner.delete_prefix(prefix).await
    }

    async fn url(&self, key: &MediaKey, now: Timestamp) -> Result<MediaUrl> {
        self.inner.url(key, now).await
    }

    async fn upload_url(&self, _: &MediaKey, _: &'static str, _: u64, _: Timestamp) -> Result<Option<SignedUpload>> {
        Ok(None)
    }

    fn is_behind_the_gateway(&self) -> bool {
        true
    }

    async fn ping(&self) -> Result<()> {
        self.inner.ping().await
    }
}
