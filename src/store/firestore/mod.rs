//! Jobs and accounts in Firestore, readable by any Firestore client. [`documents`] lists the fields.

mod client;
mod documents;
mod fields;
mod ledger;
mod list;
mod query;
mod retry;
mod watch;
mod write;

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;

use self::{
    client::FirestoreClient,
    documents::{AccountHolder, read_job, write_team},
    ledger::AccountLocks,
    watch::ChangeDispatcher,
};
use super::{
    AccountStore, Committed, Inserted, JobFilter, JobStore, Page, PageRequest, Result, Version, Versioned, Watch,
};
use crate::{
    config::FirestoreConfig,
    domain::{
        Timestamp,
        clock::{Clock, Random},
        credits::{Account, LedgerEntry},
        ids::{AccountId, JobId, TeamId, UserId},
        job::{Job, Transition},
    },
};

/// The store in one database of a project.
pub(super) struct FirestoreStore {
    client: Arc<FirestoreClient>,
    dispatcher: Arc<ChangeDispatcher>,
    account_locks: AccountLocks,
}

impl FirestoreStore {
    /// Connects on first use.
    pub(super) fn new(project: &str, config: &FirestoreConfig, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        let client = Arc::new(FirestoreClient::new(project, config, random));
        let dispatcher = ChangeDispatcher::new(Arc::clone(&client), clock);
        Self { client, dispatcher, account_locks: AccountLocks::default() }
    }

    async fn holder(&self, op: &'static str, name: String) -> Result<AccountHolder> {
        AccountHolder::read(op, self.client.get_one(op, name).await?.as_ref())
    }
}

#[async_trait]
impl JobStore for FirestoreStore {
    async fn insert(&self, first: &Transition) -> Result<Inserted> {
        self.add("store.insert", first).await
    }

    async fn get(&self, id: &JobId) -> Result<Option<Versioned<Job>>> {
        const OP: &str = "store.get";
        let document = self.client.get_one(OP, self.client.job(id)).await?;
        document.map(|document| read_job(OP, document)).transpose()
    }

    async fn list(&self, filter: &JobFilter, page: &PageRequest) -> Result<Page<Versioned<Job>>> {
        self.page("store.list", filter, page).await
    }

    async fn commit(&self, expected: Version, next: &Transition) -> Result<Committed> {
        self.replace("store.commit", expected, next).await
    }

    async fn delete(&self, id: &JobId, expected: Version) -> Result<()> {
        self.remove("store.delete", id, expected).await
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Versioned<Job>>> {
        self.overdue("store.due", now, limit).await
    }

    async fn removable(&self, before: Timestamp, limit: usize) -> Result<Vec<Versioned<Job>>> {
        self.removable_since("store.removable", before, limit).await
    }

    fn watch(&self, what: Watch) -> BoxStream<'static, Result<Versioned<Job>>> {
        watch::stream(&self.dispatcher, &what)
    }

    async fn ping(&self) -> Result<()> {
        self.client.ping("store.ping").await
    }
}

#[async_trait]
impl AccountStore for FirestoreStore {
    async fn account(&self, id: &AccountId) -> Result<Option<Account>> {
        Ok(self.holder("store.account", self.client.account(id)).await?.account)
    }

    async fn adjust(&self, entry: &LedgerEntry) -> Result<Account> {
        self.apply("store.adjust", entry).await
    }

    async fn ledger(&self, account: &AccountId, limit: usize) -> Result<Vec<LedgerEntry>> {
        self.last_entries("store.ledger", account, limit).await
    }

    async fn adjustment(&self, account: &AccountId, id: &str) -> Result<Option<LedgerEntry>> {
        self.grant("store.adjustment", account, id).await
    }

    async fn team_of(&self, user: &UserId) -> Result<Option<TeamId>> {
        Ok(self.holder("store.team_of", self.client.user(user)).await?.team)
    }

    async fn set_team(&self, user: &UserId, team: Option<&TeamId>) -> Result<()> {
        self.put("store.set_team", write_team(self.client.user(user), team)).await
    }
}
