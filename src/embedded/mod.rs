//! The one SQLite file below the embedded store and the embedded queue.
//!
//! One writer thread gathers whatever is waiting into one transaction, so that one fsync pays for many callers
//! (group commit); a few read-only connections answer queries beside it. The same file may be open in a second
//! process (`serve gateway` beside `serve worker`): each tells the other about its commits (see `wakeup.rs`).

mod checkpoint;
mod error;
mod health;
mod lock;
pub mod messages;
mod migrations;
mod open;
mod point_reads;
mod readers;
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

pub use error::{Failure, OpenError};
pub use lock::Role;
pub use readers::Readers;
pub use tx::{Changed, Tx};

use crate::error::BackendError;

/// Name of the database in the data directory.
pub const DATABASE: &str = "mediaforge.db";
/// Name of the file that says a database has been created here.
pub const MARKER: &str = "MEDIAFORGE";

/// What a closure over the database answers.
pub type Outcome<T> = std::result::Result<T, Failure>;

/// A handle on the open database; clones share it. The last one to be dropped closes it and frees the locks.
#[derive(Clone, Debug)]
pub struct Embedded(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    // Fields drop in this order: first nobody rings, then the last batch is committed, then the locks are free.
    _wakeup: wakeup::WakeupListener,
    writer: writer::Writer,
    readers: Arc<Readers>,
    point_reads: point_reads::PointReads,
    signals: Arc<Signals>,
    health: Arc<health::Health>,
    sequence_at_open: u64,
    _locks: lock::Locks,
}

/// What wakes those who wait for changes. The numbers mean nothing; that they change does.
#[derive(Debug, Default)]
struct Signals {
    /// Another process has committed.
    foreign: watch::Sender<u64>,
    /// This process has committed queue messages.
    messages: watch::Sender<u64>,
}

impl Embedded {
    /// Opens the database of a data directory, and creates both when neither has ever been there.
    ///
    /// Each role can be held by one process at a time; none at all is for operator commands, which work beside the
    /// running processes. Blocks for some milliseconds: call it before serving, or from a blocking thread.
    pub fn open(data_dir: &Path, roles: &[Role]) -> Result<Self, OpenError> {
        let locks = lock::Locks::take(data_dir, roles)?;
        let connection = open::open(data_dir)?;
        let sequence_at_open = open::sequence(&connection, data_dir)?;
        let path = data_dir.join(DATABASE);
        let files = health::Files::of(&path).map_err(|source| OpenError::NotWritable { path: path.clone(), source })?;
        let no_thread = |source| OpenError::Thread { source };
        let health = Arc::new(health::Health::new(&path));
        let signals = Arc::new(Signals::default());
        let wakeup = wakeup::WakeupListener::bind(data_dir, Arc::clone(&signals));
        let writer = checkpoint::Checkpointer::spawn(Arc::clone(&health))
            .and_then(|checkpointer| {
                let (health, signals) = (Arc::clone(&health), Arc::clone(&signals));
                writer::Writer::spawn(connection, files, health, checkpointer, signals, wakeup.notifier())
            })
            .map_err(no_thread)?;
        wakeup.listen(writer.wake_handle()).map_err(no_thread)?;
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

    /// Runs `work` inside the next group commit and answers once that is durable. An error of `work` undoes what it
    /// wrote, and nothing else. Dropping the future does not take the work back.
    pub async fn write<T, W>(&self, op: &'static str, work: W) -> Result<T, BackendError>
    where
        T: Send + 'static,
        W: FnOnce(&Tx<'_>) -> Outcome<T> + Send + 'static,
    {
        self.write_then(op, work, |_| {}).await
    }

    /// The same, and `then` sees the result once it is durable: on the writer thread, in the order of the commits,
    /// whether or not the caller still waits. It must not block.
    pub async fn write_then<T, W, N>(&self, op: &'static str, work: W, then: N) -> Result<T, BackendError>
    where
        T: Send + 'static,
        W: FnOnce(&Tx<'_>) -> Outcome<T> + Send + 'static,
        N: FnOnce(&T) + Send + 'static,
    {
        self.0.writer.submit(op, work, then).await
    }

    /// Runs a point query on a read-only connection, off the async threads: one that finds a few rows by a key. Whoever
    /// comes next waits for it, so what may take longer belongs into [`Embedded::read`].
    pub async fn look_up<T, R>(&self, op: &'static str, query: R) -> Result<T, BackendError>
    where
        T: Send + 'static,
        R: FnOnce(&Connection) -> Outcome<T> + Send + 'static,
    {
        self.0.point_reads.run(op, query).await
    }

    /// Runs a query on a read-only connection, off the async threads.
    pub async fn read<T, R>(&self, op: &'static str, query: R) -> Result<T, BackendError>
    where
        T: Send + 'static,
        R: FnOnce(&Connection) -> Outcome<T> + Send + 'static,
    {
        self.0.readers.read(op, query).await
    }

    /// The read-only connections alone, for tasks that must not keep the database open.
    pub fn readers(&self) -> Arc<Readers> {
        Arc::clone(&self.0.readers)
    }

    /// The number of the last change of any job when the database was opened: everything later is news.
    pub fn sequence_at_open(&self) -> u64 {
        self.0.sequence_at_open
    }

    /// Changes whenever another process has committed. Closed when the database is.
    pub fn foreign_commits(&self) -> watch::Receiver<u64> {
        self.0.signals.foreign.subscribe()
    }

    /// Changes whenever this process has committed queue messages. Closed when the database is.
    pub fn own_messages(&self) -> watch::Receiver<u64> {
        self.0.signals.messages.subscribe()
    }

    /// Returns once nothing can be written any more before a restart: the disk has failed, or the files are gone.
    pub async fn broken(&self) {
        self.0.health.broken().await;
    }

    /// Why nothing can be written any more, naming the file; `None` while all is well.
    pub fn why_broken(&self) -> Option<&str> {
        self.0.health.why_broken()
    }

    /// Whether the database answers and takes writes; the error names what is wrong.
    pub async fn ping(&self, op: &'static str) -> Result<(), BackendError> {
        self.0.health.check(op)?;
        self.look_up(op, |db| Ok(db.query_row("SELECT value FROM sequence", [], |_| Ok(()))?)).await
    }
}
