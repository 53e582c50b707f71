//! Dispatches every change of a job to its watchers.
//!
//! The database numbers changes (`seq`) across processes. While this process is the only writer, a change goes straight
//! from the commit to the watchers, without a read. A gap in the numbers means that another process has written: the
//! dispatcher then reads everything after the last number it knows until it has caught up. Either way each watcher gets
//! changes in the order of their numbers.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use rusqlite::Connection;
use tokio::sync::{Notify, watch};

use super::{
    changes::{self, Changes},
    rows::last_seq,
    watcher::Inbox,
};
use crate::{
    domain::{
        ids::{JobId, UserId},
        job::Job,
    },
    embedded::{Embedded, Readers},
    store::{
        Result, Versioned, Watch,
        watch::{BackgroundTask, Mailbox, OP},
    },
};

/// The wait before the numbers are read again while there are no watchers.
const IDLE_WAIT: Duration = Duration::from_millis(100);
/// The wait after a read that failed.
const RETRY_WAIT: Duration = Duration::from_millis(250);

pub(super) struct ChangeDispatcher {
    readers: Arc<Readers>,
    foreign_commits: watch::Receiver<u64>,
    state: Mutex<State>,
    /// Notified when there is a gap to fill, or when a new watcher must not wait.
    gap: Arc<Notify>,
    follower: BackgroundTask,
}

#[derive(Default)]
struct State {
    /// Every change up to this number has been dispatched.
    dispatched: u64,
    /// The highest number of a commit of this process.
    latest: u64,
    /// While this is set, changes reach the watchers through the database alone.
    is_catching_up: bool,
    /// The last read of the database has seen the foreign commits up to this count.
    foreign_commits_read: u64,
    jobs: HashMap<JobId, Vec<Arc<Mailbox<Inbox>>>>,
    users: HashMap<UserId, Vec<Arc<Mailbox<Inbox>>>>,
}

impl State {
    fn is_watched(&self) -> bool {
        !self.jobs.is_empty() || !self.users.is_empty()
    }

    fn watches(&self, id: &JobId, user: &UserId) -> bool {
        self.jobs.contains_key(id) || self.users.contains_key(user)
    }

    fn dispatch(&self, seq: u64, change: &Arc<Versioned<Job>>) {
        let job = &change.value;
        for mailbox in self.jobs.get(&job.id).into_iter().chain(self.users.get(&job.user)).flatten() {
            mailbox.push(seq, change);
        }
    }
}

impl ChangeDispatcher {
    pub(super) fn new(embedded: &Embedded) -> Arc<Self> {
        let dispatched = embedded.sequence_at_open();
        Arc::new(Self {
            readers: embedded.readers(),
            foreign_commits: embedded.foreign_commits(),
            state: Mutex::new(State { dispatched, latest: dispatched, ..State::default() }),
            gap: Arc::default(),
            follower: BackgroundTask::default(),
        })
    }

    pub(super) fn readers(&self) -> &Arc<Readers> {
        &self.readers
    }

    /// Starts following the commits of other processes, unless that runs or there is no runtime yet; then the first
    /// watcher's stream starts it.
    pub(super) fn follow(self: &Arc<Self>) {
        self.follower.ensure_started(|| follow(Arc::downgrade(self), self.foreign_commits.clone()));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under this lock loses nothing: every change is also in the database.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Dispatches a durable change of this process. Call it in the order of the numbers.
    pub(super) fn publish(&self, seq: u64, change: Versioned<Job>) {
        let mut state = self.lock();
        state.latest = state.latest.max(seq);
        if seq <= state.dispatched {
            return;
        }
        if !state.is_watched() {
            state.dispatched = seq;
            state.is_catching_up = false;
        } else if state.is_catching_up || seq != state.dispatched + 1 {
            state.is_catching_up = true;
            drop(state);
            self.gap.notify_one();
        } else {
            state.dispatched = seq;
            if state.watches(&change.value.id, &change.value.user) {
                state.dispatch(seq, &Arc::new(change));
            }
        }
    }

    pub(super) fn register(&self, mailbox: &Arc<Mailbox<Inbox>>) {
        let mut state = self.lock();
        // An idle dispatcher delays the read of foreign commits. Wake it only when there are any: otherwise each attempt
        // of a worker would wake it.
        let is_late = state.foreign_commits_read != *self.foreign_commits.borrow();
        let mailbox = Arc::clone(mailbox);
        match mailbox.what() {
            Watch::Job(id) | Watch::Changes(id) => state.jobs.entry(id.clone()).or_default().push(mailbox),
            Watch::User(user) => state.users.entry(user.clone()).or_default().push(mailbox),
        }
        drop(state);
        if is_late {
            self.gap.notify_one();
        }
    }

    pub(super) fn unregister(&self, mailbox: &Arc<Mailbox<Inbox>>) {
        fn remove<K: std::hash::Hash + Eq>(
            mailboxes: &mut HashMap<K, Vec<Arc<Mailbox<Inbox>>>>,
            key: &K,
            mailbox: &Arc<Mailbox<Inbox>>,
        ) {
            if let Some(list) = mailboxes.get_mut(key) {
                list.retain(|other| !Arc::ptr_eq(other, mailbox));
                if list.is_empty() {
                    mailboxes.remove(key);
                }
            }
        }
        let mut state = self.lock();
        match mailbox.what() {
            Watch::Job(id) | Watch::Changes(id) => remove(&mut state.jobs, id, mailbox),
            Watch::User(user) => remove(&mut state.users, user, mailbox),
        }
    }

    /// Reads and dispatches the changes that this process has not dispatched.
    async fn catch_up(self: &Arc<Self>) -> Result<()> {
        loop {
            // Read the count before the query: a later commit needs another read.
            let foreign_commits = *self.foreign_commits.borrow();
            let (from, is_watched) = {
                let mut state = self.lock();
                state.is_catching_up = state.is_watched();
                (state.dispatched, state.is_catching_up)
            };
            let dispatcher = Arc::clone(self);
            let read = move |db: &Connection| {
                if is_watched {
                    changes::after(db, OP, from, |id, user| dispatcher.watches(id, user))
                } else {
                    Ok(Changes { jobs: Vec::new(), upto: last_seq(db)?, is_complete: true })
                }
            };
            let changes = self.readers.read(OP, read).await?;
            let mut state = self.lock();
            if !is_watched && state.is_watched() {
                // A watcher has registered during the read of the number, perhaps before the last of those changes: read
                // and dispatch them.
                continue;
            }
            for (seq, change) in changes.jobs {
                if seq > state.dispatched {
                    state.dispatch(seq, &Arc::new(change));
                }
            }
            state.dispatched = state.dispatched.max(changes.upto);
            state.foreign_commits_read = foreign_commits;
            if changes.is_complete && (state.dispatched >= state.latest || !is_watched) {
                state.is_catching_up = false;
                return Ok(());
            }
        }
    }

    fn watches(&self, id: &str, user: &str) -> bool {
        let (Ok(id), Ok(user)) = (id.parse(), user.parse()) else { return false };
        self.lock().watches(&id, &user)
    }
}

async fn follow(dispatcher: Weak<ChangeDispatcher>, mut foreign_commits: watch::Receiver<u64>) {
    loop {
        // Mark before the read: a commit in between starts another round.
        foreign_commits.mark_unchanged();
        // Upgrade for one round only: this task must not keep the store, and its database, open.
        let Some(upgraded) = dispatcher.upgrade() else { return };
        let gap = Arc::clone(&upgraded.gap);
        let caught_up = upgraded.catch_up().await;
        drop(upgraded);
        if let Err(error) = caught_up {
            tracing::warn!(error = %error, "cannot read the changes of other processes; trying again");
            tokio::time::sleep(RETRY_WAIT).await;
            continue;
        }
        tokio::select! {
            () = gap.notified() => {}
            is_open = foreign_commit(&mut foreign_commits, &dispatcher) => if !is_open { return },
        }
    }
}

/// Waits for a foreign commit, and without watchers a little longer, so that one read covers many commits. Returns
/// whether the database is still open.
async fn foreign_commit(commits: &mut watch::Receiver<u64>, dispatcher: &Weak<ChangeDispatcher>) -> bool {
    if commits.changed().await.is_err() {
        return false;
    }
    // A watcher that registers during this wait notifies the gap.
    if !dispatcher.upgrade().is_some_and(|dispatcher| dispatcher.lock().is_watched()) {
        tokio::time::sleep(IDLE_WAIT).await;
    }
    true
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures::{FutureExt as _, poll};

    use super::{super::rows, *};
    use crate::{embedded::DbResult, store::Version};

    fn job(id: &JobId) -> Job {
        let record = serde_json::json!({
            "illustrationId": id, "userId": "ada", "status": "cancelled", "version": 1, "attempt": 0,
            "createdAt": "2026-01-01T00:00:00Z", "deadline": "2026-01-01T00:00:00Z",
            "cancelledAt": "2026-01-01T00:00:00Z", "requestHash": "0".repeat(64),
            "hold": { "number": 1, "unit": 1, "units": 1 }, "prompt": "a cat", "styleId": "ink", "styleName": "Ink",
            "width": 64, "height": 64, "count": 1,
        });
        let document: crate::store::document::JobDocument = serde_json::from_value(record).expect("a document");
        document.into_job().expect("a job").value
    }

    #[tokio::test]
    async fn a_watcher_that_registers_during_an_idle_read_misses_no_change() -> DbResult<()> {
        let directory = tempfile::tempdir().expect("a directory");
        let here = Embedded::open(directory.path(), &[]).expect("a database");
        let other = Embedded::open(directory.path(), &[]).expect("a second handle");
        let dispatcher = ChangeDispatcher::new(&here);
        // Every reader is busy, so the read waits after it has found no watchers.
        let (free, busy): (Vec<_>, Vec<_>) = (0..4)
            .map(|_| {
                let (free, wait) = mpsc::channel::<()>();
                let readers = Arc::clone(&dispatcher.readers);
                let read = async move {
                    let hold = move |_: &Connection| {
                        let _ = wait.recv();
                        Ok(())
                    };
                    readers.read(OP, hold).await
                };
                (free, tokio::spawn(read))
            })
            .unzip();
        tokio::task::yield_now().await;
        let mut catch_up = Box::pin(dispatcher.catch_up());
        assert!(poll!(&mut catch_up).is_pending());

        let id = JobId::random(crate::domain::kind::JobKind::Illustration, &crate::domain::clock::SystemRandom);
        let mailbox = Mailbox::new(Watch::Job(id.clone()));
        dispatcher.register(&mailbox);
        let row = rows::JobRow::new(OP, &job(&id), Version(1))?;
        other.write(OP, move |tx| row.insert(tx, "")).await?;

        drop(free);
        for reader in busy {
            reader.await.expect("no panic")?;
        }
        catch_up.await?;
        assert!(mailbox.woken().now_or_never().is_some(), "the change was dispatched");
        Ok(())
    }
}
