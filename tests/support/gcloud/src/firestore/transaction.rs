//! Open transactions: what they have read, and when they end by themselves.

use std::{collections::HashMap, time::Duration};

use gcloud_sdk::google::firestore::v1::{
    TransactionOptions,
    transaction_options::{ConcurrencyMode, Mode as Asked, read_only},
};
use tokio::time::Instant;

use super::{
    moment::Moment,
    name::Name,
    query::Plan,
    refusal::{Outcome, Refusal},
};

/// What the API calls a transaction by.
pub type Id = Vec<u8>;

/// How long a transaction lives.
#[derive(Debug, Clone, Copy)]
pub struct Lifetime {
    pub total: Duration,
    pub idle: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    ReadOnly,
    /// Reads a snapshot; what was read must be the same at the commit.
    Optimistic,
    /// Reads the present; what was read cannot change until the commit.
    Pessimistic,
}

/// What was read, and as of when.
#[derive(Debug)]
pub enum Read {
    Document(Name, Moment),
    Query(Box<Plan>, Moment),
}

#[derive(Debug)]
pub struct Transaction {
    pub database: String,
    pub mode: Mode,
    /// As of when it reads, from its first read on.
    pub snapshot: Option<Moment>,
    pub reads: Vec<Read>,
    begun: Instant,
    used: Instant,
}

/// Those that are open.
#[derive(Debug)]
pub struct Transactions {
    open: HashMap<Id, Transaction>,
    /// Tells apart the transactions of different servers.
    origin: Moment,
    begun: u64,
}

impl Transactions {
    pub fn new(origin: Moment) -> Self {
        Self { open: HashMap::new(), origin, begun: 0 }
    }

    pub fn begin(&mut self, database: &str, mode: Mode, snapshot: Option<Moment>) -> Id {
        self.begun += 1;
        let id = [self.origin.token(), self.begun.to_be_bytes().to_vec()].concat();
        let now = Instant::now();
        let transaction =
            Transaction { database: database.to_owned(), mode, snapshot, reads: Vec::new(), begun: now, used: now };
        self.open.insert(id.clone(), transaction);
        id
    }

    /// An open one of this database, which is in use by that.
    pub fn used(&mut self, database: &str, id: &[u8]) -> Outcome<&mut Transaction> {
        let transaction = self.open.get_mut(id).filter(|transaction| transaction.database == database);
        let transaction = transaction.ok_or_else(Refusal::ended_transaction)?;
        transaction.used = Instant::now();
        Ok(transaction)
    }

    /// One whose reads count: a read-only one's do not.
    pub fn reading(&mut self, id: &[u8]) -> Option<&mut Transaction> {
        self.open.get_mut(id).filter(|transaction| transaction.mode != Mode::ReadOnly)
    }

    /// Ends one.
    pub fn end(&mut self, database: &str, id: &[u8]) -> Outcome<Transaction> {
        self.used(database, id)?;
        self.open.remove(id).ok_or_else(Refusal::ended_transaction)
    }

    /// Ends those that are too old, or that nobody has used for too long.
    pub fn expire(&mut self, lifetime: Lifetime) {
        self.open.retain(|_, one| one.begun.elapsed() < lifetime.total && one.used.elapsed() < lifetime.idle);
    }

    /// Whether a transaction other than this one has locked one of these documents by reading it.
    pub fn is_locked(&self, names: &[Name], by_other_than: &[u8]) -> bool {
        self.open
            .iter()
            .filter(|(id, transaction)| *id != by_other_than && transaction.mode == Mode::Pessimistic)
            .flat_map(|(_, transaction)| &transaction.reads)
            .any(|read| matches!(read, Read::Document(name, _) if names.contains(name)))
    }

    /// The oldest time that one of them reads as of.
    pub fn oldest_snapshot(&self) -> Option<Moment> {
        self.open.values().filter_map(|transaction| transaction.snapshot).min()
    }

    pub fn count(&self) -> usize {
        self.open.len()
    }
}

/// The mode that a transaction is begun with, and the time it asks to read as of.
pub fn mode_of(options: Option<TransactionOptions>, pessimistic: bool) -> Outcome<(Mode, Option<Moment>)> {
    match options.and_then(|options| options.mode) {
        Some(Asked::ReadOnly(read_only)) => {
            let at = match read_only.consistency_selector {
                Some(read_only::ConsistencySelector::ReadTime(at)) => Some(Moment::aligned(&at)?),
                None => None,
            };
            Ok((Mode::ReadOnly, at))
        }
        asked => {
            let asked = match asked {
                Some(Asked::ReadWrite(read_write)) => read_write.concurrency_mode(),
                _ => ConcurrencyMode::Unspecified,
            };
            let pessimistic = match asked {
                ConcurrencyMode::Unspecified => pessimistic,
                ConcurrencyMode::Optimistic => false,
                ConcurrencyMode::Pessimistic => true,
            };
            Ok((if pessimistic { Mode::Pessimistic } else { Mode::Optimistic }, None))
        }
    }
}
