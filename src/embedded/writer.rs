//! The writer thread: whatever waits becomes one transaction, and one fsync answers all of it.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::{self, JoinHandle},
};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{
    CommitSignals, DbError, DbResult, Tx,
    checkpoint::Checkpointer,
    error,
    health::{Files, Health},
    point_reads::panicked,
    tx::Numbers,
    wakeup::Notifier,
};
use crate::error::{BackendError, ErrorKind};

/// The most writes in one transaction: it bounds how long the first of them waits for the last.
const BATCH: usize = 512;
/// The capacity of the queue; with more writes, callers wait until there is room.
const CAPACITY: usize = 2_048;

/// The writer thread's handle. Dropping it lets the thread commit what waits, close the database and end.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Message>>,
    thread: Option<JoinHandle<()>>,
    health: Arc<Health>,
}

/// Asks the writer to check whether another process has committed. It does not keep the writer alive.
#[derive(Debug, Clone)]
pub(super) struct WakeHandle(mpsc::WeakSender<Message>);

enum Message {
    Write(Box<dyn Write>),
    CheckFiles,
}

/// One write and its caller, with their types erased.
trait Write: Send {
    /// Runs the write; returns whether to keep it.
    fn run(&mut self, tx: &Tx<'_>) -> bool;
    /// Answers the caller; `failed` says why the whole transaction failed.
    fn answer(self: Box<Self>, failed: Option<&TransactionError>);
}

struct Request<T, W, N> {
    op: &'static str,
    work: Option<W>,
    then: N,
    result: Option<Result<T, BackendError>>,
    reply: oneshot::Sender<Result<T, BackendError>>,
}

/// Why a transaction failed.
struct TransactionError {
    kind: ErrorKind,
    cause: String,
}

impl TransactionError {
    fn of(error: &rusqlite::Error) -> Self {
        Self { kind: error::kind(error), cause: error.to_string() }
    }

    /// The database accepts no writes until a restart.
    fn broken(why: &str) -> Self {
        Self { kind: ErrorKind::Broken, cause: why.to_owned() }
    }

    fn error(&self, op: &'static str) -> BackendError {
        BackendError::new(self.kind, op).because(self.cause.clone())
    }
}

impl<T, W, N> Write for Request<T, W, N>
where
    T: Send,
    W: FnOnce(&Tx<'_>) -> DbResult<T> + Send,
    N: FnOnce(&T) + Send,
{
    fn run(&mut self, tx: &Tx<'_>) -> bool {
        let Some(work) = self.work.take() else { return false };
        // A panic in one caller's closure must not end the thread that all writes need.
        let outcome = catch_unwind(AssertUnwindSafe(|| work(tx)))
            .unwrap_or_else(|panic| Err(DbError::Backend(panicked(self.op, panic.as_ref()))));
        let is_kept = outcome.is_ok() && !tx.is_discarded();
        self.result = Some(outcome.map_err(|failure| failure.into_backend(self.op)));
        is_kept
    }

    fn answer(self: Box<Self>, failed: Option<&TransactionError>) {
        let Self { op, then, result, reply, .. } = *self;
        let result = match (result, failed) {
            (Some(Err(own)), _) => Err(own),
            (_, Some(failed)) => Err(failed.error(op)),
            (Some(Ok(value)), None) => {
                then(&value);
                Ok(value)
            }
            (None, None) => Err(BackendError::new(ErrorKind::Internal, op).because("the write was never run")),
        };
        // A caller that has gone away needs no answer.
        let _ = reply.send(result);
    }
}

impl Writer {
    pub(super) fn spawn(
        db: Connection,
        files: Files,
        health: Arc<Health>,
        checkpointer: Checkpointer,
        signals: Arc<CommitSignals>,
        notifier: Notifier,
    ) -> io::Result<Self> {
        let (queue, queued) = mpsc::channel(CAPACITY);
        let data_version = read_data_version(&db).unwrap_or_default();
        let writer_loop =
            WriterLoop { db, files, health: Arc::clone(&health), checkpointer, signals, notifier, data_version };
        let thread =
            thread::Builder::new().name("embedded-writer".to_owned()).spawn(move || writer_loop.serve(queued))?;
        Ok(Self { queue: Some(queue), thread: Some(thread), health })
    }

    pub(super) fn wake_handle(&self) -> WakeHandle {
        // `queue` is `None` only while the writer is being dropped.
        WakeHandle(self.queue.as_ref().map_or_else(|| mpsc::channel(1).0.downgrade(), mpsc::Sender::downgrade))
    }

    pub(super) async fn submit<T, W, N>(&self, op: &'static str, work: W, then: N) -> Result<T, BackendError>
    where
        T: Send + 'static,
        W: FnOnce(&Tx<'_>) -> DbResult<T> + Send + 'static,
        N: FnOnce(&T) + Send + 'static,
    {
        let stopped = || BackendError::new(ErrorKind::Broken, op).because("the writer thread has stopped");
        self.health.check(op)?;
        let (reply, answer) = oneshot::channel();
        let write = Message::Write(Box::new(Request { op, work: Some(work), then, result: None, reply }));
        let Some(queue) = &self.queue else { return Err(stopped()) };
        queue.send(write).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.queue.take());
        let Some(thread) = self.thread.take() else { return };
        // The last handle may be dropped by a closure on the writer thread itself, which cannot wait for its own end.
        if thread.thread().id() != thread::current().id() {
            // Waits for one group commit at most: the locks must not be free before the last write is durable.
            let _ = thread.join();
        }
    }
}

impl WakeHandle {
    /// Asks for a check. A writer with a full queue checks the files soon enough when it commits.
    pub(super) fn wake(&self) {
        if let Some(queue) = self.0.upgrade() {
            let _ = queue.try_send(Message::CheckFiles);
        }
    }
}

/// The state of the thread.
struct WriterLoop {
    db: Connection,
    files: Files,
    health: Arc<Health>,
    checkpointer: Checkpointer,
    signals: Arc<CommitSignals>,
    notifier: Notifier,
    /// SQLite's commit counter at the last check.
    data_version: i64,
}

impl WriterLoop {
    fn serve(mut self, mut queued: mpsc::Receiver<Message>) {
        let mut messages = Vec::with_capacity(BATCH);
        let mut batch = Vec::with_capacity(BATCH);
        while queued.blocking_recv_many(&mut messages, BATCH) > 0 {
            batch.extend(messages.drain(..).filter_map(|message| match message {
                Message::Write(write) => Some(write),
                Message::CheckFiles => None,
            }));
            if batch.is_empty() {
                self.check_for_foreign_commits();
            } else {
                self.commit(&mut batch);
            }
        }
        let Self { db, checkpointer, health, .. } = self;
        // A running copy would block the last one.
        drop(checkpointer);
        if health.why_broken().is_none() {
            checkpoint_at_end(&db);
        }
    }

    /// Checks the files, and notifies this process if another one has committed since the last check.
    fn check_for_foreign_commits(&mut self) {
        if self.check_files().is_err() {
            return;
        }
        match read_data_version(&self.db) {
            Ok(version) if version != self.data_version => {
                self.data_version = version;
                self.signals.foreign_commits.send_modify(|count| *count += 1);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(error = %error, "cannot check for commits of other processes"),
        }
    }

    fn commit(&mut self, batch: &mut Vec<Box<dyn Write>>) {
        let mut changes = (false, false);
        let result = match self.health.why_broken() {
            Some(why) => Err(TransactionError::broken(why)),
            // Check the files after the commit and before the answers: an answered write is in a file that still exists.
            None => match self.transaction(batch, &mut changes) {
                Ok(()) => self.check_files(),
                Err(error) => Err(self.undo(&error)),
            },
        };
        let (jobs, messages) = if result.is_ok() { changes } else { (false, false) };
        // Signal the broker first: it can query while the callers get their answers.
        if messages {
            self.signals.queue_messages.send_modify(|count| *count += 1);
        }
        for write in batch.drain(..) {
            write.answer(result.as_ref().err());
        }
        if jobs || messages {
            self.notifier.notify();
        }
        self.checkpointer.note_changes(self.db.total_changes());
    }

    fn transaction(&self, batch: &mut [Box<dyn Write>], changes: &mut (bool, bool)) -> rusqlite::Result<()> {
        self.execute("BEGIN IMMEDIATE")?;
        let numbers = Numbers::default();
        for write in batch {
            self.execute("SAVEPOINT caller")?;
            let mark = numbers.mark();
            let tx = Tx::new(&self.db, &numbers);
            if write.run(&tx) {
                let (jobs, messages) = tx.changes();
                changes.0 |= jobs;
                changes.1 |= messages;
            } else {
                if self.db.is_autocommit() {
                    // SQLite rolls the whole transaction back by itself when the disk fails or is full.
                    return Err(rusqlite::Error::SqliteFailure(
                        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL),
                        Some("SQLite rolled the transaction back".to_owned()),
                    ));
                }
                self.execute("ROLLBACK TO caller")?;
                numbers.back_to(mark);
            }
            self.execute("RELEASE caller")?;
        }
        numbers.save(&self.db)?;
        self.execute("COMMIT")
    }

    /// Rolls a failed transaction back and decides whether the next one may run.
    fn undo(&mut self, error: &rusqlite::Error) -> TransactionError {
        if !self.db.is_autocommit()
            && let Err(again) = self.execute("ROLLBACK")
        {
            self.health.mark_broken(format_args!("could not be rolled back ({again})"));
        }
        // A lost file is a better reason than the error that it has caused.
        if self.check_files().is_ok() {
            self.health.note_failure(error);
        }
        tracing::error!(%error, database = %self.health.database().display(), "a group commit failed");
        TransactionError::of(error)
    }

    /// Fails unless the files are the ones that were opened: otherwise the last commit is lost with this process.
    fn check_files(&mut self) -> Result<(), TransactionError> {
        if let Some(damage) = self.files.damage() {
            self.health.mark_broken(damage);
        }
        self.health.why_broken().map_or(Ok(()), |why| Err(TransactionError::broken(why)))
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.db.prepare_cached(sql)?.execute([]).map(drop)
    }
}

/// Copies the log into the database file, so that a copy of that one file is a backup. It is optional: the next start
/// reads what a crash or a reader of another process leaves in the log.
fn checkpoint_at_end(db: &Connection) {
    let checkpoint = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    if let Err(error) = checkpoint {
        tracing::debug!(error = %error, "the log stays beside the database");
    }
}

fn read_data_version(db: &Connection) -> rusqlite::Result<i64> {
    db.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}
