//! A few read-only connections, for queries that may take their time. They never write, so they never wait for the
//! writer, nor it for them.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use super::{Outcome, open};
use crate::error::{BackendError, ErrorKind};

/// Queries that run at once. SQLite reads from the page cache: more threads would only take permits on the cores.
const CONNECTIONS: usize = 4;

/// The read-only connections; opened when first needed.
#[derive(Debug)]
pub struct Readers {
    path: PathBuf,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, permits: Arc::new(Semaphore::new(CONNECTIONS)), idle: Mutex::default() }
    }

    /// Runs a query off the async threads.
    pub async fn read<T, R>(self: &Arc<Self>, op: &'static str, query: R) -> Result<T, BackendError>
    where
        T: Send + 'static,
        R: FnOnce(&Connection) -> Outcome<T> + Send + 'static,
    {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.map_err(|closed| BackendError::new(ErrorKind::Internal, op).because(closed))?;
        let readers = Arc::clone(self);
        let answer = tokio::task::spawn_blocking(move || {
            // Moved in, so that a caller who gave up does not let a fifth query begin.
            let _permit = permit;
            readers.query(query)
        });
        match answer.await {
            Ok(answer) => answer.map_err(|failure| failure.into_backend(op)),
            Err(panic) => Err(BackendError::new(ErrorKind::Internal, op).because(panic)),
        }
    }

    fn query<T>(&self, query: impl FnOnce(&Connection) -> Outcome<T>) -> Outcome<T> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let db = match idle {
            Some(db) => db,
            None => connect(&self.path)?,
        };
        let answer = query(&db);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(db);
        answer
    }
}

/// A connection that only reads.
pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    open::configure(&db)?;
    Ok(db)
}
