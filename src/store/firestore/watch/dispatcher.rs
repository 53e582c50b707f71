//! Knows what is watched, and dispatches changes to the watchers.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use super::{
    inbox::{Change, Inbox},
    listen_stream,
};
use crate::{
    domain::{
        Timestamp,
        clock::{Clock, truncate},
        ids::{JobId, UserId},
    },
    error::{BackendError, ErrorKind},
    store::{
        Version, Watch,
        firestore::client::FirestoreClient,
        watch::{BackgroundTask, Mailbox, OP},
    },
};

/// How far back the stream listens to a user's changes. It covers the time between the server's stamp on a write and
/// the moment the write is visible, and the time by which this machine's clock is ahead.
const OVERLAP: Duration = Duration::from_mins(5);
/// How often versions that cannot arrive again are dropped.
const PRUNE_EVERY: Duration = Duration::from_mins(1);

/// What the server reports changes of.
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

/// Owns the listening task, which ends when this is dropped.
pub(in crate::store::firestore) struct ChangeDispatcher {
    shared: Arc<DispatchState>,
    listener: BackgroundTask,
}

/// The state that watchers and the listening task share.
pub(super) struct DispatchState {
    pub client: Arc<FirestoreClient>,
    clock: Arc<dyn Clock>,
    targets: Mutex<Targets>,
    /// Notified when a watcher comes or goes.
    pub wake: Notify,
}

#[derive(Default)]
struct Targets {
    by_key: HashMap<Key, Target>,
    /// The keys that came or went since the listening task last read them.
    changed: HashSet<Key>,
}

struct Target {
    mailboxes: Vec<Arc<Mailbox<Inbox>>>,
    /// The latest version of each job that was dispatched, and when it was written.
    dispatched: HashMap<JobId, (Version, Option<Timestamp>)>,
    /// Everything written before has been dispatched.
    since: Timestamp,
}

impl ChangeDispatcher {
    pub(in crate::store::firestore) fn new(client: Arc<FirestoreClient>, clock: Arc<dyn Clock>) -> Arc<Self> {
        let shared = DispatchState { client, clock, targets: Mutex::default(), wake: Notify::new() };
        Arc::new(Self { shared: Arc::new(shared), listener: BackgroundTask::default() })
    }

    pub(super) fn client(&self) -> &Arc<FirestoreClient> {
        &self.shared.client
    }

    /// Starts listening, unless that runs or there is no runtime yet; then the first watcher's stream starts it.
    pub(super) fn follow(&self) {
        self.listener.ensure_started(|| listen_stream::listen(Arc::clone(&self.shared)));
    }

    /// Adds a watcher, and returns when it was added.
    pub(super) fn register(&self, mailbox: &Arc<Mailbox<Inbox>>) -> Timestamp {
        let now = truncate(self.shared.clock.now());
        let key = Key::from(mailbox.what());
        let mut targets = self.shared.lock();
        let new = || Target { mailboxes: Vec::new(), dispatched: HashMap::new(), since: with_overlap(now) };
        let target = targets.by_key.entry(key.clone()).or_insert_with(new);
        target.mailboxes.push(Arc::clone(mailbox));
        if target.mailboxes.len() == 1 {
            targets.changed.insert(key);
        }
        drop(targets);
        self.shared.wake.notify_one();
        self.follow();
        now
    }

    pub(super) fn unregister(&self, mailbox: &Arc<Mailbox<Inbox>>) {
        let key = Key::from(mailbox.what());
        let mut targets = self.shared.lock();
        let Some(target) = targets.by_key.get_mut(&key) else { return };
        target.mailboxes.retain(|other| !Arc::ptr_eq(other, mailbox));
        if target.mailboxes.is_empty() {
            targets.by_key.remove(&key);
            targets.changed.insert(key);
            drop(targets);
            self.shared.wake.notify_one();
        }
    }
}

impl DispatchState {
    fn lock(&self) -> MutexGuard<'_, Targets> {
        // A panic under this lock loses nothing: every change is also in the database.
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.lock().by_key.is_empty()
    }

    /// All watched keys, each with the time from which to listen.
    pub(super) fn all(&self) -> Vec<(Key, Timestamp)> {
        let mut targets = self.lock();
        targets.changed.clear();
        targets.by_key.iter().map(|(key, target)| (key.clone(), target.since)).collect()
    }

    /// The keys that came, with the time from which to listen, or went (`None`) since the last call.
    pub(super) fn changed(&self) -> Vec<(Key, Option<Timestamp>)> {
        let mut targets = self.lock();
        let changed = std::mem::take(&mut targets.changed);
        let since = |key: &Key| targets.by_key.get(key).map(|target| target.since);
        let with_since = |key: Key| {
            let since = since(&key);
            (key, since)
        };
        changed.into_iter().map(with_since).collect()
    }

    /// The time from which to listen to a key; `None` when it is not watched any longer.
    pub(super) fn since(&self, key: &Key) -> Option<Timestamp> {
        self.lock().by_key.get(key).map(|target| target.since)
    }

    /// Dispatches a change to the watchers of a key, unless they have received it.
    pub(super) fn dispatch(&self, key: &Key, change: &Arc<Change>) {
        let mut targets = self.lock();
        let Some(target) = targets.by_key.get_mut(key) else { return };
        let job = &change.job;
        if target.dispatched.get(&job.value.id).is_some_and(|(version, _)| *version >= job.version) {
            return;
        }
        target.dispatched.insert(job.value.id.clone(), (job.version, change.at));
        for mailbox in &target.mailboxes {
            mailbox.push(change);
        }
    }

    /// Notes that everything up to a moment of the database's time has been dispatched to the watchers of these keys.
    pub(super) fn complete(&self, keys: impl IntoIterator<Item = Key>, upto: Timestamp) {
        let since = with_overlap(upto);
        let mut targets = self.lock();
        for key in keys {
            let Some(target) = targets.by_key.get_mut(&key) else { continue };
            target.since = target.since.max(since);
            if let Key::User(_) = key {
                let since = target.since;
                // Earlier writes do not arrive again, so their versions are not needed.
                target.dispatched.retain(|_, (_, at)| at.is_none_or(|at| at >= since));
            }
        }
    }

    /// Whether it is time to call [`Self::complete`] again.
    pub(super) fn is_completion_due(last: Option<Timestamp>, now: Timestamp) -> bool {
        last.is_none_or(|last| last.checked_add(PRUNE_EVERY).is_ok_and(|next| next <= now))
    }

    /// Ends the streams of the watchers of a key, or of all.
    pub(super) fn fail(&self, key: Option<&Key>, error: &BackendError) {
        let mut targets = self.lock();
        let failed: Vec<_> = match key {
            Some(key) => targets.by_key.remove(key).into_iter().collect(),
            None => targets.by_key.drain().map(|(_, target)| target).collect(),
        };
        drop(targets);
        for mailbox in failed.iter().flat_map(|target| &target.mailboxes) {
            mailbox.fail(copy(error));
        }
    }
}

/// A copy for another watcher.
fn copy(error: &BackendError) -> BackendError {
    let reason = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    BackendError::new(if error.is_transient() { ErrorKind::Unavailable } else { error.kind }, OP).because(reason)
}

fn with_overlap(at: Timestamp) -> Timestamp {
    at.checked_sub(OVERLAP).unwrap_or(at)
}
