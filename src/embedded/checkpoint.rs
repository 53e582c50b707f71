//! Copies the write-ahead log back into the database file beside the writer, which would otherwise do it in the middle of
//! a commit: thousands of scattered pages and an fsync, while every caller of that commit waits.
//!
//! The writer still does the rest itself when the log is long: only then can the log begin anew, and because most of it
//! has been copied by now there is little left to do.
//!
//! A failed copy loses nothing: the log keeps every page until a copy has succeeded. But it means that the disk fails, so
//! the database accepts no writes from then on.

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

/// The log is copied after this many changed rows. A new job changes about six rows, in about as many pages.
const CHANGES_PER_COPY: u64 = 1_000;

/// The thread that copies. Dropping it waits for the copy under way.
pub(super) struct Checkpointer {
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    changes: u64,
}

impl Checkpointer {
    /// Starts the thread. Its connection is opened when it is first needed.
    pub(super) fn spawn(health: Arc<Health>) -> std::io::Result<Self> {
        // One wakeup may wait: it covers all changes until the thread takes it.
        let (wake, wakeups) = mpsc::sync_channel(1);
        let thread = thread::Builder::new().name("embedded-log".to_owned()).spawn(move || serve(&health, &wakeups))?;
        Ok(Self { wake: Some(wake), thread: Some(thread), changes: 0 })
    }

    /// Wakes the thread if enough rows have changed; `changes` counts all rows that the writer has changed.
    pub(super) fn note_changes(&mut self, changes: u64) {
        if changes.saturating_sub(self.changes) >= CHANGES_PER_COPY
            && let Some(wake) = &self.wake
        {
            self.changes = changes;
            // Full: a copy is running and another one is due already.
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

fn serve(health: &Health, wakeups: &Receiver<()>) {
    let path = health.database();
    let mut open = None;
    while wakeups.recv().is_ok() {
        let db = open.take().map_or_else(|| connect(path), Ok);
        match db.and_then(|db| copy(&db).map(|()| db)) {
            Ok(db) => open = Some(db),
            Err(error) => {
                // With too many open files, the writer copies the log when it has become long.
                if error.sqlite_error_code() != Some(ErrorCode::CannotOpen) {
                    health.note_failure(&error);
                }
                tracing::warn!(%error, database = %path.display(), "cannot copy the log into the database file");
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

/// Never blocks on a reader or the writer, and blocks neither.
fn copy(db: &Connection) -> rusqlite::Result<()> {
    db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_log_is_copied_after_enough_changes() -> Result<(), Box<dyn std::error::Error>> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("test.db");
        let db = Connection::open(&path)?;
        db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (text TEXT)")?;
        db.execute("INSERT INTO t VALUES (hex(zeroblob(50000)))", [])?;
        let copied_after = |changes| -> Result<u64, Box<dyn std::error::Error>> {
            let mut checkpointer = Checkpointer::spawn(Arc::new(Health::new(&path)))?;
            checkpointer.note_changes(changes);
            // Waits for the copy.
            drop(checkpointer);
            Ok(fs::metadata(&path)?.len())
        };
        assert!(copied_after(CHANGES_PER_COPY - 1)? < 10_000, "it is all in the log");
        assert!(copied_after(CHANGES_PER_COPY)? > 100_000);
        Ok(())
    }

    #[test]
    fn a_failed_copy_makes_the_database_broken() -> Result<(), Box<dyn std::error::Error>> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("test.db");
        fs::write(&path, b"not a SQLite database ".repeat(500))?;
        let health = Arc::new(Health::new(&path));
        let mut checkpointer = Checkpointer::spawn(Arc::clone(&health))?;
        checkpointer.note_changes(CHANGES_PER_COPY);
        drop(checkpointer);
        assert!(health.why_broken().is_some_and(|why| why.starts_with(&path.display().to_string())));
        Ok(())
    }
}
