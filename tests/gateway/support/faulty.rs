//! Any backend, with failures on demand.

use std::{
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use mediaforge::{
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

/// How a port misbehaves.
#[derive(Default)]
pub struct Fault {
    kind: Mutex<Option<ErrorKind>>,
    hang: AtomicBool,
    panic: AtomicBool,
}

impl Fault {
    pub fn fail(&self, kind: Option<ErrorKind>) {
        *self.kind.lock().unwrap_or_else(PoisonError::into_inner) = kind;
    }

    pub fn hang(&self) {
        self.hang.store(true, Ordering::SeqCst);
    }

    pub fn panic(&self) {
        self.panic.store(true, Ordering::SeqCst);
    }

    async fn strike(&self, op: &'static str) -> Result<()> {
        assert!(!self.panic.load(Ordering::SeqCst), "secret detail of a panic in {op}");
        if self.hang.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let kind = *self.kind.lock().unwrap_or_else(PoisonError::into_inner);
        kind.map_or(Ok(()), |kind| Err(BackendError::new(kind, op).because("secret detail at /var/lib/secret.db")))
    }
}

/// A backend that works until it is told not to.
pub struct Faulty<P: ?Sized> {
    inner: Arc<P>,
    pub fault: Arc<Fault>,
}

impl<P: ?Sized> Faulty<P> {
    pub fn new(inner: Arc<P>) -> Arc<Self> {
        Arc::new(Self { inner, fault: Arc::default() })
    }

    /// Another port of the same backend: it fails when this one fails.
    pub fn beside<Q: ?Sized>(&self, inner: Arc<Q>) -> Arc<Faulty<Q>> {
        Arc::new(Faulty { inner, fault: Arc::clone(&self.fault) })
    }
}

#[async_trait]
impl JobStore for Faulty<dyn JobStore> {
    async fn insert(&self, first: &Transition) -> Result<Inserted> {
        self.fault.strike("store.insert").await?;
        self.inner.insert(first).await
    }

    async fn get(&self, id: &JobId) -> Result<Option<Versioned<Job>>> {
        self.fault.strike("store.get").await?;
        self.inner.get(id).await
    }

    async fn list(&self, filter: &JobFilter, page: &PageRequest) -> Result<Page<Versioned<Job>>> {
        self.fault.strike("store.list").await?;
        self.inner.list(filter, page).await
    }

    async fn commit(&self, expected: Version, next: &Transition) -> Result<Committed> {
        self.fault.strike("store.commit").await?;
        self.inner.commit(expected, next).await
    }

    async fn delete(&self, id: &JobId, expected: Version) -> Result<()> {
        self.fault.strike("store.delete").await?;
        self.inner.delete(id, expected).await
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Versioned<Job>>> {
        self.inner.due(now, limit).await
    }

    async fn removable(&self, before: Timestamp, limit: usize) -> Result<Vec<Versioned<Job>>> {
        self.inner.removable(before, limit).await
    }

    fn watch(&self, what: Watch) -> BoxStream<'static, Result<Versioned<Job>>> {
        self.inner.watch(what)
    }

    async fn ping(&self) -> Result<()> {
        self.fault.strike("store.ping").await?;
        self.inner.ping().await
    }
}

#[async_trait]
impl AccountStore for Faulty<dyn AccountStore> {
    async fn account(&self, id: &AccountId) -> Result<Option<Account>> {
        self.fault.strike("store.account").await?;
        self.inner.account(id).await
    }

    async fn adjust(&self, entry: &LedgerEntry) -> Result<Account> {
        self.inner.adjust(entry).await
    }

    async fn ledger(&self, account: &AccountId, limit: usize) -> Result<Vec<LedgerEntry>> {
        self.inner.ledger(account, limit).await
    }

    async fn adjustment(&self, account: &AccountId, id: &str) -> Result<Option<LedgerEntry>> {
        self.inner.adjustment(account, id).await
    }

    async fn team_of(&self, user: &UserId) -> Result<Option<TeamId>> {
        self.fault.strike("store.team_of").await?;
        self.inner.team_of(user).await
    }

    async fn set_team(&self, user: &UserId, team: Option<&TeamId>) -> Result<()> {
        self.inner.set_team(user, team).await
    }
}

#[async_trait]
impl JobQueue for Faulty<dyn JobQueue> {
    fn delays(&self) -> bool {
        self.inner.delays()
    }

    async fn publish(&self, dispatch: &Dispatch) -> Result<MessageId> {
        self.fault.strike("queue.publish").await?;
        self.inner.publish(dispatch).await
    }

    async fn dead_letter(&self, dead_letter: &DeadLetter) -> Result<MessageId> {
        self.inner.dead_letter(dead_letter).await
    }

    async fn dead_letters(&self, limit: usize) -> Result<Vec<StoredDeadLetter>> {
        self.inner.dead_letters(limit).await
    }

    async fn discard_dead_letters(&self, keys: &[String]) -> Result<usize> {
        self.inner.discard_dead_letters(keys).await
    }

    async fn purge_dead_letters(&self) -> Result<()> {
        self.inner.purge_dead_letters().await
    }

    async fn ping(&self) -> Result<()> {
        self.fault.strike("queue.ping").await?;
        self.inner.ping().await
    }
}

#[async_trait]
impl MediaStore for Faulty<dyn MediaStore> {
    async fn put(&self, key: &MediaKey, format: MediaFormat, bytes: Bytes) -> Result<()> {
        self.inner.put(key, format, bytes).await
    }

    async fn get(&self, key: &MediaKey, range: Option<Range<u64>>) -> Result<Option<MediaRead>> {
        self.fault.strike("media.get").await?;
        self.inner.get(key, range).await
    }

    async fn head(&self, key: &MediaKey) -> Result<Option<MediaInfo>> {
        self.fault.strike("media.head").await?;
        self.inner.head(key).await
    }

    async fn copy(&self, from: &MediaKey, to: &MediaKey) -> Result<bool> {
        self.fault.strike("media.copy").await?;
        self.inner.copy(from, to).await
    }

    async fn expire(&self, prefix: &str, before: Timestamp) -> Result<usize> {
        self.fault.strike("media.expire").await?;
        self.inner.expire(prefix, before).await
    }

    async fn list(&self, prefix: &str, limit: usize) -> Result<Vec<MediaKey>> {
        self.inner.list(prefix, limit).await
    }

    async fn delete(&self, key: &MediaKey) -> Result<()> {
        self.inner.delete(key).await
    }

    async fn delete_prefix(&self, prefix: &str) -> Result<()> {
        self.inner.delete_prefix(prefix).await
    }

    async fn url(&self, key: &MediaKey, now: Timestamp) -> Result<MediaUrl> {
        self.inner.url(key, now).await
    }

    async fn upload_url(
        &self,
        key: &MediaKey,
        content_type: &'static str,
        max_bytes: u64,
        now: Timestamp,
    ) -> Result<Option<SignedUpload>> {
        self.fault.strike("media.upload_url").await?;
        self.inner.upload_url(key, content_type, max_bytes, now).await
    }

    fn is_behind_the_gateway(&self) -> bool {
        self.inner.is_behind_the_gateway()
    }

    async fn ping(&self) -> Result<()> {
        self.fault.strike("media.ping").await?;
        self.inner.ping().await
    }
}
