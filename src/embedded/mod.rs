//! The one SQLite file below the embedded store and the embedded queue.
//!
//! One writer thread gathers whatever is waiting into one transaction, so that one fsync pays for many callers
//! (group commit); a few read-only connections answer queries beside it. A second process may open the same file
//! (`serve gateway` beside `serve worker`): each process tells the other about its commits (see `wakeup.rs`).

mod checkpoint;
mod error;
mod health;
mod lock;
pub mod messages;
mod migrations;
mod open;
mod point_reads;
mod readers;
mod role;
mod sync;
mod tx;
mod wakeup;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rusqlite::Connection;
use tokio::sync::watch;

pub use error::{DbError, OpenError};
pub use readers::Readers;
pub use role::Role;
pub use tx::{Changed, Tx};

use crate::error::BackendError;

/// Name of the database in the data directory.
pub const DATABASE: &str = "mediaforge.db";
/// Name of the file that says a database has been created here.
pub const MARKER: &str = "MEDIAFORGE";

/// The result of a closure over the database.
pub type DbResult<T> = std::result::Result<T, DbError>;

/// A handle on the open database; clones share it. The last one to be dropped closes it and frees the locks.
#[derive(Clone, Debug)]
pub struct Embedded(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    // Fields drop in this order: first the wakeups stop, then the last batch is committed, then the locks are free.
    _wakeup: wakeup::WakeupListener,
    writer: writer::Writer,
    readers: Arc<Readers>,
    point_reads: point_reads::PointReads,
    signals: Arc<CommitSignals>,
    health: Arc<health::Health>,
    sequence_at_open: u64,
    _locks: lock::Locks,
}

/// Counters that wake the tasks that wait for changes. Only a change of a counter has a meaning, not its value.
#[derive(Debug, Default)]
struct CommitSignals {
    /// Commits of other processes.
    foreign_commits: watch::Sender<u64>,
    /// Commits of this process that contain queue messages.
    queue_messages: watch::Sender<u64>,
}

impl Embedded {
    /// Opens the database of a data directory. Creates both if neither has ever existed.
    ///
    /// One process at a time can hold a role; operator commands hold none and work beside the running processes. Blocks
    /// for some milliseconds: call it before serving, or from a blocking thread.
    pub fn open(data_dir: &Path, roles: &[Role]) -> Result<Self, OpenError> {
        let locks = lock::Locks::take(data_dir, roles)?;
        let connection = open::open(data_dir)?;
        let sequence_at_open = open::sequence(&connection, data_dir)?;
        let path = data_dir.join(DATABASE);
        let files = health::Files::of(&path).map_err(|source| OpenError::NotWritable { path: path.clone(), source })?;
        let no_thread = |source| OpenError::Thread { source };
        let health = Arc::new(health::Health::new(&path));
        let signals = Arc::new(CommitSignals::default());
        let wakeup = wakeup::WakeupListener::bind(data_dir, Arc::clone(&signals));
        let writer = checkpoint::Checkpointer::spawn(Arc::clone(&health))
            .and_then(|checkpointer| {
                let (health, signals) = (Arc::clone(&health), Arc::clone(&signals));
                writer::Writer::spawn(connection, files, health, checkpointer, signals, wakeup.notifier())
            })
            .map_err(no_thread)?;
        let handle = writer.wake_handle();
        wakeup.listen(move || handle.wake()).map_err(no_thread)?;
        let readers = Arc::new(Readers::new(path.clone()));
        let point_reads = point_reads::PointReads::spawn(path).map_err(no_thread)?;
        let directory = data_dir.to_owned();
        Ok(Self(Arc::new(Inner {
            directory,
            _wakeup: wakeup,
            writer,
            readers,
            point_reads,
            signals,
            health,
            sequence_at_open,
            _locks: locks,
        })))
    }

    /// The data directory.
    pub fn directory(&self) -> &Path {
        &self.0.directory
    }

    /// Runs `work` inside the next group commit and returns once that is durable. An error of `work` undoes its own
    /// writes and no others. Dropping the future does not cancel the work.
    pub async fn write<T, W>(&self, op: &'static str, work: W) -> Result<T, BackendError>
    where
        T: Send + 'static,
        W: FnOnce(&Tx<'_>) -> DbResult<T> + Send + 'static,
    {
        self.write_then(op, work, |_| {}).await
    }

    /// Like [`Embedded::write`], and calls `then` with the durable result: on the writer thread, in the order of the
    /// commits, whether or not the caller still waits. `then` must not block.
    pub async fn write_then<T, W, N>(&self, op: &'static str, work: W, then: N) -> Result<T, BackendError>
    where
        T: Send + 'static,
        W: FnOnce(&Tx<'_>) -> DbResult<T> + Send + 'static,
        N: FnOnce(&T) + Send + 'static,
    {
        self.0.writer.submit(op, work, then).await
    }

    /// Runs a point query (a few rows by a key) on a read-only connection, off the async threads. The next caller waits
    /// for it, so use [`Embedded::read`] for longer queries.
    pub async fn look_up<T, R>(&self, op: &'static str, query: R) -> Result<T, BackendError>
    where
        T: Send + 'static,
        R: FnOnce(&Connection) -> DbResult<T> + Send + 'static,
    {
        self.0.point_reads.run(op, query).await
    }

    /// Runs a query on a read-only connection, off the async threads.
    pub async fn read<T, R>(&self, op: &'static str, query: R) -> Result<T, BackendError>
    where
        T: Send + 'static,
        R: FnOnce(&Connection) -> DbResult<T> + Send + 'static,
    {
        self.0.readers.read(op, query).await
    }

    /// The read-only connections alone, for tasks that must not keep the database open.
    pub fn readers(&self) -> Arc<Readers> {
        Arc::clone(&self.0.readers)
    }

    /// The number of the last change of any job when the database was opened.
    pub fn sequence_at_open(&self) -> u64 {
        self.0.sequence_at_open
    }

    /// Changes whenever another process has committed. Closed when the database is.
    pub fn foreign_commits(&self) -> watch::Receiver<u64> {
        self.0.signals.foreign_commits.subscribe()
    }

    /// Changes whenever this process has committed queue messages. Closed when the database is.
    pub fn own_messages(&self) -> watch::Receiver<u64> {
        self.0.signals.queue_messages.subscribe()
    }

    /// Returns when writes have become impossible until a restart: the disk has failed, or the files are gone.
    pub async fn broken(&self) {
        self.0.health.broken().await;
    }

    /// Why writes are impossible, with the name of the file; `None` while the database is healthy.
    pub fn why_broken(&self) -> Option<&str> {
        self.0.health.why_broken()
    }

    /// Checks that the database answers and accepts writes.
    pub async fn ping(&self, op: &'static str) -> Result<(), BackendError> {
        self.0.health.check(op)?;
        self.look_up(op, |db| Ok(db.query_row("SELECT value FROM sequence", [], |_| Ok(()))?)).await
    }
}
