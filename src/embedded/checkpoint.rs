//! Copies the write-ahead log back into the database file beside the writer, which would otherwise do it in the middle of
//! a commit: thousands of scattered pages and an fsync, while every caller of that commit waits.
//!
//! The writer still does the rest itself when the log is long: only then can the log begin anew, and because most of it
//! has been copied by now there is little left to do.
//!
//! A copy that fails loses nothing: the log keeps every page until one has succeeded. But a disk that fails here fails, and
//! so nothing more is promised.

use std::{
    path::Path,
    sync::{
        Arc,
        mpsc::{self, Receiver, SyncSender},
    },
    thread::{self, JoinHandle},
};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{health::Health, open};

/// Changed rows after which the log is copied. A new job changes about six, in about as many pages.
const EVERY: u64 = 1_000;

/// The thread that copies. Dropping it waits for the copy under way.
pub(super) struct Checkpointer {
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    changes: u64,
}

impl Checkpointer {
    /// Starts the thread. Its connection is opened when it is first needed.
    pub(super) fn spawn(health: Arc<Health>) -> std::io::Result<Self> {
        // One order may wait: it stands for all changes until it is taken.
        let (wake, orders) = mpsc::sync_channel(1);
        let thread = thread::Builder::new().name("embedded-log".to_owned()).spawn(move || serve(&health, &orders))?;
        Ok(Self { wake: Some(wake), thread: Some(thread), changes: 0 })
    }

    /// Hears how many rows the writer has changed in all.
    pub(super) fn after(&mut self, changes: u64) {
        if changes.saturating_sub(self.changes) >= EVERY
            && let Some(wake) = &self.wake
        {
            self.changes = changes;
            // Full: a copy is under way and another is ordered already.
            let _ = wake.try_send(());
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        drop(self.wake.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(health: &Health, orders: &Receiver<()>) {
    let path = health.database();
    let mut open = None;
    while orders.recv().is_ok() {
        let db = open.take().map_or_else(|| connect(path), Ok);
        match db.and_then(|db| copy(&db).map(|()| db)) {
            Ok(db) => open = Some(db),
            Err(error) => {
                // With too many files open, the writer does it when the log has become long.
                if error.sqlite_error_code() != Some(ErrorCode::CannotOpen) {
                    health.note(&error);
                }
                tracing::warn!(%error, database = %path.display(), "the log could not be copied back");
            }
        }
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    open::configure(&db)?;
    db.pragma_update(None, "synchronous", "FULL")?;
    Ok(db)
}

/// Never waits for a reader or the writer, and keeps none of them waiting.
fn copy(db: &Connection) -> rusqlite::Result<()> {
    db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_log_is_copied_after_so_many_changes_and_not_before() -> Result<(), Box<dyn std::error::Error>> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("test.db");
        let db = Connection::open(&path)?;
        db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (text TEXT)")?;
        db.execute("INSERT INTO t VALUES (hex(zeroblob(50000)))", [])?;
        let copied_after = |changes| -> Result<u64, Box<dyn std::error::Error>> {
            let mut checkpointer = Checkpointer::spawn(Arc::new(Health::new(&path)))?;
            checkpointer.after(changes);
            // Waits for the copy that was ordered.
            drop(checkpointer);
            Ok(fs::metadata(&path)?.len())
        };
        assert!(copied_after(EVERY - 1)? < 10_000, "it is all in the log");
        assert!(copied_after(EVERY)? > 100_000);
        Ok(())
    }

    #[test]
    fn a_copy_that_fails_ends_the_promises() -> Result<(), Box<dyn std::error::Error>> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("test.db");
        fs::write(&path, b"this is no database ".repeat(500))?;
        let health = Arc::new(Health::new(&path));
        let mut checkpointer = Checkpointer::spawn(Arc::clone(&health))?;
        checkpointer.after(EVERY);
        drop(checkpointer);
        assert!(health.why_broken().is_some_and(|why| why.starts_with(&path.display().to_string())));
        Ok(())
    }
}
