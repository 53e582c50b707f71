//! Credits: which entries are new, what they make of the balance, and the writes that say so.

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
    documents::{Holder, LEDGER, guarded, merge, read_entry, write_entry},
    fields::string,
    query::{filter, limited, ordered, query},
    retry::Failure,
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

/// Lets the writers of one account go one by one within this process. Together they would all fail but one, and again.
/// What keeps the balance right is not this, but that the account's document is written only as it was read.
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

/// The names of the documents a few entries are about: the account's first, then each entry's.
pub(super) fn names(client: &FirestoreClient, account: &AccountId, entries: &[LedgerEntry]) -> Vec<String> {
    let own = entries.iter().map(|entry| client.entry(&entry.id));
    std::iter::once(client.account(account)).chain(own).collect()
}

/// What a few entries come to.
pub(super) struct AccountUpdate {
    pub account: Account,
    /// The length of the ledger with them.
    pub entries: u64,
    /// The writes of the entries that are new.
    pub writes: Vec<Write>,
}

/// Applies those entries that are not there yet; `there` are their documents, in their order.
pub(super) fn settle(
    client: &FirestoreClient,
    holder: &Holder,
    entries: &[LedgerEntry],
    there: &[Option<Document>],
) -> Result<AccountUpdate, CreditsError> {
    let mut settled =
        AccountUpdate { account: holder.account.unwrap_or_default(), entries: holder.entries, writes: Vec::new() };
    let mut known = HashSet::new();
    for (entry, there) in entries.iter().zip(there) {
        if there.is_none() && known.insert(&entry.id) {
            settled.account = settled.account.apply(entry)?;
            settled.entries += 1;
            settled.writes.push(write_entry(client.entry(&entry.id), entry, settled.entries));
        }
    }
    Ok(settled)
}

/// The write of the account, unless nothing is new.
pub(super) fn write_account(settled: &AccountUpdate, name: String, read: Option<&Document>) -> Option<Write> {
    let fields = Holder::account_fields(&settled.account, settled.entries);
    (!settled.writes.is_empty()).then(|| guarded(merge(name, fields), read))
}

/// All of a transition's entries are of the account that pays for the job.
pub(super) fn check(op: &'static str, account: &AccountId, entries: &[LedgerEntry]) -> Result<(), BackendError> {
    if entries.iter().all(|entry| entry.account == *account) {
        return Ok(());
    }
    Err(BackendError::new(ErrorKind::Internal, op).because("a ledger entry of another account"))
}

impl FirestoreStore {
    pub(super) async fn apply(&self, op: &'static str, entry: &LedgerEntry) -> Result<Account, BackendError> {
        let _turn = self.account_locks.of(&entry.account).await;
        let mut tries = self.client.tries();
        loop {
            match self.try_apply(op, entry).await {
                Ok(account) => return Ok(account),
                Err(failure) => tries.again(failure).await?,
            }
        }
    }

    async fn try_apply(&self, op: &'static str, entry: &LedgerEntry) -> Result<Account, Failure> {
        let entries = std::slice::from_ref(entry);
        let names = names(&self.client, &entry.account, entries);
        let read = self.client.get(op, &names).await?;
        let (account, there) = (read[0].as_ref(), &read[1..]);
        let holder = Holder::read(op, account)?;
        let refused = |reason| BackendError::new(ErrorKind::Refused, op).because(reason);
        let mut settled = settle(&self.client, &holder, entries, there).map_err(refused)?;
        let Some(write) = write_account(&settled, names[0].clone(), account) else { return Ok(settled.account) };
        settled.writes.push(write);
        self.client.commit(op, settled.writes).await?;
        Ok(settled.account)
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
