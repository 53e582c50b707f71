//! Interceptors that make the embedded backends fail on demand.

use std::{
    fs,
    future::Future,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use futures::{StreamExt as _, stream::BoxStream};
use mediaforge::{
    domain::ids::JobId,
    error::{BackendError, ErrorKind},
    intercept::{Interceptor, Result},
    store::JobStore,
};
use tokio::sync::{Mutex, Notify, RwLock};

/// Failures to come; each number counts the calls that are still to fail.
#[derive(Default)]
pub struct Plan {
    /// Commits that happen, and whose reply is lost.
    pub commit_unanswered: AtomicU32,
    /// Inserts that happen, and whose reply is lost.
    pub insert_unanswered: AtomicU32,
    /// Inserts that find the store unavailable, once no `insert_unanswered` is left.
    pub insert_unavailable: AtomicU32,
    /// Commits that fail with an internal error.
    pub commit_defect: AtomicU32,
    /// Commits that find the store broken.
    pub commit_broken: AtomicU32,
    /// Dead letters that the queue does not accept.
    pub dead_letter_unavailable: AtomicU32,
    /// Commits that never answer, and do not happen.
    pub commit_hangs: AtomicU32,
    /// Reads of a job that find the store unavailable, once no `commit_unanswered` is left.
    pub get_unavailable: AtomicU32,
    /// Deletions that conflict with another write.
    pub delete_conflicts: AtomicU32,
    /// The job that is deleted right after the next read of a job.
    pub delete_after_get: Mutex<Option<JobId>>,
    /// Watches that fail before they show any state.
    pub watch_broken: AtomicU32,
    /// Searches for overdue jobs that panic.
    pub due_panics: AtomicU32,
    /// Pings that never answer.
    pub ping_hangs: AtomicU32,
    /// Commits that happen, and answer only after `go_on`.
    pub commit_late: AtomicU32,
    pub committed: Notify,
    pub hanging: Notify,
    pub go_on: Notify,
}

impl Plan {
    /// Runs before a call reaches the backend.
    async fn before(&self, op: &'static str) -> Result<()> {
        let fail = |kind| Err(BackendError::new(kind, op));
        match op {
            "store.insert" if !is_pending(&self.insert_unanswered) && take_one(&self.insert_unavailable) => {
                fail(ErrorKind::Unavailable)
            }
            "store.get" if !is_pending(&self.commit_unanswered) && take_one(&self.get_unavailable) => {
                fail(ErrorKind::Unavailable)
            }
            "store.commit" if take_one(&self.commit_hangs) => {
                self.hanging.notify_one();
                std::future::pending().await
            }
            "store.commit" if take_one(&self.commit_defect) => fail(ErrorKind::Internal),
            "store.commit" if take_one(&self.commit_broken) => fail(ErrorKind::Broken),
            "store.delete" if take_one(&self.delete_conflicts) => fail(ErrorKind::Conflict),
            "store.due" if take_one(&self.due_panics) => panic!("secret detail of a panic"),
            "store.ping" if take_one(&self.ping_hangs) => std::future::pending().await,
            "queue.dead_letter" if take_one(&self.dead_letter_unavailable) => fail(ErrorKind::Unavailable),
            _ => Ok(()),
        }
    }

    /// Runs when the backend has answered.
    async fn after(&self, op: &'static str, store: &dyn JobStore) -> Result<()> {
        let reply_lost = || Err(BackendError::new(ErrorKind::Timeout, op));
        match op {
            "store.insert" if take_one(&self.insert_unanswered) => reply_lost(),
            "store.get" => {
                let Some(id) = self.delete_after_get.lock().await.take() else { return Ok(()) };
                let version = store.get(&id).await?.expect("a job to delete").version;
                store.delete(&id, version).await
            }
            "store.commit" => {
                if take_one(&self.commit_late) {
                    self.committed.notify_one();
                    self.go_on.notified().await;
                }
                if take_one(&self.commit_unanswered) { reply_lost() } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }
}

fn is_pending(count: &AtomicU32) -> bool {
    count.load(Ordering::SeqCst) > 0
}

fn take_one(count: &AtomicU32) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| count.checked_sub(1)).is_ok()
}

/// Makes calls fail as a [`Plan`] says.
#[derive(Clone)]
pub struct PlannedFaults {
    pub plan: Arc<Plan>,
    /// The store below, for what the plan does to it.
    pub store: Arc<dyn JobStore>,
}

impl Interceptor for PlannedFaults {
    async fn call<T: Send>(&self, op: &'static str, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        self.plan.before(op).await?;
        let result = call.await;
        self.plan.after(op, &*self.store).await?;
        result
    }

    fn stream<T: Send + 'static>(
        &self,
        op: &'static str,
        stream: BoxStream<'static, Result<T>>,
    ) -> BoxStream<'static, Result<T>> {
        if !take_one(&self.plan.watch_broken) {
            return stream;
        }
        // Like a backend's own stream, it panics when it is polled again after its end.
        let broken = futures::stream::unfold(false, move |has_failed| async move {
            (!has_failed).then(|| (Err(BackendError::new(ErrorKind::Unavailable, op)), true))
        });
        broken.boxed()
    }
}

/// Makes pictures appear late: while a test holds the gate, what a `put` has written is taken away, and it is written
/// again when the gate opens. Like a write of the disk itself, that happens even when the caller is gone.
pub struct LatePictures {
    /// The folder of the pictures.
    pub directory: PathBuf,
    pub begun: Notify,
    pub gate: Arc<RwLock<()>>,
}

impl Interceptor for LatePictures {
    async fn call<T: Send>(&self, op: &'static str, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let result = call.await;
        if op == "media.put" && result.is_ok() && self.gate.try_read().is_err() {
            let taken: Vec<_> = files_below(&self.directory).into_iter().map(take_away).collect();
            self.begun.notify_one();
            let gate = Arc::clone(&self.gate);
            let write_late = async move {
                let _open = gate.read().await;
                for (path, bytes) in &taken {
                    put_back(path, bytes);
                }
            };
            tokio::spawn(write_late).await.expect("no panic");
        }
        result
    }
}

fn take_away(path: PathBuf) -> (PathBuf, Vec<u8>) {
    let bytes = fs::read(&path).expect("a picture");
    fs::remove_file(&path).expect("a picture to remove");
    (path, bytes)
}

fn put_back(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, bytes).expect("a picture to write");
}

/// All files in a folder and in the folders below it.
pub fn files_below(directory: &Path) -> Vec<PathBuf> {
    let (mut files, mut unread) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(directory) = unread.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.path().is_dir() { unread.push(entry.path()) } else { files.push(entry.path()) }
        }
    }
    files
}
