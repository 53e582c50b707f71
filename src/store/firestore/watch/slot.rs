//! Where the hub leaves changes for one watcher.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::{
    domain::{Timestamp, ids::JobId, job::Job},
    error::{BackendError, ErrorKind},
    store::{Version, Versioned, Watch},
};

/// Jobs that wait for a slow reader as a whole. Of further ones only the id waits, and the job is read when its turn
/// comes.
const WHOLE: usize = 64;
/// Changed jobs that wait for a slow reader. Beyond, it is told to begin again.
const MOST: usize = 10_000;

/// A job as the database had it since a moment.
#[derive(Debug)]
pub(super) struct Change {
    pub job: Versioned<Job>,
    /// The database's time of the commit.
    pub at: Option<Timestamp>,
}

/// What a watcher finds.
pub(super) enum Taken {
    Change(Arc<Change>),
    /// That job has changed.
    Job(JobId),
    /// Nothing more will come.
    Failed(BackendError),
    Nothing,
}

/// One watcher's inbox: of each job only its latest change waits.
pub(super) struct Slot {
    pub what: Watch,
    inbox: Mutex<Inbox>,
    wakeup: Notify,
}

#[derive(Default)]
struct Inbox {
    waiting: BTreeMap<u64, Waiting>,
    places: HashMap<JobId, (u64, Version)>,
    next: u64,
    whole: usize,
    failed: Option<BackendError>,
}

enum Waiting {
    Whole(Arc<Change>),
    Id(JobId),
}

impl Slot {
    pub(super) fn new(what: Watch) -> Arc<Self> {
        Arc::new(Self { what, inbox: Mutex::default(), wakeup: Notify::new() })
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when there may be something to take.
    pub(super) async fn wait(&self) {
        self.wakeup.notified().await;
    }

    pub(super) fn push(&self, change: &Arc<Change>) {
        let mut inbox = self.inbox();
        let (id, version) = (&change.job.value.id, change.job.version);
        if inbox.failed.is_some() || inbox.places.get(id).is_some_and(|(_, there)| *there >= version) {
            return;
        }
        inbox.remove(id);
        let place = inbox.next;
        inbox.next += 1;
        inbox.places.insert(id.clone(), (place, version));
        let waiting = if inbox.whole < WHOLE {
            inbox.whole += 1;
            Waiting::Whole(Arc::clone(change))
        } else {
            Waiting::Id(id.clone())
        };
        inbox.waiting.insert(place, waiting);
        if inbox.waiting.len() > MOST {
            let behind = BackendError::new(ErrorKind::Unavailable, super::OP).because("too far behind: watch again");
            *inbox = Inbox { failed: Some(behind), ..Inbox::default() };
        }
        drop(inbox);
        self.wakeup.notify_one();
    }

    /// Ends the watcher's stream, behind what waits for it already.
    pub(super) fn fail(&self, error: BackendError) {
        self.inbox().failed.get_or_insert(error);
        self.wakeup.notify_one();
    }

    pub(super) fn take(&self) -> Taken {
        let mut inbox = self.inbox();
        let Some((_, waiting)) = inbox.waiting.pop_first() else {
            return inbox.failed.take().map_or(Taken::Nothing, Taken::Failed);
        };
        let taken = match waiting {
            Waiting::Whole(change) => {
                inbox.whole -= 1;
                inbox.places.remove(&change.job.value.id);
                Taken::Change(change)
            }
            Waiting::Id(id) => {
                inbox.places.remove(&id);
                Taken::Job(id)
            }
        };
        if inbox.waiting.is_empty() {
            // Gives the memory of a burst back: there may be thousands of idle watchers.
            *inbox = Inbox { failed: inbox.failed.take(), ..Inbox::default() };
        }
        taken
    }
}

impl Inbox {
    fn remove(&mut self, id: &JobId) {
        if let Some((place, _)) = self.places.remove(id)
            && let Some(Waiting::Whole(_)) = self.waiting.remove(&place)
        {
            self.whole -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{clock::SystemRandom, kind::JobKind},
        store::document::JobDocument,
    };

    fn change(id: &JobId, version: u64) -> Arc<Change> {
        let record = serde_json::json!({
            "illustrationId": id, "userId": "ada", "status": "cancelled", "version": version, "attempt": 0,
            "createdAt": "2026-01-01T00:00:00Z", "deadline": "2026-01-01T00:00:00Z",
            "cancelledAt": "2026-01-01T00:00:00Z", "requestHash": "0".repeat(64),
            "hold": { "number": 1, "unit": 1, "units": 1 }, "prompt": "a cat", "styleId": "ink", "styleName": "Ink",
            "width": 64, "height": 64, "count": 1,
        });
        let document: JobDocument = serde_json::from_value(record).expect("a document");
        Arc::new(Change { job: document.into_job().expect("a job"), at: None })
    }

    fn slot() -> Arc<Slot> {
        Slot::new(Watch::User("ada".parse().expect("a user id")))
    }

    fn id() -> JobId {
        JobId::random(JobKind::Illustration, &SystemRandom)
    }

    #[test]
    fn of_each_job_the_latest_change_waits() {
        let (slot, one, other) = (slot(), id(), id());
        for (id, version) in [(&one, 1), (&other, 1), (&one, 3), (&one, 2)] {
            slot.push(&change(id, version));
        }
        for (id, version) in [(&other, 1), (&one, 3)] {
            let Taken::Change(taken) = slot.take() else { panic!("nothing waits") };
            assert_eq!((&taken.job.value.id, taken.job.version), (id, Version(version)));
        }
        assert!(matches!(slot.take(), Taken::Nothing));
    }

    #[test]
    fn few_jobs_wait_as_a_whole_and_too_many_end_the_stream() {
        let slot = slot();
        for _ in 0..=WHOLE {
            slot.push(&change(&id(), 1));
        }
        for _ in 0..WHOLE {
            assert!(matches!(slot.take(), Taken::Change(_)));
        }
        assert!(matches!(slot.take(), Taken::Job(_)), "only its id was kept");
        assert!(matches!(slot.take(), Taken::Nothing));
        for _ in 0..=MOST {
            slot.push(&change(&id(), 1));
        }
        assert!(matches!(slot.take(), Taken::Failed(error) if error.kind == ErrorKind::Unavailable));
    }
}
