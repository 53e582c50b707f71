//! Hands every change of a job to those who watch it.
//!
//! Changes are numbered (`seq`) by the database, across processes. While this process is the only one that writes, a
//! change goes straight from the commit to the watchers, without a read. A gap in the numbers means that another
//! process has written: the hub then reads everything after the last number it knows, and goes on reading until it has
//! caught up. Either way each watcher is handed changes in the order of their numbers.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use rusqlite::Connection;
use tokio::{
    sync::{Notify, watch},
    task::AbortHandle,
};

use super::{
    changes::{self, Changes},
    rows::last_seq,
    watcher::Slot,
};
use crate::{
    domain::{
        ids::{JobId, UserId},
        job::Job,
    },
    embedded::{Embedded, Readers},
    store::{Result, Versioned, Watch},
};

/// How often the hub looks at the numbers while nobody watches.
const IDLE: Duration = Duration::from_millis(100);
/// The wait after the database refused.
const AGAIN: Duration = Duration::from_millis(250);
const OP: &str = "store.watch";

pub(super) struct Hub {
    readers: Arc<Readers>,
    foreign: watch::Receiver<u64>,
    state: Mutex<State>,
    /// Notified when there is a gap to fill, or a first watcher.
    gap: Arc<Notify>,
    follower: Mutex<Option<AbortHandle>>,
}

#[derive(Default)]
struct State {
    /// Every change up to this number has been handed over.
    known: u64,
    /// The highest number heard of.
    latest: u64,
    /// While this is set, changes reach the watchers through the database alone.
    is_catching_up: bool,
    /// Which foreign commit the last look at the numbers has followed.
    looked: u64,
    jobs: HashMap<JobId, Vec<Arc<Slot>>>,
    users: HashMap<UserId, Vec<Arc<Slot>>>,
}

impl State {
    fn is_watched(&self) -> bool {
        !self.jobs.is_empty() || !self.users.is_empty()
    }

    fn watches(&self, id: &JobId, user: &UserId) -> bool {
        self.jobs.contains_key(id) || self.users.contains_key(user)
    }

    fn hand(&self, seq: u64, change: &Arc<Versioned<Job>>) {
        let job = &change.value;
        for slot in self.jobs.get(&job.id).into_iter().chain(self.users.get(&job.user)).flatten() {
            slot.push(seq, change);
        }
    }
}

impl Hub {
    pub(super) fn new(embedded: &Embedded) -> Arc<Self> {
        let known = embedded.sequence_at_open();
        Arc::new(Self {
            readers: embedded.readers(),
            foreign: embedded.foreign_commits(),
            state: Mutex::new(State { known, latest: known, ..State::default() }),
            gap: Arc::default(),
            follower: Mutex::default(),
        })
    }

    pub(super) fn readers(&self) -> &Arc<Readers> {
        &self.readers
    }

    /// Starts following other processes, unless that has begun or there is no runtime yet (the first watcher's
    /// stream then does it).
    pub(super) fn follow(self: &Arc<Self>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let mut follower = self.follower.lock().unwrap_or_else(PoisonError::into_inner);
        if follower.as_ref().is_none_or(AbortHandle::is_finished) {
            *follower = Some(runtime.spawn(follow(Arc::downgrade(self), self.foreign.clone())).abort_handle());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under this lock leaves nothing half done that matters: every change is also in the database.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a change of this process, durable by now. Called in the order of the numbers.
    pub(super) fn publish(&self, seq: u64, change: Versioned<Job>) {
        let mut state = self.lock();
        state.latest = state.latest.max(seq);
        if seq <= state.known {
            return;
        }
        if !state.is_watched() {
            state.known = seq;
            state.is_catching_up = false;
        } else if state.is_catching_up || seq != state.known + 1 {
            state.is_catching_up = true;
            drop(state);
            self.gap.notify_one();
        } else {
            state.known = seq;
            if state.watches(&change.value.id, &change.value.user) {
                state.hand(seq, &Arc::new(change));
            }
        }
    }

    pub(super) fn register(&self, slot: &Arc<Slot>) {
        let mut state = self.lock();
        // An idle hub takes its time with what others have committed. Nothing of the kind: no reason to wake it, which
        // a worker would do with each of its attempts.
        let is_late = state.looked != *self.foreign.borrow();
        match slot.what() {
            Watch::Job(id) | Watch::Changes(id) => state.jobs.entry(id.clone()).or_default().push(Arc::clone(slot)),
            Watch::User(user) => state.users.entry(user.clone()).or_default().push(Arc::clone(slot)),
        }
        drop(state);
        if is_late {
            self.gap.notify_one();
        }
    }

    pub(super) fn unregister(&self, slot: &Arc<Slot>) {
        fn remove<K: std::hash::Hash + Eq>(slots: &mut HashMap<K, Vec<Arc<Slot>>>, key: &K, slot: &Arc<Slot>) {
            if let Some(list) = slots.get_mut(key) {
                list.retain(|other| !Arc::ptr_eq(other, slot));
                if list.is_empty() {
                    slots.remove(key);
                }
            }
        }
        let mut state = self.lock();
        match slot.what() {
            Watch::Job(id) | Watch::Changes(id) => remove(&mut state.jobs, id, slot),
            Watch::User(user) => remove(&mut state.users, user, slot),
        }
    }

    /// Reads what this process has not seen.
    async fn catch_up(self: &Arc<Self>) -> Result<()> {
        loop {
            // Before the query: what is committed after it is another look's.
            let looked = *self.foreign.borrow();
            let (from, is_watched) = {
                let mut state = self.lock();
                state.is_catching_up = state.is_watched();
                (state.known, state.is_catching_up)
            };
            let hub = Arc::clone(self);
            let read = move |db: &Connection| {
                if is_watched {
                    changes::after(db, OP, from, |id, user| hub.watches(id, user))
                } else {
                    Ok(Changes { jobs: Vec::new(), upto: last_seq(db)?, is_all: true })
                }
            };
            let changes = self.readers.read(OP, read).await?;
            let mut state = self.lock();
            if !is_watched && state.is_watched() {
                // Somebody has begun to watch while the number was read, perhaps before the last of those changes:
                // they must be handed over, not passed by.
                continue;
            }
            for (seq, change) in changes.jobs {
                if seq > state.known {
                    state.hand(seq, &Arc::new(change));
                }
            }
            state.known = state.known.max(changes.upto);
            state.looked = looked;
            if changes.is_all && (state.known >= state.latest || !is_watched) {
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

impl Drop for Hub {
    fn drop(&mut self) {
        let follower = self.follower.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(follower) = follower.take() {
            follower.abort();
        }
    }
}

async fn follow(hub: Weak<Hub>, mut foreign: watch::Receiver<u64>) {
    loop {
        // Interest first, then the query: what is committed in between rings again.
        foreign.mark_unchanged();
        // Weak, and upgraded for one round only: a follower must not keep the store, and its database, open.
        let Some(here) = hub.upgrade() else { return };
        let gap = Arc::clone(&here.gap);
        let caught_up = here.catch_up().await;
        drop(here);
        if let Err(error) = caught_up {
            tracing::warn!(error = %error, "cannot read what other processes changed; trying again");
            tokio::time::sleep(AGAIN).await;
            continue;
        }
        tokio::select! {
            () = gap.notified() => {}
            is_open = news(&mut foreign, &hub) => if !is_open { return },
        }
    }
}

/// Waits for a foreign commit; while nobody watches a little longer, so that one look serves many of them. Whether the
/// database is still open.
async fn news(foreign: &mut watch::Receiver<u64>, hub: &Weak<Hub>) -> bool {
    if foreign.changed().await.is_err() {
        return false;
    }
    // Whoever begins to watch meanwhile rings.
    if !hub.upgrade().is_some_and(|hub| hub.lock().is_watched()) {
        tokio::time::sleep(IDLE).await;
    }
    true
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures::{FutureExt as _, poll};

    use super::{super::rows, *};
    use crate::{embedded::Outcome, store::Version};

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
    async fn who_begins_to_watch_while_an_idle_hub_looks_misses_nothing() -> Outcome<()> {
        let directory = tempfile::tempdir().expect("a directory");
        let here = Embedded::open(directory.path(), &[]).expect("a database");
        let other = Embedded::open(directory.path(), &[]).expect("a second handle");
        let hub = Hub::new(&here);
        // Every reader is busy, so the look waits after it has found that nobody watches.
        let (free, busy): (Vec<_>, Vec<_>) = (0..4)
            .map(|_| {
                let (free, wait) = mpsc::channel::<()>();
                let readers = Arc::clone(&hub.readers);
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
        let mut look = Box::pin(hub.catch_up());
        assert!(poll!(&mut look).is_pending());

        let id = JobId::random(crate::domain::kind::JobKind::Illustration, &crate::domain::clock::SystemRandom);
        let slot = Slot::new(Watch::Job(id.clone()));
        hub.register(&slot);
        let row = rows::JobRow::new(OP, &job(&id), Version(1))?;
        other.write(OP, move |tx| row.insert(tx, "")).await?;

        drop(free);
        for reader in busy {
            reader.await.expect("no panic")?;
        }
        look.await?;
        assert!(slot.wait().now_or_never().is_some(), "the change was handed over");
        Ok(())
    }
}
