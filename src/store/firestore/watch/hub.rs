//! Who watches what, and what has been handed to whom.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, task::AbortHandle};

use super::{
    listen_stream,
    slot::{Change, Slot},
};
use crate::{
    domain::{
        Timestamp,
        clock::{Clock, truncate},
        ids::{JobId, UserId},
    },
    error::{BackendError, ErrorKind},
    store::{Version, Watch, firestore::client::FirestoreClient},
};

/// How far back a user's changes are listened to. It covers the time between the server's stamp on a write and the
/// moment the write is seen, and what this machine's clock is ahead by.
const SLACK: Duration = Duration::from_mins(5);
/// How often what cannot come a second time is forgotten.
const FORGET: Duration = Duration::from_mins(1);

/// What the server is asked to tell of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Job(JobId),
    User(UserId),
}

impl From<&Watch> for Key {
    fn from(what: &Watch) -> Self {
        match what {
            Watch::Job(id) | Watch::Changes(id) => Self::Job(id.clone()),
            Watch::User(user) => Self::User(user.clone()),
        }
    }
}

/// The store's end of watching. The last one to go ends the listening.
pub(in crate::store::firestore) struct Hub {
    shared: Arc<Shared>,
    listener: Mutex<Option<AbortHandle>>,
}

/// What watchers and the listening task share.
pub(super) struct Shared {
    pub client: Arc<FirestoreClient>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Notified when somebody begins or ends to watch.
    pub wake: Notify,
}

#[derive(Default)]
struct State {
    targets: HashMap<Key, Target>,
    /// Which of them came or went since the listening task has last looked.
    changed: HashSet<Key>,
}

struct Target {
    slots: Vec<Arc<Slot>>,
    /// Of each job the latest version handed out, and when it was written.
    known: HashMap<JobId, (Version, Option<Timestamp>)>,
    /// Everything written before has been handed out.
    since: Timestamp,
}

impl Hub {
    pub(in crate::store::firestore) fn new(client: Arc<FirestoreClient>, clock: Arc<dyn Clock>) -> Arc<Self> {
        let shared = Shared { client, clock, state: Mutex::default(), wake: Notify::new() };
        Arc::new(Self { shared: Arc::new(shared), listener: Mutex::default() })
    }

    pub(super) fn client(&self) -> &Arc<FirestoreClient> {
        &self.shared.client
    }

    /// Starts listening, unless that has begun or there is no runtime yet (the first watcher's stream then does it).
    pub(super) fn follow(&self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let mut listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        if listener.as_ref().is_none_or(AbortHandle::is_finished) {
            *listener = Some(runtime.spawn(listen_stream::listen(Arc::clone(&self.shared))).abort_handle());
        }
    }

    /// Takes interest, and answers when.
    pub(super) fn register(&self, slot: &Arc<Slot>) -> Timestamp {
        let now = truncate(self.shared.clock.now());
        let key = Key::from(&slot.what);
        let mut state = self.shared.lock();
        let new = || Target { slots: Vec::new(), known: HashMap::new(), since: before(now) };
        let target = state.targets.entry(key.clone()).or_insert_with(new);
        target.slots.push(Arc::clone(slot));
        if target.slots.len() == 1 {
            state.changed.insert(key);
        }
        drop(state);
        self.shared.wake.notify_one();
        self.follow();
        now
    }

    pub(super) fn unregister(&self, slot: &Arc<Slot>) {
        let key = Key::from(&slot.what);
        let mut state = self.shared.lock();
        let Some(target) = state.targets.get_mut(&key) else { return };
        target.slots.retain(|other| !Arc::ptr_eq(other, slot));
        if target.slots.is_empty() {
            state.targets.remove(&key);
            state.changed.insert(key);
            drop(state);
            self.shared.wake.notify_one();
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let listener = self.listener.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(listener) = listener.take() {
            listener.abort();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under this lock leaves nothing half done that matters: every change is also in the database.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.lock().targets.is_empty()
    }

    /// Everything that is watched now, each with the moment from which on it is to be listened to.
    pub(super) fn all(&self) -> Vec<(Key, Timestamp)> {
        let mut state = self.lock();
        state.changed.clear();
        state.targets.iter().map(|(key, target)| (key.clone(), target.since)).collect()
    }

    /// What came, with that moment, or went, since the last look.
    pub(super) fn changed(&self) -> Vec<(Key, Option<Timestamp>)> {
        let mut state = self.lock();
        let changed = std::mem::take(&mut state.changed);
        let since = |key: &Key| state.targets.get(key).map(|target| target.since);
        let with_since = |key: Key| {
            let since = since(&key);
            (key, since)
        };
        changed.into_iter().map(with_since).collect()
    }

    /// From which moment on a key is to be listened to, if it is still watched.
    pub(super) fn since(&self, key: &Key) -> Option<Timestamp> {
        self.lock().targets.get(key).map(|target| target.since)
    }

    /// Hands a change to those who watch the key, unless they had it.
    pub(super) fn hand(&self, key: &Key, change: &Arc<Change>) {
        let mut state = self.lock();
        let Some(target) = state.targets.get_mut(key) else { return };
        let job = &change.job;
        if target.known.get(&job.value.id).is_some_and(|(version, _)| *version >= job.version) {
            return;
        }
        target.known.insert(job.value.id.clone(), (job.version, change.at));
        for slot in &target.slots {
            slot.push(change);
        }
    }

    /// Notes that everything up to a moment of the database's time has been handed to those who watch these.
    pub(super) fn complete(&self, keys: impl IntoIterator<Item = Key>, upto: Timestamp) {
        let since = before(upto);
        let mut state = self.lock();
        for key in keys {
            let Some(target) = state.targets.get_mut(&key) else { continue };
            target.since = target.since.max(since);
            if let Key::User(_) = key {
                let since = target.since;
                // Whatever was written before does not come again, so nobody will ask for it.
                target.known.retain(|_, (_, at)| at.is_none_or(|at| at >= since));
            }
        }
    }

    /// How long after the last time it is worth to say what is complete.
    pub(super) fn is_worth_it(last: Option<Timestamp>, now: Timestamp) -> bool {
        last.is_none_or(|last| last.checked_add(FORGET).is_ok_and(|next| next <= now))
    }

    /// Ends the streams of those who watch a key, or of all.
    pub(super) fn fail(&self, key: Option<&Key>, error: &BackendError) {
        let mut state = self.lock();
        let failed: Vec<_> = match key {
            Some(key) => state.targets.remove(key).into_iter().collect(),
            None => state.targets.drain().map(|(_, target)| target).collect(),
        };
        drop(state);
        for slot in failed.iter().flat_map(|target| &target.slots) {
            slot.fail(copy(error));
        }
    }
}

/// The same once more, for another reader.
fn copy(error: &BackendError) -> BackendError {
    let why = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    BackendError::new(if error.is_transient() { ErrorKind::Unavailable } else { error.kind }, super::OP).because(why)
}

fn before(at: Timestamp) -> Timestamp {
    at.checked_sub(SLACK).unwrap_or(at)
}
