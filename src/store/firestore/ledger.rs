//! Credits: finds the new entries, computes the balance, and prepares the writes.

use std::{
    collections::HashSet,
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher},
};

use gcloud_sdk::google::firestore::v1::{
    Document, Write, structured_query::Direction, structured_query::field_filter::Operator,
};
use tokio::sync::{Mutex, MutexGuard};

use super::{
    FirestoreStore,
    client::FirestoreClient,
    documents::{AccountHolder, LEDGER, guarded, merge, read_entry, write_entry},
    fields::string,
    query::{filter, limited, ordered, query},
    retry::AttemptError,
};
use crate::{
    domain::{
        credits::{Account, CreditsError, LedgerEntry},
        ids::AccountId,
    },
    error::{BackendError, ErrorKind},
};

/// Accounts whose writers wait for each other, by hash.
const SHARDS: usize = 256;

/// Serializes the writers of one account within this process: concurrent writers would all fail but one, again and again.
/// It is not what keeps the balance right; that is the condition that the account's document is unchanged since the read.
pub(super) struct AccountLocks(Vec<Mutex<()>>);

impl Default for AccountLocks {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| Mutex::default()).collect())
    }
}

impl AccountLocks {
    pub(super) async fn of(&self, account: &AccountId) -> MutexGuard<'_, ()> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(account);
        let shard = usize::try_from(hash % SHARDS as u64).unwrap_or(0);
        self.0[shard].lock().await
    }
}

/// The names of the documents that these entries concern: the account's first, then each entry's.
pub(super) fn names(client: &FirestoreClient, account: &AccountId, entries: &[LedgerEntry]) -> Vec<String> {
    let own = entries.iter().map(|entry| client.entry(&entry.id));
    std::iter::once(client.account(account)).chain(own).collect()
}

/// The account after some entries.
pub(super) struct AccountUpdate {
    pub account: Account,
    /// The length of the ledger with these entries.
    pub entries: u64,
    /// The writes of the new entries.
    pub writes: Vec<Write>,
}

/// Applies the entries that do not exist yet; `existing` are their documents, in the same order.
pub(super) fn apply_entries(
    client: &FirestoreClient,
    holder: &AccountHolder,
    entries: &[LedgerEntry],
    existing: &[Option<Document>],
) -> Result<AccountUpdate, CreditsError> {
    let mut update =
        AccountUpdate { account: holder.account.unwrap_or_default(), entries: holder.entries, writes: Vec::new() };
    let mut known = HashSet::new();
    for (entry, existing) in entries.iter().zip(existing) {
        if existing.is_none() && known.insert(&entry.id) {
            update.account = update.account.apply(entry)?;
            update.entries += 1;
            update.writes.push(write_entry(client.entry(&entry.id), entry, update.entries));
        }
    }
    Ok(update)
}

/// The write of the account, unless nothing is new.
pub(super) fn write_account(update: &AccountUpdate, name: String, read: Option<&Document>) -> Option<Write> {
    let fields = AccountHolder::account_fields(&update.account, update.entries);
    (!update.writes.is_empty()).then(|| guarded(merge(name, fields), read))
}

/// Checks that all entries of a transition belong to the account that pays for the job.
pub(super) fn check_account(
    op: &'static str,
    account: &AccountId,
    entries: &[LedgerEntry],
) -> Result<(), BackendError> {
    if entries.iter().all(|entry| entry.account == *account) {
        return Ok(());
    }
    Err(BackendError::new(ErrorKind::Internal, op).because("a ledger entry of another account"))
}

impl FirestoreStore {
    pub(super) async fn apply(&self, op: &'static str, entry: &LedgerEntry) -> Result<Account, BackendError> {
        let _guard = self.account_locks.of(&entry.account).await;
        let mut retries = self.client.retries();
        loop {
            match self.try_apply(op, entry).await {
                Ok(account) => return Ok(account),
                Err(failure) => retries.retry(failure).await?,
            }
        }
    }

    async fn try_apply(&self, op: &'static str, entry: &LedgerEntry) -> Result<Account, AttemptError> {
        let entries = std::slice::from_ref(entry);
        let names = names(&self.client, &entry.account, entries);
        let read = self.client.get(op, &names).await?;
        let (account, existing) = (read[0].as_ref(), &read[1..]);
        let holder = AccountHolder::read(op, account)?;
        let refused = |reason| BackendError::new(ErrorKind::Refused, op).because(reason);
        let mut update = apply_entries(&self.client, &holder, entries, existing).map_err(refused)?;
        let Some(write) = write_account(&update, names[0].clone(), account) else { return Ok(update.account) };
        update.writes.push(write);
        self.client.commit(op, update.writes).await?;
        Ok(update.account)
    }

    /// The last entries of an account, the oldest of them first.
    pub(super) async fn last_entries(
        &self,
        op: &'static str,
        account: &AccountId,
        limit: usize,
    ) -> Result<Vec<LedgerEntry>, BackendError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let own = query(LEDGER, vec![filter("account", Operator::Equal, string(account.to_string()))]);
        let newest = limited(ordered(own, &["number"], Direction::Descending), limit);
        let found = self.client.query(op, newest).await?.documents;
        found.iter().rev().map(|document| read_entry(op, document)).collect()
    }

    /// The entry of that id, if it is the account's and belongs to no job.
    pub(super) async fn grant(
        &self,
        op: &'static str,
        account: &AccountId,
        id: &str,
    ) -> Result<Option<LedgerEntry>, BackendError> {
        let document = self.client.get_one(op, self.client.entry(id)).await?;
        let entry = document.as_ref().map(|document| read_entry(op, document)).transpose()?;
        Ok(entry.filter(|entry| entry.account == *account && entry.job_id.is_none()))
    }
}
