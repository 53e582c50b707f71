//! The server's state, behind one lock that is held only briefly.

use std::{collections::HashMap, sync::Arc, time::Duration};

use gcloud_sdk::google::firestore::v1::{
    CommitResponse, Document, StructuredQuery, TransactionOptions, Write, WriteResult,
};
use prost_types::Timestamp;
use tonic::Code;

use super::{
    documents::Documents,
    index::Indexes,
    moment::Moment,
    name::Name,
    query::Plan,
    refusal::{Outcome, Refusal},
    transaction::{self, Id, Lifetime, Mode, Read, Transaction, Transactions},
    write,
};

/// The operations so far. A query counts one read for each result, and one read if it has no result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Documents read, including missing ones.
    pub reads: u64,
    /// Documents written.
    pub writes: u64,
    /// Documents deleted.
    pub deletes: u64,
    /// Queries, including aggregations.
    pub queries: u64,
    /// Commits that succeeded.
    pub commits: u64,
}

/// The server's settings.
#[derive(Debug)]
pub struct Settings {
    pub pessimistic: bool,
    pub lifetime: Lifetime,
    pub lock_wait: Duration,
    /// How far back reads of the past and resumed listeners may go.
    pub retention: Duration,
    pub indexes: Option<Indexes>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pessimistic: false,
            lifetime: Lifetime { total: Duration::from_secs(270), idle: Duration::from_mins(1) },
            lock_wait: Duration::from_secs(2),
            retention: Duration::from_mins(1),
            indexes: None,
        }
    }
}

/// The time as of which a request reads.
#[derive(Debug)]
pub enum Selector {
    Latest,
    In(Id),
    New(TransactionOptions),
    At(Timestamp),
}

/// The time as of which a request reads, and its transaction.
#[derive(Debug)]
pub struct View {
    pub at: Moment,
    pub transaction: Option<Id>,
    /// The transaction's id, if this request has begun it.
    pub begun: Id,
}

#[derive(Debug)]
pub struct State {
    pub documents: Documents,
    pub transactions: Transactions,
    pub settings: Settings,
    pub counts: Counts,
    /// The last time that was assigned.
    clock: Moment,
}

impl State {
    pub fn new() -> Self {
        let clock = Moment::of_clock();
        Self {
            documents: Documents::default(),
            transactions: Transactions::new(clock),
            settings: Settings::default(),
            counts: Counts::default(),
            clock,
        }
    }

    /// A time for reads; every later commit has a later time.
    pub fn read_time(&mut self) -> Moment {
        self.clock = self.clock.max(Moment::of_clock());
        self.clock
    }

    /// Begins a transaction.
    pub fn begin(&mut self, database: &str, options: Option<TransactionOptions>) -> Outcome<Id> {
        let (mode, at) = transaction::mode_of(options, self.settings.pessimistic)?;
        at.map_or(Ok(()), |at| self.check_read_time(at))?;
        Ok(self.transactions.begin(database, mode, at))
    }

    /// Resolves the time and the transaction of a request.
    pub fn view(&mut self, database: &str, selector: Selector) -> Outcome<View> {
        self.transactions.expire(self.settings.lifetime);
        let now = self.read_time();
        match selector {
            Selector::Latest => Ok(View { at: now, transaction: None, begun: Id::new() }),
            Selector::At(at) => {
                let at = Moment::aligned(&at)?;
                self.check_read_time(at)?;
                Ok(View { at, transaction: None, begun: Id::new() })
            }
            Selector::In(id) => self.view_of(database, id, false),
            Selector::New(options) => {
                // Documented: a transaction that a read begins is read-only unless its options say otherwise.
                let options = if options.mode.is_some() { options } else { read_only() };
                let id = self.begin(database, Some(options))?;
                self.view_of(database, id, true)
            }
        }
    }

    /// Reads one document.
    pub fn read(&mut self, view: &View, name: &Name) -> Option<Arc<Document>> {
        self.counts.reads += 1;
        self.remember(view, || Read::Document(name.clone(), view.at));
        self.documents.at(name, view.at).cloned()
    }

    /// Parses a query and checks that it has its index.
    pub fn plan(&self, parent: &str, query: StructuredQuery) -> Outcome<Plan> {
        let plan = Plan::parse(parent, query)?;
        self.settings.indexes.as_ref().map_or(Ok(()), |indexes| indexes.check(&plan))?;
        Ok(plan)
    }

    /// Reads the results of a query as complete documents.
    pub fn query(&mut self, view: &View, plan: &Plan) -> Vec<Arc<Document>> {
        let found = plan.run(&self.documents, view.at);
        self.counts.queries += 1;
        self.counts.reads += found.len().max(1) as u64;
        self.remember(view, || Read::Query(Box::new(plan.clone()), view.at));
        for document in &found {
            if let Ok(name) = Name::document(&document.name) {
                self.remember(view, || Read::Document(name, view.at));
            }
        }
        found
    }

    /// Whether another transaction's lock prevents these writes.
    pub fn is_blocked(&mut self, names: &[Name], transaction: &[u8]) -> bool {
        self.transactions.expire(self.settings.lifetime);
        self.transactions.is_locked(names, transaction)
    }

    /// Applies all writes or none, and ends the transaction in any case.
    pub fn commit(&mut self, database: &str, writes: Vec<Write>, transaction: &[u8]) -> Outcome<CommitResponse> {
        self.transactions.expire(self.settings.lifetime);
        if !transaction.is_empty() {
            let transaction = self.transactions.end(database, transaction)?;
            if !writes.is_empty() {
                self.check_unchanged(&transaction)?;
            }
        }
        let at = self.read_time().next();
        let (all, deletes) = (writes.len(), writes.iter().filter(|write| write::is_delete(write)).count());
        let mut pending: HashMap<Name, Option<Arc<Document>>> = HashMap::new();
        let mut results = Vec::with_capacity(writes.len());
        for write in writes {
            let name = write::target(database, &write)?;
            let current = match pending.get(&name) {
                Some(current) => current.clone(),
                None => self.documents.latest(&name).cloned(),
            };
            let written = write::apply(write, current.as_ref(), at)?;
            results.push(WriteResult {
                update_time: written.document.as_ref().and_then(|document| document.update_time),
                transform_results: written.transformed,
            });
            pending.insert(name, written.document);
        }
        self.clock = at;
        self.counts.commits += 1;
        self.counts.writes += (all - deletes) as u64;
        self.counts.deletes += deletes as u64;
        for (name, document) in pending {
            let is_same = match (self.documents.latest(&name), &document) {
                (Some(stored), Some(written)) => Arc::ptr_eq(stored, written),
                (stored, written) => stored.is_none() && written.is_none(),
            };
            if !is_same {
                self.documents.put(name, document, at);
            }
        }
        let oldest = self.transactions.oldest_snapshot().unwrap_or(at);
        self.documents.set_horizon(oldest.min(at.before(self.settings.retention)));
        Ok(CommitResponse { write_results: results, commit_time: Some(at.timestamp()) })
    }

    fn check_unchanged(&self, transaction: &Transaction) -> Outcome<()> {
        if transaction.mode == Mode::ReadOnly {
            return Err(Refusal::invalid("Cannot modify entities in a read-only transaction."));
        }
        let is_same = |read: &Read| match read {
            Read::Document(name, at) => !self.documents.has_changed(name, *at),
            Read::Query(plan, at) => plan.finds_the_same(&self.documents, *at, self.clock),
        };
        if transaction.reads.iter().all(is_same) { Ok(()) } else { Err(Refusal::contention()) }
    }

    fn check_read_time(&mut self, at: Moment) -> Outcome<()> {
        if at > self.read_time() {
            return Err(Refusal::invalid("read_time is in the future"));
        }
        if at < self.documents.horizon() {
            return Err(Refusal::new(Code::FailedPrecondition, "The requested snapshot version is too old."));
        }
        Ok(())
    }

    fn view_of(&mut self, database: &str, id: Id, begun: bool) -> Outcome<View> {
        let now = self.clock;
        let transaction = self.transactions.used(database, &id)?;
        let snapshot = *transaction.snapshot.get_or_insert(now);
        let at = if transaction.mode == Mode::Pessimistic { now } else { snapshot };
        Ok(View { at, begun: if begun { id.clone() } else { Id::new() }, transaction: Some(id) })
    }

    fn remember(&mut self, view: &View, read: impl FnOnce() -> Read) {
        let Some(id) = &view.transaction else { return };
        if let Some(transaction) = self.transactions.reading(id) {
            transaction.reads.push(read());
        }
    }
}

fn read_only() -> TransactionOptions {
    use gcloud_sdk::google::firestore::v1::transaction_options::{Mode, ReadOnly};
    TransactionOptions { mode: Some(Mode::ReadOnly(ReadOnly::default())) }
}
