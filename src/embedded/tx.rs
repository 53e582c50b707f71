//! What a write sees of the group commit it takes part in.

use std::{cell::Cell, ops::Deref};

use rusqlite::Connection;

use super::Outcome;

/// What a write has changed, so that the right ones are woken once it is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// A job: watchers in other processes are told.
    Jobs,
    /// A queue message: the broker is told, wherever it runs.
    Messages,
}

/// The open transaction, narrowed to one caller's part of it.
#[derive(Debug)]
pub struct Tx<'c> {
    connection: &'c Connection,
    numbers: &'c Numbers,
    jobs: Cell<bool>,
    messages: Cell<bool>,
    discarded: Cell<bool>,
}

impl<'c> Tx<'c> {
    pub(super) fn new(connection: &'c Connection, numbers: &'c Numbers) -> Self {
        let (jobs, messages, discarded) = (Cell::new(false), Cell::new(false), Cell::new(false));
        Self { connection, numbers, jobs, messages, discarded }
    }

    /// The number of the next change of a job. Without gaps, as long as this process is the only one that writes.
    pub fn next_number(&self) -> Outcome<i64> {
        Ok(self.numbers.next(self.connection)?)
    }

    /// Says what was changed.
    pub fn changed(&self, what: Changed) {
        match what {
            Changed::Jobs => self.jobs.set(true),
            Changed::Messages => self.messages.set(true),
        }
    }

    /// Undoes everything this write has done, although it answers `Ok`.
    pub fn discard(&self) {
        self.discarded.set(true);
    }

    pub(super) fn is_discarded(&self) -> bool {
        self.discarded.get()
    }

    /// (jobs, messages)
    pub(super) fn changes(&self) -> (bool, bool) {
        (self.jobs.get(), self.messages.get())
    }
}

impl Deref for Tx<'_> {
    type Target = Connection;
    fn deref(&self) -> &Connection {
        self.connection
    }
}

/// Numbers the changes of one transaction: the row is read before the first and written after the last, not for each.
#[derive(Debug, Default)]
pub(super) struct Numbers(Cell<Option<i64>>);

impl Numbers {
    fn next(&self, db: &Connection) -> rusqlite::Result<i64> {
        let last = match self.0.get() {
            Some(last) => last,
            None => db.prepare_cached("SELECT value FROM sequence")?.query_row([], |row| row.get(0))?,
        };
        self.0.set(Some(last + 1));
        Ok(last + 1)
    }

    /// Where a caller begins, to come back to when its part is undone.
    pub(super) fn mark(&self) -> Option<i64> {
        self.0.get()
    }

    /// Takes numbers back. A gap would look like the change of another process.
    pub(super) fn back_to(&self, mark: Option<i64>) {
        self.0.set(mark);
    }

    /// Writes down the last number that was given out.
    pub(super) fn save(&self, db: &Connection) -> rusqlite::Result<()> {
        let Some(last) = self.0.get() else { return Ok(()) };
        db.prepare_cached("UPDATE sequence SET value = ?")?.execute([last]).map(drop)
    }
}
