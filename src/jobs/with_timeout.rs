//! Ports whose calls end: a backend that does not answer is an error of kind `Timeout`, whoever asked and why.

use std::{future::Future, ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use super::{Ports, Timeouts};
use crate::{
    domain::{
        Timestamp,
        credits::{Account, LedgerEntry},
        ids::{AccountId, JobId, TeamId, UserId},
        job::{Dispatch, Job, Transition},
        message::DeadLetter,
    },
    error::{BackendError, ErrorKind},
    media::{MediaFormat, MediaInfo, MediaKey, MediaRead, MediaStore, MediaUrl, SignedUpload},
    queue::{JobQueue, MessageId, StoredDeadLetter},
    store::{AccountStore, Committed, Inserted, JobFilter, JobStore, Page, PageRequest, Version, Versioned, Watch},
};

type Result<T> = std::result::Result<T, BackendError>;

/// The same ports, none of which takes longer than `timeouts`.
pub(super) fn with_timeouts(ports: Ports, timeouts: Timeouts) -> Ports {
    let Timeouts { backend, media: pictures } = timeouts;
    let Ports { store, accounts, queue, media, .. } = ports;
    Ports {
        store: Arc::new(WithTimeout { port: store, limit: backend }),
        accounts: Arc::new(WithTimeout { port: accounts, limit: backend }),
        queue: Arc::new(WithTimeout { port: queue, limit: backend }),
        media: Arc::new(WithTimeout { port: media, limit: pictures }),
        ..ports
    }
}

struct WithTimeout<P: ?Sized> {
    port: Arc<P>,
    limit: Duration,
}

impl<P: ?Sized> WithTimeout<P> {
    async fn within<T>(&self, op: &'static str, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        if self.limit == Duration::MAX {
            return call.await;
        }
        tokio::time::timeout(self.limit, call).await.unwrap_or_else(|_| {
            let silence = format!("no answer within {:?}", self.limit);
            Err(BackendError::new(ErrorKind::Timeout, op).because(silence))
        })
    }
}

#[async_trait]
impl JobStore for WithTimeout<dyn JobStore> {
    async fn insert(&self, first: &Transition) -> Result<Inserted> {
        self.within("store.insert", self.port.insert(first)).await
    }

    async fn get(&self, id: &JobId) -> Result<Option<Versioned<Job>>> {
        self.within("store.get", self.port.get(id)).await
    }

    async fn list(&self, filter: &JobFilter, page: &PageRequest) -> Result<Page<Versioned<Job>>> {
        self.within("store.list", self.port.list(filter, page)).await
    }

    async fn commit(&self, expected: Version, next: &Transition) -> Result<Committed> {
        self.within("store.commit", self.port.commit(expected, next)).await
    }

    async fn delete(&self, id: &JobId, expected: Version) -> Result<()> {
        self.within("store.delete", self.port.delete(id, expected)).await
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Versioned<Job>>> {
        self.within("store.due", self.port.due(now, limit)).await
    }

    async fn removable(&self, before: Timestamp, limit: usize) -> Result<Vec<Versioned<Job>>> {
        self.within("store.removable", self.port.removable(before, limit)).await
    }

    /// Waiting is what a watch is for.
    fn watch(&self, what: Watch) -> BoxStream<'static, Result<Versioned<Job>>> {
        self.port.watch(what)
    }

    async fn ping(&self) -> Result<()> {
        self.within("store.ping", self.port.ping()).await
    }
}

#[async_trait]
impl AccountStore for WithTimeout<dyn AccountStore> {
    async fn account(&self, id: &AccountId) -> Result<Option<Account>> {
        self.within("store.account", self.port.account(id)).await
    }

    async fn adjust(&self, entry: &LedgerEntry) -> Result<Account> {
        self.within("store.adjust", self.port.adjust(entry)).await
    }

    async fn ledger(&self, account: &AccountId, limit: usize) -> Result<Vec<LedgerEntry>> {
        self.within("store.ledger", self.port.ledger(account, limit)).await
    }

    async fn adjustment(&self, account: &AccountId, id: &str) -> Result<Option<LedgerEntry>> {
        self.within("store.adjustment", self.port.adjustment(account, id)).await
    }

    async fn team_of(&self, user: &UserId) -> Result<Option<TeamId>> {
        self.within("store.team_of", self.port.team_of(user)).await
    }

    async fn set_team(&self, user: &UserId, team: Option<&TeamId>) -> Result<()> {
        self.within("store.set_team", self.port.set_team(user, team)).await
    }
}

#[async_trait]
impl JobQueue for WithTimeout<dyn JobQueue> {
    fn delays(&self) -> bool {
        self.port.delays()
    }

    async fn publish(&self, dispatch: &Dispatch) -> Result<MessageId> {
        self.within("queue.publish", self.port.publish(dispatch)).await
    }

    async fn dead_letter(&self, dead_letter: &DeadLetter) -> Result<MessageId> {
        self.within("queue.dead_letter", self.port.dead_letter(dead_letter)).await
    }

    /// Looking through many dead letters takes many calls, each of which the backend bounds.
    async fn dead_letters(&self, limit: usize) -> Result<Vec<StoredDeadLetter>> {
        self.port.dead_letters(limit).await
    }

    /// As above.
    async fn discard_dead_letters(&self, keys: &[String]) -> Result<usize> {
        self.port.discard_dead_letters(keys).await
    }

    async fn purge_dead_letters(&self) -> Result<()> {
        self.within("queue.purge", self.port.purge_dead_letters()).await
    }

    async fn ping(&self) -> Result<()> {
        self.within("queue.ping", self.port.ping()).await
    }
}

/// Of what is read only the beginning is awaited here; the rest is the reader's to wait for.
#[async_trait]
impl MediaStore for WithTimeout<dyn MediaStore> {
    async fn put(&self, key: &MediaKey, format: MediaFormat, bytes: Bytes) -> Result<()> {
        self.within("media.put", self.port.put(key, format, bytes)).await
    }

    async fn get(&self, key: &MediaKey, range: Option<Range<u64>>) -> Result<Option<MediaRead>> {
        self.within("media.get", self.port.get(key, range)).await
    }

    async fn head(&self, key: &MediaKey) -> Result<Option<MediaInfo>> {
        self.within("media.head", self.port.head(key)).await
    }

    async fn copy(&self, from: &MediaKey, to: &MediaKey) -> Result<bool> {
        self.within("media.copy", self.port.copy(from, to)).await
    }

    async fn expire(&self, prefix: &str, before: Timestamp) -> Result<usize> {
        self.within("media.expire", self.port.expire(prefix, before)).await
    }

    async fn list(&self, prefix: &str, limit: usize) -> Result<Vec<MediaKey>> {
        self.within("media.list", self.port.list(prefix, limit)).await
    }

    async fn delete(&self, key: &MediaKey) -> Result<()> {
        self.within("media.delete", self.port.delete(key)).await
    }

    async fn delete_prefix(&self, prefix: &str) -> Result<()> {
        self.within("media.delete_prefix", self.port.delete_prefix(prefix)).await
    }

    async fn url(&self, key: &MediaKey, now: Timestamp) -> Result<MediaUrl> {
        self.within("media.url", self.port.url(key, now)).await
    }

    async fn upload_url(
        &self,
        key: &MediaKey,
        content_type: &'static str,
        max_bytes: u64,
        now: Timestamp,
    ) -> Result<Option<SignedUpload>> {
        self.within("media.upload_url", self.port.upload_url(key, content_type, max_bytes, now)).await
    }

    fn is_behind_the_gateway(&self) -> bool {
        self.port.is_behind_the_gateway()
    }

    async fn ping(&self) -> Result<()> {
        self.within("media.ping", self.port.ping()).await
    }
}
