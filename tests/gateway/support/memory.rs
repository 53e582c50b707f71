//! Store, queue and media in memory, just enough for these tests: stand-ins for the real backends.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use mediaforge::{
    domain::{
        Timestamp,
        credits::{Account, LedgerEntry},
        ids::{AccountId, JobId},
        job::{Dispatch, Job, Transition},
        message::DeadLetter,
    },
    error::{BackendError, ErrorKind},
    media::{MediaFormat, MediaInfo, MediaKey, MediaRead, MediaStore, MediaUrl},
    queue::{JobQueue, MessageId},
    store::{Committed, Inserted, JobFilter, JobStore, Page, PageRequest, Version, Versioned, Watch},
};
use tokio::sync::broadcast;

type Result<T> = std::result::Result<T, BackendError>;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct Tables {
    jobs: BTreeMap<JobId, Versioned<Job>>,
    order: Vec<JobId>,
    deleted: HashSet<JobId>,
    ledger: Vec<LedgerEntry>,
    accounts: HashMap<AccountId, Account>,
}

impl Tables {
    fn book(&mut self, entries: &[LedgerEntry]) -> std::result::Result<(), mediaforge::domain::credits::CreditsError> {
        let mut accounts = self.accounts.clone();
        let fresh: Vec<_> =
            entries.iter().filter(|entry| self.ledger.iter().all(|old| old.id != entry.id)).cloned().collect();
        for entry in &fresh {
            let account = accounts.entry(entry.account.clone()).or_default();
            *account = account.apply(entry)?;
        }
        self.accounts = accounts;
        self.ledger.extend(fresh);
        Ok(())
    }
}

/// Jobs in a map, changes on a broadcast channel.
pub struct MemoryStore {
    tables: Mutex<Tables>,
    changes: broadcast::Sender<Versioned<Job>>,
}

impl MemoryStore {
    pub fn new() -> Self {
        Self { tables: Mutex::default(), changes: broadcast::channel(1024).0 }
    }
}

#[async_trait]
impl JobStore for MemoryStore {
    async fn insert(&self, first: &Transition) -> Result<Inserted> {
        let mut tables = locked(&self.tables);
        let id = first.job.id.clone();
        if tables.deleted.contains(&id) {
            return Ok(Inserted::Deleted);
        }
        if let Some(job) = tables.jobs.get(&id) {
            return Ok(Inserted::Existing(Box::new(job.clone())));
        }
        if let Err(refused) = tables.book(&first.ledger) {
            return Ok(Inserted::Refused(refused));
        }
        let version = Version(1);
        let job = Versioned { version, value: first.job.clone() };
        tables.jobs.insert(id.clone(), job.clone());
        tables.order.push(id);
        let _ = self.changes.send(job);
        Ok(Inserted::New { version, dispatched: true })
    }

    async fn get(&self, id: &JobId) -> Result<Option<Versioned<Job>>> {
        Ok(locked(&self.tables).jobs.get(id).cloned())
    }

    async fn list(&self, filter: &JobFilter, page: &PageRequest) -> Result<Page<Versioned<Job>>> {
        let tables = locked(&self.tables);
        let all = tables.order.iter().rev().filter_map(|id| tables.jobs.get(id));
        let wanted = |job: &&Versioned<Job>| {
            let status = filter.statuses.is_empty() || filter.statuses.contains(&job.value.status());
            job.value.user == filter.user && job.value.kind() == filter.kind && status
        };
        let mut after = page.after.clone();
        let rest = all.skip_while(|job| match &after {
            Some(id) if job.value.id == *id => {
                after = None;
                true
            }
            Some(_) => true,
            None => false,
        });
        let mut items: Vec<_> = rest.filter(wanted).take(page.limit + 1).cloned().collect();
        let has_more = items.len() > page.limit;
        items.truncate(page.limit);
        Ok(Page { items, has_more })
    }

    async fn commit(&self, expected: Version, next: &Transition) -> Result<Committed> {
        let mut tables = locked(&self.tables);
        match tables.jobs.get(&next.job.id) {
            Some(job) if job.version == expected => {}
            _ => return Err(BackendError::new(ErrorKind::Conflict, "store.commit")),
        }
        let booked = tables.book(&next.ledger);
        booked.map_err(|error| BackendError::new(ErrorKind::Internal, "store.commit").because(error))?;
        let version = Version(expected.0 + 1);
        let job = Versioned { version, value: next.job.clone() };
        tables.jobs.insert(next.job.id.clone(), job.clone());
        let _ = self.changes.send(job);
        Ok(Committed { version, dispatched: true })
    }

    async fn delete(&self, id: &JobId, _expected: Version) -> Result<()> {
        let mut tables = locked(&self.tables);
        tables.jobs.remove(id);
        tables.deleted.insert(id.clone());
        Ok(())
    }

    async fn due(&self, _now: Timestamp, _limit: usize) -> Result<Vec<Versioned<Job>>> {
        Ok(Vec::new())
    }

    async fn account(&self, id: &AccountId) -> Result<Option<Account>> {
        Ok(locked(&self.tables).accounts.get(id).copied())
    }

    async fn adjust(&self, entry: &LedgerEntry) -> Result<Account> {
        let mut tables = locked(&self.tables);
        let booked = tables.book(std::slice::from_ref(entry));
        booked.map_err(|error| BackendError::new(ErrorKind::Internal, "store.adjust").because(error))?;
        Ok(tables.accounts.get(&entry.account).copied().unwrap_or_default())
    }

    async fn ledger(&self, account: &AccountId) -> Result<Vec<LedgerEntry>> {
        let tables = locked(&self.tables);
        Ok(tables.ledger.iter().filter(|entry| entry.account == *account).cloned().collect())
    }

    fn watch(&self, what: Watch) -> BoxStream<'static, Result<Versioned<Job>>> {
        let tables = locked(&self.tables);
        let matches = {
            let what = what.clone();
            move |job: &Versioned<Job>| match &what {
                Watch::Job(id) => job.value.id == *id,
                Watch::User(user) => job.value.user == *user,
            }
        };
        // Of a user's jobs the finished ones are history; of one job its end is news.
        let told =
            |job: &&Versioned<Job>| matches(job) && (matches!(what, Watch::Job(_)) || !job.value.status().is_final());
        let current: Vec<_> = tables.jobs.values().filter(told).cloned().collect();
        let changes = stream::unfold(self.changes.subscribe(), |mut changes| async {
            let change = changes.recv().await.ok()?;
            Some((change, changes))
        });
        let changes = changes.filter(move |job| std::future::ready(matches(job)));
        stream::iter(current).chain(changes).map(Ok).boxed()
    }

    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}

/// A queue that takes everything and delivers nothing.
#[derive(Default)]
pub struct SilentQueue;

#[async_trait]
impl JobQueue for SilentQueue {
    async fn publish(&self, _dispatch: &Dispatch) -> Result<MessageId> {
        Ok(MessageId("1".to_owned()))
    }

    async fn dead_letter(&self, _letter: &DeadLetter) -> Result<MessageId> {
        Ok(MessageId("1".to_owned()))
    }

    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}

/// Pictures in a map.
#[derive(Default)]
pub struct MemoryMedia {
    objects: Mutex<HashMap<MediaKey, (MediaFormat, Bytes)>>,
}

impl MemoryMedia {
    fn info(&self, key: &MediaKey) -> Option<(MediaInfo, Bytes)> {
        let (format, bytes) = locked(&self.objects).get(key).cloned()?;
        let info = MediaInfo {
            length: bytes.len() as u64,
            content_type: format.content_type(),
            etag: format!("e{}", bytes.len()),
            modified: Timestamp::UNIX_EPOCH,
        };
        Some((info, bytes))
    }
}

#[async_trait]
impl MediaStore for MemoryMedia {
    async fn put(&self, key: &MediaKey, format: MediaFormat, bytes: Bytes) -> Result<()> {
        locked(&self.objects).insert(key.clone(), (format, bytes));
        Ok(())
    }

    async fn get(&self, key: &MediaKey, range: Option<Range<u64>>) -> Result<Option<MediaRead>> {
        Ok(self.info(key).map(|(info, bytes)| {
            let range = range.map_or(0..bytes.len(), |range| {
                usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()
            });
            let chunks: Vec<_> = bytes.slice(range).chunks(7).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
            MediaRead { info, body: stream::iter(chunks).boxed() }
        }))
    }

    async fn head(&self, key: &MediaKey) -> Result<Option<MediaInfo>> {
        Ok(self.info(key).map(|(info, _)| info))
    }

    async fn delete(&self, key: &MediaKey) -> Result<()> {
        locked(&self.objects).remove(key);
        Ok(())
    }

    async fn delete_prefix(&self, prefix: &str) -> Result<()> {
        locked(&self.objects).retain(|key, _| !key.as_str().starts_with(prefix));
        Ok(())
    }

    async fn url(&self, key: &MediaKey, _now: Timestamp) -> Result<MediaUrl> {
        Ok(MediaUrl::Gateway(format!("/media/{key}")))
    }

    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}
