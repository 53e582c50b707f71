//! Copies the write-ahead log back into the database file beside the writer, which would otherwise do it in the middle of
//! a commit: thousands of scattered pages and an fsync, while every caller of that commit waits.
//!
//! The writer still does the rest itself when the log is long: only then can the log begin anew, and because most of it
//! has been copied by now there is little left to do.

use std::{
    path::Path,
    sync::mpsc::{self, Receiver, SyncSender},
    thread::{self, JoinHandle},
};

use rusqlite::{Connection, OpenFlags};

use super::open;

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
    pub(super) fn spawn(database: &Path) -> std::io::Result<Self> {
        // One order may wait: it stands for all changes until it is taken.
        let (wake, orders) = mpsc::sync_channel(1);
        let path = database.to_owned();
        let thread = thread::Builder::new().name("embedded-log".to_owned()).spawn(move || serve(&path, &orders))?;
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

fn serve(path: &Path, orders: &Receiver<()>) {
    let mut open = None;
    while orders.recv().is_ok() {
        let copied = match &open {
            Some(db) => copy(db),
            None => connect(path).and_then(|db| copy(open.insert(db))),
        };
        if let Err(error) = copied {
            // The writer does it then, when the log has become long.
            tracing::debug!(%error, "the log could not be copied back");
            open = None;
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
            let mut checkpointer = Checkpointer::spawn(&path)?;
            checkpointer.after(changes);
            // Waits for the copy that was ordered.
            drop(checkpointer);
            Ok(fs::metadata(&path)?.len())
        };
        assert!(copied_after(EVERY - 1)? < 10_000, "it is all in the log");
        assert!(copied_after(EVERY)? > 100_000);
        Ok(())
    }
}
