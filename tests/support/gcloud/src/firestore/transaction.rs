//! Open transactions: their reads and their expiry.

use std::{collections::HashMap, time::Duration};

use gcloud_sdk::google::firestore::v1::{
    TransactionOptions,
    transaction_options::{ConcurrencyMode, Mode as RequestedMode, read_only},
};
use tokio::time::Instant;

use super::{
    moment::Moment,
    name::Name,
    query::Plan,
    refusal::{Outcome, Refusal},
};

/// The transaction's id in the API.
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
    /// Reads a snapshot; the documents read must be unchanged at the commit.
    Optimistic,
    /// Reads the present; the documents read cannot change until the commit.
    Pessimistic,
}

/// A read and its time.
#[derive(Debug)]
pub enum Read {
    Document(Name, Moment),
    Query(Box<Plan>, Moment),
}

#[derive(Debug)]
pub struct Transaction {
    pub database: String,
    pub mode: Mode,
    /// The time as of which it reads, from its first read on.
    pub snapshot: Option<Moment>,
    pub reads: Vec<Read>,
    begun: Instant,
    used: Instant,
}

/// The open transactions.
#[derive(Debug)]
pub struct Transactions {
    open: HashMap<Id, Transaction>,
    /// Distinguishes the transactions of different servers.
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

    /// An open transaction of this database. This counts as use.
    pub fn used(&mut self, database: &str, id: &[u8]) -> Outcome<&mut Transaction> {
        let transaction = self.open.get_mut(id).filter(|transaction| transaction.database == database);
        let transaction = transaction.ok_or_else(Refusal::ended_transaction)?;
        transaction.used = Instant::now();
        Ok(transaction)
    }

    /// A transaction whose reads can conflict: not a read-only one.
    pub fn reading(&mut self, id: &[u8]) -> Option<&mut Transaction> {
        self.open.get_mut(id).filter(|transaction| transaction.mode != Mode::ReadOnly)
    }

    /// Ends a transaction.
    pub fn end(&mut self, database: &str, id: &[u8]) -> Outcome<Transaction> {
        self.used(database, id)?;
        self.open.remove(id).ok_or_else(Refusal::ended_transaction)
    }

    /// Ends transactions that are too old or idle for too long.
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

    /// The oldest time as of which an open transaction reads.
    pub fn oldest_snapshot(&self) -> Option<Moment> {
        self.open.values().filter_map(|transaction| transaction.snapshot).min()
    }

    pub fn count(&self) -> usize {
        self.open.len()
    }
}

/// The mode of a new transaction, and the requested read time.
pub fn mode_of(options: Option<TransactionOptions>, pessimistic: bool) -> Outcome<(Mode, Option<Moment>)> {
    match options.and_then(|options| options.mode) {
        Some(RequestedMode::ReadOnly(read_only)) => {
            let at = match read_only.consistency_selector {
                Some(read_only::ConsistencySelector::ReadTime(at)) => Some(Moment::aligned(&at)?),
                None => None,
            };
            Ok((Mode::ReadOnly, at))
        }
        requested => {
            let requested = match requested {
                Some(RequestedMode::ReadWrite(read_write)) => read_write.concurrency_mode(),
                _ => ConcurrencyMode::Unspecified,
            };
            let pessimistic = match requested {
                ConcurrencyMode::Unspecified => pessimistic,
                ConcurrencyMode::Optimistic => false,
                ConcurrencyMode::Pessimistic => true,
            };
            Ok((if pessimistic { Mode::Pessimistic } else { Mode::Optimistic }, None))
        }
    }
}
