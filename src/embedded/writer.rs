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
    Failure, Outcome, Signals, Tx,
    checkpoint::Checkpointer,
    error,
    health::{Files, Health},
    point_reads::panicked,
    tx::Numbers,
    wakeup::Notifier,
};
use crate::error::{BackendError, ErrorKind};

/// Writes in one transaction, at most: bounds how long the first of them waits for the last.
const BATCH: usize = 512;
/// Writes that may wait; a caller beyond that waits for its place.
const WAITING: usize = 2_048;

/// The writer thread's handle. Dropping it lets the thread commit what waits, close the database and end.
#[derive(Debug)]
pub(super) struct Writer {
    orders: Option<mpsc::Sender<Order>>,
    thread: Option<JoinHandle<()>>,
    health: Arc<Health>,
}

/// Lets the wakeup ask the writer to look whether another process has committed; does not keep the writer alive.
#[derive(Debug, Clone)]
pub(super) struct WakeHandle(mpsc::WeakSender<Order>);

enum Order {
    Work(Box<dyn Work>),
    Look,
}

/// One write with its caller, without their types.
trait Work: Send {
    /// Runs it; whether what it wrote is to stay.
    fn run(&mut self, tx: &Tx<'_>) -> bool;
    /// Answers its caller: `lost` says why the whole transaction came to nothing.
    fn answer(self: Box<Self>, lost: Option<&Lost>);
}

struct Request<T, W, N> {
    op: &'static str,
    work: Option<W>,
    then: N,
    result: Option<Result<T, BackendError>>,
    reply: oneshot::Sender<Result<T, BackendError>>,
}

/// Why a transaction came to nothing.
struct Lost {
    kind: ErrorKind,
    cause: String,
}

impl Lost {
    fn to(error: &rusqlite::Error) -> Self {
        Self { kind: error::kind(error), cause: error.to_string() }
    }

    /// Nothing is written any more.
    fn broken(why: &str) -> Self {
        Self { kind: ErrorKind::Broken, cause: why.to_owned() }
    }

    fn error(&self, op: &'static str) -> BackendError {
        BackendError::new(self.kind, op).because(self.cause.clone())
    }
}

impl<T, W, N> Work for Request<T, W, N>
where
    T: Send,
    W: FnOnce(&Tx<'_>) -> Outcome<T> + Send,
    N: FnOnce(&T) + Send,
{
    fn run(&mut self, tx: &Tx<'_>) -> bool {
        let Some(work) = self.work.take() else { return false };
        // A defect in one caller's closure must not end the thread that everybody's writes depend on.
        let outcome = catch_unwind(AssertUnwindSafe(|| work(tx)))
            .unwrap_or_else(|panic| Err(Failure::Backend(panicked(self.op, panic.as_ref()))));
        let stays = outcome.is_ok() && !tx.is_discarded();
        self.result = Some(outcome.map_err(|failure| failure.into_backend(self.op)));
        stays
    }

    fn answer(self: Box<Self>, lost: Option<&Lost>) {
        let Self { op, then, result, reply, .. } = *self;
        let result = match (result, lost) {
            (Some(Err(own)), _) => Err(own),
            (_, Some(lost)) => Err(lost.error(op)),
            (Some(Ok(value)), None) => {
                then(&value);
                Ok(value)
            }
            (None, None) => Err(BackendError::new(ErrorKind::Internal, op).because("the write was never run")),
        };
        // A caller who gave up does not want to know.
        let _ = reply.send(result);
    }
}

impl Writer {
    pub(super) fn spawn(
        db: Connection,
        files: Files,
        health: Arc<Health>,
        checkpointer: Checkpointer,
        signals: Arc<Signals>,
        notifier: Notifier,
    ) -> io::Result<Self> {
        let (orders, waiting) = mpsc::channel(WAITING);
        let seen = data_version(&db).unwrap_or_default();
        let writer_loop = WriterLoop { db, files, health: Arc::clone(&health), checkpointer, signals, notifier, seen };
        let thread =
            thread::Builder::new().name("embedded-writer".to_owned()).spawn(move || writer_loop.serve(waiting))?;
        Ok(Self { orders: Some(orders), thread: Some(thread), health })
    }

    pub(super) fn wake_handle(&self) -> WakeHandle {
        // `orders` is only `None` while the writer is being dropped.
        WakeHandle(self.orders.as_ref().map_or_else(|| mpsc::channel(1).0.downgrade(), mpsc::Sender::downgrade))
    }

    pub(super) async fn submit<T, W, N>(&self, op: &'static str, work: W, then: N) -> Result<T, BackendError>
    where
        T: Send + 'static,
        W: FnOnce(&Tx<'_>) -> Outcome<T> + Send + 'static,
        N: FnOnce(&T) + Send + 'static,
    {
        let stopped = || BackendError::new(ErrorKind::Broken, op).because("the writer thread has stopped");
        self.health.check(op)?;
        let (reply, answer) = oneshot::channel();
        let order = Order::Work(Box::new(Request { op, work: Some(work), then, result: None, reply }));
        let Some(orders) = &self.orders else { return Err(stopped()) };
        orders.send(order).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.orders.take());
        let Some(thread) = self.thread.take() else { return };
        // The last handle may be dropped by a closure on the writer thread itself, which cannot wait for its own end.
        if thread.thread().id() != thread::current().id() {
            // Waits for one group commit at most: the locks must not be free before the last write is durable.
            let _ = thread.join();
        }
    }
}

impl WakeHandle {
    /// Asks for a look. A writer with a full queue looks by itself soon enough.
    pub(super) fn wake(&self) {
        if let Some(orders) = self.0.upgrade() {
            let _ = orders.try_send(Order::Look);
        }
    }
}

/// The thread's own side.
struct WriterLoop {
    db: Connection,
    files: Files,
    health: Arc<Health>,
    checkpointer: Checkpointer,
    signals: Arc<Signals>,
    notifier: Notifier,
    seen: i64,
}

impl WriterLoop {
    fn serve(mut self, mut waiting: mpsc::Receiver<Order>) {
        let mut orders = Vec::with_capacity(BATCH);
        let mut batch = Vec::with_capacity(BATCH);
        while waiting.blocking_recv_many(&mut orders, BATCH) > 0 {
            batch.extend(orders.drain(..).filter_map(|order| match order {
                Order::Work(work) => Some(work),
                Order::Look => None,
            }));
            if batch.is_empty() {
                self.look();
            } else {
                self.commit(&mut batch);
            }
        }
        let Self { db, checkpointer, health, .. } = self;
        // The copy under way would be in the way of the last one.
        drop(checkpointer);
        if health.why_broken().is_none() {
            tidy(&db);
        }
    }

    /// Wakes those who care when another process has committed since the last look, and sees to the files.
    fn look(&mut self) {
        if self.still_there().is_err() {
            return;
        }
        match data_version(&self.db) {
            Ok(version) if version != self.seen => {
                self.seen = version;
                self.signals.foreign.send_modify(|count| *count += 1);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(error = %error, "cannot look for commits of other processes"),
        }
    }

    fn commit(&mut self, batch: &mut Vec<Box<dyn Work>>) {
        let mut changes = (false, false);
        let result = match self.health.why_broken() {
            Some(why) => Err(Lost::broken(why)),
            // Looked at after the commit and before anybody is told of it: what is answered is in a file that stays.
            None => match self.transaction(batch, &mut changes) {
                Ok(()) => self.still_there(),
                Err(error) => Err(self.undo(&error)),
            },
        };
        let (jobs, messages) = if result.is_ok() { changes } else { (false, false) };
        // The broker first: it can query while the callers are being answered.
        if messages {
            self.signals.messages.send_modify(|count| *count += 1);
        }
        for work in batch.drain(..) {
            work.answer(result.as_ref().err());
        }
        if jobs || messages {
            self.notifier.notify();
        }
        self.checkpointer.after(self.db.total_changes());
    }

    fn transaction(&self, batch: &mut [Box<dyn Work>], changes: &mut (bool, bool)) -> rusqlite::Result<()> {
        self.execute("BEGIN IMMEDIATE")?;
        let numbers = Numbers::default();
        for work in batch {
            self.execute("SAVEPOINT caller")?;
            let mark = numbers.mark();
            let tx = Tx::new(&self.db, &numbers);
            if work.run(&tx) {
                let (jobs, messages) = tx.changes();
                changes.0 |= jobs;
                changes.1 |= messages;
            } else {
                if self.db.is_autocommit() {
                    // SQLite gives up the whole transaction by itself when the disk fails or is full.
                    return Err(rusqlite::Error::SqliteFailure(
                        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL),
                        Some("the transaction was given up in the middle".to_owned()),
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

    /// Cleans up after a failed transaction and decides whether the next one may be tried.
    fn undo(&mut self, error: &rusqlite::Error) -> Lost {
        if !self.db.is_autocommit()
            && let Err(again) = self.execute("ROLLBACK")
        {
            self.health.breaks(format_args!("could not be rolled back ({again})"));
        }
        // A lost file is the better reason for whatever it has led to.
        if self.still_there().is_ok() {
            self.health.note(error);
        }
        tracing::error!(%error, database = %self.health.database().display(), "a group commit came to nothing");
        Lost::to(error)
    }

    /// Whether the files are those that were opened. Where they are not, what was just committed is lost with this
    /// process.
    fn still_there(&mut self) -> Result<(), Lost> {
        if let Some(harm) = self.files.harm() {
            self.health.breaks(harm);
        }
        self.health.why_broken().map_or(Ok(()), |why| Err(Lost::broken(why)))
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.db.prepare_cached(sql)?.execute([]).map(drop)
    }
}

/// Brings the log into the database file, so that a copy of that one file is a backup. Nothing depends on it: what a crash
/// or a reader of another process leaves in the log is found there by the next start.
fn tidy(db: &Connection) {
    let checkpoint = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    if let Err(error) = checkpoint {
        tracing::debug!(error = %error, "the log stays beside the database");
    }
}

fn data_version(db: &Connection) -> rusqlite::Result<i64> {
    db.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}
