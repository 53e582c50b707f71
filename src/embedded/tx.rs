//! One write's part of a group commit.

use std::{cell::Cell, ops::Deref};

use rusqlite::Connection;

use super::DbResult;

/// What a write has changed: it selects the tasks to wake once the write is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// A job: wakes the watchers in other processes.
    Jobs,
    /// A queue message: wakes the broker, in whichever process it runs.
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

    /// The number of the next change of a job. There are no gaps while only this process writes.
    pub fn next_number(&self) -> DbResult<i64> {
        Ok(self.numbers.next(self.connection)?)
    }

    /// Notes a change.
    pub fn changed(&self, what: Changed) {
        match what {
            Changed::Jobs => self.jobs.set(true),
            Changed::Messages => self.messages.set(true),
        }
    }

    /// Undoes everything that this write has done, although it returns `Ok`.
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

/// Numbers the changes of one transaction. The counter is read before the first change and written after the last.
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

    /// The position before a write, for [`Numbers::back_to`].
    pub(super) fn mark(&self) -> Option<i64> {
        self.0.get()
    }

    /// Returns the numbers of an undone write: a gap would look like a change of another process.
    pub(super) fn back_to(&self, mark: Option<i64>) {
        self.0.set(mark);
    }

    /// Stores the last number.
    pub(super) fn save(&self, db: &Connection) -> rusqlite::Result<()> {
        let Some(last) = self.0.get() else { return Ok(()) };
        db.prepare_cached("UPDATE sequence SET value = ?")?.execute([last]).map(drop)
    }
}
