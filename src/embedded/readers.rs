//! A few read-only connections, for longer queries. They never write, so they never wait for the writer, nor the writer
//! for them.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use super::{DbResult, open};
use crate::error::{BackendError, ErrorKind};

/// Queries that run at once. SQLite reads from the page cache, so more threads would only compete for the cores.
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
        R: FnOnce(&Connection) -> DbResult<T> + Send + 'static,
    {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.map_err(|closed| BackendError::new(ErrorKind::Internal, op).because(closed))?;
        let readers = Arc::clone(self);
        let answer = tokio::task::spawn_blocking(move || {
            // Keeps the permit until the query ends, even when the caller has gone away.
            let _permit = permit;
            readers.query(query)
        });
        match answer.await {
            Ok(answer) => answer.map_err(|failure| failure.into_backend(op)),
            Err(panic) => Err(BackendError::new(ErrorKind::Internal, op).because(panic)),
        }
    }

    fn query<T>(&self, query: impl FnOnce(&Connection) -> DbResult<T>) -> DbResult<T> {
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
