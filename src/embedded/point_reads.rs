//! Point queries: one thread and one connection answer them in turn.
//!
//! Each is a few microseconds of work. Handing every one of them to the runtime's pool of blocking threads wakes a thread
//! each time, which costs several times the query; this thread, under load, is awake.

use std::{
    any::Any,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    thread,
};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{Outcome, readers};
use crate::error::{BackendError, ErrorKind};

/// Queries that may wait; a caller beyond that waits for its place.
const WAITING: usize = 1_024;
/// Queries that are taken from the queue at once.
const BATCH: usize = 64;

type Order = Box<dyn FnOnce(&mut PointReadLoop) + Send>;

/// The thread's handle. The thread ends when the last one is dropped.
#[derive(Debug)]
pub(super) struct PointReads {
    orders: mpsc::Sender<Order>,
}

impl PointReads {
    pub(super) fn spawn(path: PathBuf) -> io::Result<Self> {
        let (orders, waiting) = mpsc::channel(WAITING);
        let mut reads = PointReadLoop { path, db: None };
        thread::Builder::new().name("embedded-reads".to_owned()).spawn(move || reads.serve(waiting))?;
        Ok(Self { orders })
    }

    pub(super) async fn run<T, R>(&self, op: &'static str, query: R) -> Result<T, BackendError>
    where
        T: Send + 'static,
        R: FnOnce(&Connection) -> Outcome<T> + Send + 'static,
    {
        let stopped = || BackendError::new(ErrorKind::Broken, op).because("the thread for queries has stopped");
        let (reply, answer) = oneshot::channel();
        let order: Order = Box::new(move |reads| {
            // Who gave up does not want to know.
            if !reply.is_closed() {
                let _ = reply.send(reads.run(op, query));
            }
        });
        self.orders.send(order).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

/// The thread's own side.
struct PointReadLoop {
    path: PathBuf,
    /// Opened when first needed: an operator's command may need none.
    db: Option<Connection>,
}

impl PointReadLoop {
    fn serve(&mut self, mut waiting: mpsc::Receiver<Order>) {
        let mut orders = Vec::with_capacity(BATCH);
        while waiting.blocking_recv_many(&mut orders, BATCH) > 0 {
            for order in orders.drain(..) {
                order(self);
            }
        }
    }

    fn run<T>(&mut self, op: &'static str, query: impl FnOnce(&Connection) -> Outcome<T>) -> Result<T, BackendError> {
        // A defect in one caller's closure must not end the thread that everybody's queries depend on.
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

/// A defect in a caller's closure, as its answer.
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
    async fn a_query_that_panics_is_an_error_of_its_caller_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let embedded = Embedded::open(directory.path(), &[]).expect("a database");
        let panics = embedded.look_up("test", |_| -> Outcome<()> { panic!("as told") }).await;
        let error = panics.expect_err("no answer");
        assert_eq!((error.kind, error.to_string().contains("as told")), (ErrorKind::Internal, true), "{error}");
        let count = |db: &Connection| Ok(db.query_row("SELECT count(*) FROM jobs", [], |row| row.get::<_, i64>(0))?);
        assert_eq!(embedded.look_up("test", count).await.expect("an answer"), 0);
    }
}
