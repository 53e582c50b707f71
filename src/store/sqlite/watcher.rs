//! One watcher: a snapshot, then changes, conflated per job while the reader is slow.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use futures::stream::{self, BoxStream, StreamExt as _};
use rusqlite::{Connection, OptionalExtension as _, params};
use tokio::sync::Notify;

use super::{
    changes::{self, PAGE},
    hub::Hub,
    rows::{decode, find, last_seq},
};
use crate::{
    domain::{
        ids::{JobId, UserId},
        job::{Job, Status},
        kind::JobKind,
    },
    embedded::Outcome,
    store::{Result, Versioned, Watch},
};

const OP: &str = "store.watch";

/// Where the hub leaves changes for one watcher.
pub(super) struct Slot {
    what: Watch,
    inbox: Mutex<Inbox>,
    wakeup: Notify,
}

/// At most [`PAGE`] changes wait here, the latest of each job, by their number. Beyond that nothing waits: the watcher
/// reads from the database when it gets round to it, so a slow reader costs no memory.
#[derive(Default)]
struct Inbox {
    changes: BTreeMap<u64, Arc<Versioned<Job>>>,
    numbers: HashMap<JobId, u64>,
    behind: Option<Behind>,
    /// Everything up to this number has been read from the database and must not be handed over again.
    read: u64,
}

/// What a watcher has to read: everything after `from`; there is something up to `latest`.
#[derive(Clone, Copy)]
struct Behind {
    from: u64,
    latest: u64,
}

enum Taken {
    Change(u64, Arc<Versioned<Job>>),
    Behind(u64),
    Nothing,
}

impl Slot {
    pub(super) fn new(what: Watch) -> Arc<Self> {
        Arc::new(Self { what, inbox: Mutex::default(), wakeup: Notify::new() })
    }

    /// Returns when there may be something to take.
    pub(super) async fn wait(&self) {
        self.wakeup.notified().await;
    }

    pub(super) fn what(&self) -> &Watch {
        &self.what
    }

    fn inbox(&self) -> std::sync::MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, seq: u64, change: &Arc<Versioned<Job>>) {
        let mut inbox = self.inbox();
        if seq <= inbox.read {
            return;
        }
        if let Some(behind) = &mut inbox.behind {
            behind.latest = seq;
        } else {
            if let Some(before) = inbox.numbers.insert(change.value.id.clone(), seq) {
                inbox.changes.remove(&before);
            }
            inbox.changes.insert(seq, Arc::clone(change));
            if inbox.changes.len() > PAGE {
                let first = inbox.changes.first_key_value().map_or(seq, |(first, _)| *first);
                let behind = Some(Behind { from: first - 1, latest: seq });
                *inbox = Inbox { behind, read: inbox.read, ..Inbox::default() };
            }
        }
        drop(inbox);
        self.wakeup.notify_one();
    }

    fn take(&self) -> Taken {
        let mut inbox = self.inbox();
        if let Some(behind) = inbox.behind {
            return Taken::Behind(behind.from);
        }
        let Some((seq, change)) = inbox.changes.pop_first() else { return Taken::Nothing };
        inbox.numbers.remove(&change.value.id);
        if inbox.changes.is_empty() {
            // Gives the memory of a burst back: there may be thousands of idle watchers.
            *inbox = Inbox { read: inbox.read, ..Inbox::default() };
        }
        Taken::Change(seq, change)
    }

    /// Notes that everything up to `seq` has been read.
    fn has_read(&self, seq: u64) {
        let mut inbox = self.inbox();
        inbox.read = seq;
        inbox.behind = inbox
            .behind
            .and_then(|behind| (seq < behind.latest).then_some(Behind { from: seq.max(behind.from), ..behind }));
    }
}

/// The state of a watcher's stream.
struct Watcher {
    hub: Arc<Hub>,
    slot: Arc<Slot>,
    phase: Phase,
    /// The snapshot contains every change up to this number.
    snapshot: u64,
    ready: VecDeque<Versioned<Job>>,
}

enum Phase {
    Begin,
    /// Rows of the snapshot that are still to be read.
    Snapshot(VecDeque<i64>),
    Live,
    Failed,
}

/// The stream of one watcher.
///
/// Interest is taken here and now, before anything is read: a change that is committed from this moment on is either in
/// the snapshot or in the slot.
pub(super) fn stream(hub: &Arc<Hub>, what: Watch) -> BoxStream<'static, Result<Versioned<Job>>> {
    let slot = Slot::new(what);
    hub.register(&slot);
    hub.follow();
    let hub = Arc::clone(hub);
    let phase = if let Watch::Changes(_) = slot.what { Phase::Live } else { Phase::Begin };
    let watcher = Watcher { hub, slot, phase, snapshot: 0, ready: VecDeque::new() };
    stream::unfold(watcher, |mut watcher| async move { watcher.next().await.map(|item| (item, watcher)) }).boxed()
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.hub.unregister(&self.slot);
    }
}

impl Watcher {
    async fn next(&mut self) -> Option<Result<Versioned<Job>>> {
        loop {
            if let Some(job) = self.ready.pop_front() {
                if self.ready.is_empty() {
                    // There may be thousands of idle watchers, and jobs are large.
                    self.ready = VecDeque::new();
                }
                return Some(Ok(job));
            }
            if let Phase::Failed = self.phase {
                return None;
            }
            if let Err(error) = self.step().await {
                // The reader learns why and may watch again; a stream that went on could have missed a change.
                self.phase = Phase::Failed;
                return Some(Err(error));
            }
        }
    }

    /// Makes something ready, or waits.
    async fn step(&mut self) -> Result<()> {
        match &mut self.phase {
            Phase::Begin => {
                self.hub.follow();
                self.begin().await
            }
            Phase::Snapshot(rows) => {
                let page: Vec<i64> = rows.drain(..rows.len().min(PAGE)).collect();
                if page.is_empty() {
                    self.phase = Phase::Live;
                    return Ok(());
                }
                let newest = self.snapshot;
                let read = move |db: &Connection| read_rows(db, &page, newest);
                self.ready.extend(self.hub.readers().read(OP, read).await?);
                Ok(())
            }
            Phase::Live => match self.slot.take() {
                Taken::Change(seq, change) => {
                    self.accept(seq, Arc::unwrap_or_clone(change));
                    Ok(())
                }
                Taken::Behind(from) => self.read_after(from).await,
                Taken::Nothing => {
                    self.slot.wait().await;
                    Ok(())
                }
            },
            Phase::Failed => Ok(()),
        }
    }

    async fn begin(&mut self) -> Result<()> {
        match self.slot.what.clone() {
            Watch::Job(id) | Watch::Changes(id) => {
                let read = move |db: &Connection| {
                    let view = db.unchecked_transaction()?;
                    Ok((last_seq(&view)?, find(&view, OP, id.as_str())?))
                };
                let (newest, job) = self.hub.readers().read(OP, read).await?;
                (self.snapshot, self.phase) = (newest, Phase::Live);
                self.ready.extend(job);
            }
            Watch::User(user) => {
                let read = move |db: &Connection| {
                    let view = db.unchecked_transaction()?;
                    Ok((last_seq(&view)?, unfinished(&view, &user)?))
                };
                let (newest, rows) = self.hub.readers().read(OP, read).await?;
                (self.snapshot, self.phase) = (newest, Phase::Snapshot(rows));
            }
        }
        Ok(())
    }

    /// Makes a change ready unless the snapshot contains it.
    fn accept(&mut self, seq: u64, change: Versioned<Job>) {
        let is_in_snapshot = match self.slot.what {
            Watch::Job(_) | Watch::Changes(_) => true,
            // A user's snapshot is of unfinished jobs: one that finished while it was being read is not in it.
            Watch::User(_) => !change.value.status().is_final(),
        };
        if seq > self.snapshot || !is_in_snapshot {
            self.ready.push_back(change);
        }
    }

    async fn read_after(&mut self, from: u64) -> Result<()> {
        let slot = Arc::clone(&self.slot);
        let read = move |db: &Connection| {
            changes::after(db, OP, from, |id, user| match &slot.what {
                Watch::Job(wanted) | Watch::Changes(wanted) => wanted.as_str() == id,
                Watch::User(wanted) => wanted.as_str() == user,
            })
        };
        let changes = self.hub.readers().read(OP, read).await?;
        for (seq, change) in changes.jobs {
            self.accept(seq, change);
        }
        self.slot.has_read(changes.upto);
        Ok(())
    }
}

/// The rows of a user's unfinished jobs, oldest change first.
fn unfinished(db: &Connection, user: &UserId) -> Outcome<VecDeque<i64>> {
    let sql = "SELECT seq, row FROM jobs WHERE user_id = ? AND kind = ? AND status = ?";
    let mut found = db.prepare_cached(sql)?;
    let mut rows: Vec<(i64, i64)> = Vec::new();
    for kind in JobKind::ALL {
        for status in Status::ALL.into_iter().filter(|status| !status.is_final()) {
            let key = params![user.as_str(), kind.id_prefix(), status.shown_as(kind)];
            for row in found.query_map(key, |row| Ok((row.get(0)?, row.get(1)?)))? {
                rows.push(row?);
            }
        }
    }
    rows.sort_unstable();
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

/// Jobs by row, without those that changed after `newest`: the slot has them.
fn read_rows(db: &Connection, rows: &[i64], newest: u64) -> Outcome<Vec<Versioned<Job>>> {
    let mut found = db.prepare_cached("SELECT document FROM jobs WHERE row = ? AND seq <= ?")?;
    let newest = i64::try_from(newest).unwrap_or(i64::MAX);
    let mut jobs = Vec::with_capacity(rows.len());
    for row in rows {
        let text: Option<String> = found.query_row([*row, newest], |row| row.get(0)).optional()?;
        if let Some(text) = text {
            jobs.push(decode(OP, &text)?);
        }
    }
    Ok(jobs)
}
