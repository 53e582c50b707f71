//! One watcher: a snapshot, then changes, conflated per job while the reader is slow.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use futures::stream::BoxStream;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    changes::{self, PAGE},
    dispatcher::ChangeDispatcher,
    rows::{decode, find, last_seq},
};
use crate::{
    domain::{
        ids::{JobId, UserId},
        job::{Job, Status},
        kind::JobKind,
    },
    embedded::DbResult,
    store::{
        Result, Versioned, Watch,
        watch::{self, Mailbox, OP, Ready, SnapshotProgress, WatchSource},
    },
};

/// At most [`PAGE`] changes wait here, the latest of each job, by their number. When more arrive, none wait: the watcher
/// reads them from the database later, so a slow reader costs no memory.
#[derive(Default)]
pub(super) struct Inbox {
    changes: BTreeMap<u64, Arc<Versioned<Job>>>,
    numbers: HashMap<JobId, u64>,
    backlog: Option<Backlog>,
    /// The watcher has read everything up to this number from the database; earlier changes are dropped.
    read_up_to: u64,
}

/// Changes that the watcher has to read from the database: those after `from`, up to `latest` at least.
#[derive(Clone, Copy)]
struct Backlog {
    from: u64,
    latest: u64,
}

enum NextItem {
    Change(u64, Arc<Versioned<Job>>),
    /// Read the changes after this number.
    ReadAfter(u64),
    Nothing,
}

impl Mailbox<Inbox> {
    pub(super) fn push(&self, seq: u64, change: &Arc<Versioned<Job>>) {
        let mut inbox = self.inbox();
        if seq <= inbox.read_up_to {
            return;
        }
        if let Some(backlog) = &mut inbox.backlog {
            backlog.latest = seq;
        } else {
            if let Some(before) = inbox.numbers.insert(change.value.id.clone(), seq) {
                inbox.changes.remove(&before);
            }
            inbox.changes.insert(seq, Arc::clone(change));
            if inbox.changes.len() > PAGE {
                let first = inbox.changes.first_key_value().map_or(seq, |(first, _)| *first);
                let backlog = Some(Backlog { from: first - 1, latest: seq });
                *inbox = Inbox { backlog, read_up_to: inbox.read_up_to, ..Inbox::default() };
            }
        }
        drop(inbox);
        self.wake();
    }

    fn take(&self) -> NextItem {
        let mut inbox = self.inbox();
        if let Some(backlog) = inbox.backlog {
            return NextItem::ReadAfter(backlog.from);
        }
        let Some((seq, change)) = inbox.changes.pop_first() else { return NextItem::Nothing };
        inbox.numbers.remove(&change.value.id);
        if inbox.changes.is_empty() {
            // Frees the memory of a burst: there may be thousands of idle watchers.
            *inbox = Inbox { read_up_to: inbox.read_up_to, ..Inbox::default() };
        }
        NextItem::Change(seq, change)
    }

    /// Notes that the watcher has read everything up to `seq`.
    fn note_read(&self, seq: u64) {
        let mut inbox = self.inbox();
        inbox.read_up_to = seq;
        inbox.backlog = inbox
            .backlog
            .and_then(|backlog| (seq < backlog.latest).then_some(Backlog { from: seq.max(backlog.from), ..backlog }));
    }
}

/// The source of one watcher's stream.
struct Watcher {
    dispatcher: Arc<ChangeDispatcher>,
    mailbox: Arc<Mailbox<Inbox>>,
    /// The snapshot contains every change up to this number.
    snapshot: u64,
    /// Rows of the snapshot that are still to be read; `None` before it has begun.
    unread: Option<VecDeque<i64>>,
}

/// The stream of one watcher.
pub(super) fn stream(dispatcher: &Arc<ChangeDispatcher>, what: &Watch) -> BoxStream<'static, Result<Versioned<Job>>> {
    let mailbox = Mailbox::new(what.clone());
    dispatcher.register(&mailbox);
    dispatcher.follow();
    let watcher = Watcher { dispatcher: Arc::clone(dispatcher), mailbox, snapshot: 0, unread: None };
    watch::stream(what, watcher)
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.dispatcher.unregister(&self.mailbox);
    }
}

impl WatchSource for Watcher {
    async fn read_snapshot(&mut self, ready: &mut Ready) -> Result<SnapshotProgress> {
        let Some(rows) = &mut self.unread else {
            self.dispatcher.follow();
            return self.begin(ready).await;
        };
        let page: Vec<i64> = rows.drain(..rows.len().min(PAGE)).collect();
        if page.is_empty() {
            return Ok(SnapshotProgress::Complete);
        }
        let newest = self.snapshot;
        let read = move |db: &Connection| read_rows(db, &page, newest);
        ready.extend(self.dispatcher.readers().read(OP, read).await?);
        Ok(SnapshotProgress::More)
    }

    async fn next_change(&mut self, ready: &mut Ready) -> Result<()> {
        match self.mailbox.take() {
            NextItem::Change(seq, change) => self.accept(seq, Arc::unwrap_or_clone(change), ready),
            NextItem::ReadAfter(from) => self.read_after(from, ready).await?,
            NextItem::Nothing => self.mailbox.woken().await,
        }
        Ok(())
    }
}

impl Watcher {
    async fn begin(&mut self, ready: &mut Ready) -> Result<SnapshotProgress> {
        match self.mailbox.what().clone() {
            Watch::Job(id) | Watch::Changes(id) => {
                let read = move |db: &Connection| {
                    let view = db.unchecked_transaction()?;
                    Ok((last_seq(&view)?, find(&view, OP, id.as_str())?))
                };
                let (newest, job) = self.dispatcher.readers().read(OP, read).await?;
                self.snapshot = newest;
                ready.extend(job);
                Ok(SnapshotProgress::Complete)
            }
            Watch::User(user) => {
                let read = move |db: &Connection| {
                    let view = db.unchecked_transaction()?;
                    Ok((last_seq(&view)?, unfinished(&view, &user)?))
                };
                let (newest, rows) = self.dispatcher.readers().read(OP, read).await?;
                (self.snapshot, self.unread) = (newest, Some(rows));
                Ok(SnapshotProgress::More)
            }
        }
    }

    /// Makes a change ready unless the snapshot contains it.
    fn accept(&self, seq: u64, change: Versioned<Job>, ready: &mut Ready) {
        let is_in_snapshot = match self.mailbox.what() {
            Watch::Job(_) | Watch::Changes(_) => true,
            // The snapshot of a user contains unfinished jobs only, so it misses a job that finished while it was read.
            Watch::User(_) => !change.value.status().is_final(),
        };
        if seq > self.snapshot || !is_in_snapshot {
            ready.push_back(change);
        }
    }

    async fn read_after(&self, from: u64, ready: &mut Ready) -> Result<()> {
        let mailbox = Arc::clone(&self.mailbox);
        let read = move |db: &Connection| {
            changes::after(db, OP, from, |id, user| match mailbox.what() {
                Watch::Job(wanted) | Watch::Changes(wanted) => wanted.as_str() == id,
                Watch::User(wanted) => wanted.as_str() == user,
            })
        };
        let changes = self.dispatcher.readers().read(OP, read).await?;
        for (seq, change) in changes.jobs {
            self.accept(seq, change, ready);
        }
        self.mailbox.note_read(changes.upto);
        Ok(())
    }
}

/// The rows of a user's unfinished jobs, oldest change first.
fn unfinished(db: &Connection, user: &UserId) -> DbResult<VecDeque<i64>> {
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

/// The jobs of these rows, without those that changed after `newest`: their changes are in the mailbox.
fn read_rows(db: &Connection, rows: &[i64], newest: u64) -> DbResult<Vec<Versioned<Job>>> {
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
