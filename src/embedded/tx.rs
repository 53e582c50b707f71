//! What a write sees of the group commit it takes part in.

use std::{cell::Cell, ops::Deref};

use rusqlite::Connection;

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
    jobs: Cell<bool>,
    messages: Cell<bool>,
    discarded: Cell<bool>,
}

impl<'c> Tx<'c> {
    pub(super) fn new(connection: &'c Connection) -> Self {
        Self { connection, jobs: Cell::new(false), messages: Cell::new(false), discarded: Cell::new(false) }
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
