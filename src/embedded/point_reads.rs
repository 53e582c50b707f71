//! Point queries: one thread and one connection answer them in turn.
//!
//! Each takes a few microseconds. Waking a blocking thread of the runtime for each would cost several times the query;
//! under load, this thread is awake.

use std::{
    any::Any,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    thread,
};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{DbResult, readers};
use crate::error::{BackendError, ErrorKind};

/// The capacity of the queue; with more queries, callers wait until there is room.
const CAPACITY: usize = 1_024;
/// Queries that are taken from the queue at once.
const BATCH: usize = 64;

type QueuedRead = Box<dyn FnOnce(&mut PointReadLoop) + Send>;

/// The thread's handle. The thread ends when the last one is dropped.
#[derive(Debug)]
pub(super) struct PointReads {
    queue: mpsc::Sender<QueuedRead>,
}

impl PointReads {
    pub(super) fn spawn(path: PathBuf) -> io::Result<Self> {
        let (queue, queued) = mpsc::channel(CAPACITY);
        let mut reads = PointReadLoop { path, db: None };
        thread::Builder::new().name("embedded-reads".to_owned()).spawn(move || reads.serve(queued))?;
        Ok(Self { queue })
    }

    pub(super) async fn run<T, R>(&self, op: &'static str, query: R) -> Result<T, BackendError>
    where
        T: Send + 'static,
        R: FnOnce(&Connection) -> DbResult<T> + Send + 'static,
    {
        let stopped = || BackendError::new(ErrorKind::Broken, op).because("the query thread has stopped");
        let (reply, answer) = oneshot::channel();
        let read: QueuedRead = Box::new(move |reads| {
            // A caller that has gone away needs no answer.
            if !reply.is_closed() {
                let _ = reply.send(reads.run(op, query));
            }
        });
        self.queue.send(read).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

/// The state of the thread.
struct PointReadLoop {
    path: PathBuf,
    /// Opened when first needed: some operator commands need none.
    db: Option<Connection>,
}

impl PointReadLoop {
    fn serve(&mut self, mut queued: mpsc::Receiver<QueuedRead>) {
        let mut batch = Vec::with_capacity(BATCH);
        while queued.blocking_recv_many(&mut batch, BATCH) > 0 {
            for read in batch.drain(..) {
                read(self);
            }
        }
    }

    fn run<T>(&mut self, op: &'static str, query: impl FnOnce(&Connection) -> DbResult<T>) -> Result<T, BackendError> {
        // A panic in one caller's closure must not end the thread that all queries need.
        let outcome = catch_unwind(AssertUnwindSafe(|| query(self.db()?)));
        outcome.map_err(|panic| panicked(op, panic.as_ref()))?.map_err(|failure| failure.into_backend(op))
    }

    fn db(&mut self) -> rusqlite::Result<&Connection> {
        let db = match self.db.take() {
            Some(db) => db,
            None => readers::connect(&self.path)?,
        };
        Ok(self.db.insert(db))
    }
}

/// The error of a caller whose closure has panicked.
pub(super) fn panicked(op: &'static str, panic: &(dyn Any + Send)) -> BackendError {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    BackendError::new(ErrorKind::Internal, op).because(format!("panicked: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::Embedded;

    #[tokio::test]
    async fn a_query_that_panics_fails_only_for_its_caller() {
        let directory = tempfile::tempdir().expect("a directory");
        let embedded = Embedded::open(directory.path(), &[]).expect("a database");
        let panics = embedded.look_up("test", |_| -> DbResult<()> { panic!("on purpose") }).await;
        let error = panics.expect_err("no answer");
        assert_eq!((error.kind, error.to_string().contains("on purpose")), (ErrorKind::Internal, true), "{error}");
        let count = |db: &Connection| Ok(db.query_row("SELECT count(*) FROM jobs", [], |row| row.get::<_, i64>(0))?);
        assert_eq!(embedded.look_up("test", count).await.expect("an answer"), 0);
    }
}
