//! Firestore: documents, transactions, queries and listeners.

mod check;
mod documents;
mod field;
mod index;
mod listen;
mod moment;
mod name;
mod query;
mod refusal;
mod service;
mod single;
mod state;
mod transaction;
mod transform;
mod value;
mod write;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::Router;
use gcloud_sdk::google::firestore::v1::{CommitResponse, Document, Write, write::Operation};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

pub use state::Counts;

use crate::services::firestore::firestore_server::FirestoreServer;
use index::Indexes;
use moment::Moment;
use name::Name;
use refusal::{Outcome, Refusal};
use state::State;
use transaction::Lifetime;

/// More than a request may have, so that the service itself refuses a larger one with the right message.
const MAX_MESSAGE: usize = 64 * 1024 * 1024;

/// The databases that requests name, `(default)` and others. Clones share them.
///
/// Transactions are optimistic unless the request or [`Self::pessimistic`] changes that. Reads of the past go back a minute,
/// not an hour.
#[derive(Debug, Clone)]
pub struct Firestore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Notifies the listeners of commits.
    committed: watch::Sender<Moment>,
    /// Notifies commits that wait for locks of ended transactions.
    released: Notify,
    /// Counts the resets of the listeners.
    resets: watch::Sender<u64>,
}

impl Default for Firestore {
    fn default() -> Self {
        let shared = Shared {
            state: Mutex::new(State::new()),
            committed: watch::Sender::new(Moment::default()),
            released: Notify::new(),
            resets: watch::Sender::new(0),
        };
        Self { shared: Arc::new(shared) }
    }
}

impl Firestore {
    /// The service.
    pub(crate) fn routes(&self) -> Router {
        let server = FirestoreServer::new(self.clone()).max_decoding_message_size(MAX_MESSAGE);
        tonic::service::Routes::new(server).into_axum_router()
    }

    /// From now on transactions lock the documents they read until they end, as databases of the Standard edition do.
    pub fn pessimistic(&self) {
        self.state().settings.pessimistic = true;
    }

    /// Sets how long a commit waits for a lock; 2 s by default.
    pub fn set_lock_wait(&self, wait: Duration) {
        self.state().settings.lock_wait = wait;
    }

    /// Sets the lifetime of transactions, in total and idle; 270 s and 60 s by default.
    pub fn set_transaction_lifetime(&self, total: Duration, idle: Duration) {
        self.state().settings.lifetime = Lifetime { total, idle };
    }

    /// From now on refuses queries without an index in this file, in the format of `firestore.indexes.json`. Without a file
    /// every query has its index.
    ///
    /// # Errors
    /// The file is invalid; the text explains why.
    pub fn set_indexes(&self, json: &str) -> Result<(), String> {
        let indexes = Indexes::parse(json)?;
        self.state().settings.indexes = Some(indexes);
        Ok(())
    }

    /// Ends all `Listen` streams with `UNAVAILABLE`.
    pub fn reset_listeners(&self) {
        self.shared.resets.send_modify(|resets| *resets += 1);
    }

    /// The number of open `Listen` streams.
    pub fn listeners(&self) -> usize {
        self.shared.resets.receiver_count()
    }

    /// The number of open transactions.
    pub fn open_transactions(&self) -> usize {
        let mut state = self.state();
        let lifetime = state.settings.lifetime;
        state.transactions.expire(lifetime);
        state.transactions.count()
    }

    /// The documents of a collection by its path, for example `jobs`, in all databases, sorted by name.
    pub fn documents(&self, collection: &str) -> Vec<Document> {
        let state = self.state();
        let found = state.documents.all().filter(|(name, _)| name.collection() == collection);
        found.map(|(_, document)| Document::clone(document)).collect()
    }

    /// The document at a path, for example `jobs/1`, in any database.
    pub fn get(&self, path: &str) -> Option<Document> {
        let state = self.state();
        state.documents.all().find(|(name, _)| name.path() == path).map(|(_, document)| Document::clone(document))
    }

    /// Writes a document by its full name. Reads and listeners see it like any other write.
    ///
    /// # Errors
    /// The document is invalid; the text explains why.
    pub fn put(&self, document: Document) -> Result<(), tonic::Status> {
        let database = Name::document(&document.name)?.database().to_owned();
        let write = Write { operation: Some(Operation::Update(document)), ..Write::default() };
        self.apply_to(self.state(), &database, vec![write], &[])?;
        Ok(())
    }

    /// The operations so far.
    pub fn counts(&self) -> Counts {
        self.state().counts
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits as soon as no lock prevents it.
    async fn commit_unlocked(&self, database: &str, writes: Vec<Write>, transaction: &[u8]) -> Outcome<CommitResponse> {
        let names = writes.iter().map(|one| write::target(database, one)).collect::<Outcome<Vec<_>>>()?;
        let deadline = Instant::now() + self.state().settings.lock_wait;
        loop {
            // Subscribe before the check, so that a change in between is not missed.
            let mut released = std::pin::pin!(self.shared.released.notified());
            released.as_mut().enable();
            {
                // One lock for the check and the commit: of two that wait for each other only one must give up.
                let mut state = self.state();
                if !state.is_blocked(&names, transaction) {
                    return self.apply_to(state, database, writes, transaction);
                }
                if Instant::now() >= deadline {
                    // It may have expired.
                    let _ = state.transactions.end(database, transaction);
                    self.shared.released.notify_waiters();
                    return Err(Refusal::lock_timeout());
                }
            }
            let _ = tokio::time::timeout_at(deadline, released).await;
        }
    }

    fn apply_to(
        &self,
        mut state: MutexGuard<'_, State>,
        database: &str,
        writes: Vec<Write>,
        transaction: &[u8],
    ) -> Outcome<CommitResponse> {
        let outcome = state.commit(database, writes, transaction);
        // Notify under the lock, so that the times are in order.
        self.shared.committed.send_replace(state.read_time());
        self.shared.released.notify_waiters();
        outcome
    }
}
