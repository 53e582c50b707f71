//! The inbox of one watcher: of each job only the latest change waits.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::{
    domain::{Timestamp, ids::JobId, job::Job},
    error::{BackendError, ErrorKind},
    store::{
        Version, Versioned,
        watch::{Mailbox, OP},
    },
};

/// Complete jobs that wait for a slow reader. Of further jobs only the id waits; the watcher reads them later.
const MAX_COMPLETE: usize = 64;
/// Changed jobs that wait for a slow reader. With more, its stream ends and it must watch again.
const MAX_WAITING: usize = 10_000;

/// A committed state of a job.
#[derive(Debug)]
pub(super) struct Change {
    pub job: Versioned<Job>,
    /// The database's time of the commit.
    pub at: Option<Timestamp>,
}

/// The next item of an inbox.
pub(super) enum NextItem {
    Change(Arc<Change>),
    /// The job has changed: read it.
    ReadJob(JobId),
    /// The stream has failed and has no more changes.
    Failed(BackendError),
    Nothing,
}

#[derive(Default)]
pub(super) struct Inbox {
    waiting: BTreeMap<u64, WaitingJob>,
    /// The position of each job in `waiting`, and its version.
    positions: HashMap<JobId, (u64, Version)>,
    next_position: u64,
    complete: usize,
    failed: Option<BackendError>,
}

enum WaitingJob {
    Complete(Arc<Change>),
    Id(JobId),
}

impl Mailbox<Inbox> {
    pub(super) fn push(&self, change: &Arc<Change>) {
        let mut inbox = self.inbox();
        let (id, version) = (&change.job.value.id, change.job.version);
        if inbox.failed.is_some() || inbox.positions.get(id).is_some_and(|(_, waiting)| *waiting >= version) {
            return;
        }
        inbox.remove(id);
        let position = inbox.next_position;
        inbox.next_position += 1;
        inbox.positions.insert(id.clone(), (position, version));
        let waiting = if inbox.complete < MAX_COMPLETE {
            inbox.complete += 1;
            WaitingJob::Complete(Arc::clone(change))
        } else {
            WaitingJob::Id(id.clone())
        };
        inbox.waiting.insert(position, waiting);
        if inbox.waiting.len() > MAX_WAITING {
            let too_slow = BackendError::new(ErrorKind::Unavailable, OP).because("too far behind: watch again");
            *inbox = Inbox { failed: Some(too_slow), ..Inbox::default() };
        }
        drop(inbox);
        self.wake();
    }

    /// Ends the watcher's stream after the changes that wait already.
    pub(super) fn fail(&self, error: BackendError) {
        self.inbox().failed.get_or_insert(error);
        self.wake();
    }

    pub(super) fn take(&self) -> NextItem {
        let mut inbox = self.inbox();
        let Some((_, waiting)) = inbox.waiting.pop_first() else {
            return inbox.failed.take().map_or(NextItem::Nothing, NextItem::Failed);
        };
        let taken = match waiting {
            WaitingJob::Complete(change) => {
                inbox.complete -= 1;
                inbox.positions.remove(&change.job.value.id);
                NextItem::Change(change)
            }
            WaitingJob::Id(id) => {
                inbox.positions.remove(&id);
                NextItem::ReadJob(id)
            }
        };
        if inbox.waiting.is_empty() {
            // Frees the memory of a burst: there may be thousands of idle watchers.
            *inbox = Inbox { failed: inbox.failed.take(), ..Inbox::default() };
        }
        taken
    }
}

impl Inbox {
    fn remove(&mut self, id: &JobId) {
        if let Some((position, _)) = self.positions.remove(id)
            && let Some(WaitingJob::Complete(_)) = self.waiting.remove(&position)
        {
            self.complete -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{clock::SystemRandom, kind::JobKind},
        store::{Watch, document::JobDocument},
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

    fn mailbox() -> Arc<Mailbox<Inbox>> {
        Mailbox::new(Watch::User("ada".parse().expect("a user id")))
    }

    fn id() -> JobId {
        JobId::random(JobKind::Illustration, &SystemRandom)
    }

    #[test]
    fn only_the_latest_change_of_a_job_waits() {
        let (mailbox, one, other) = (mailbox(), id(), id());
        for (id, version) in [(&one, 1), (&other, 1), (&one, 3), (&one, 2)] {
            mailbox.push(&change(id, version));
        }
        for (id, version) in [(&other, 1), (&one, 3)] {
            let NextItem::Change(taken) = mailbox.take() else { panic!("nothing waits") };
            assert_eq!((&taken.job.value.id, taken.job.version), (id, Version(version)));
        }
        assert!(matches!(mailbox.take(), NextItem::Nothing));
    }

    #[test]
    fn few_complete_jobs_wait_and_too_many_jobs_end_the_stream() {
        let mailbox = mailbox();
        for _ in 0..=MAX_COMPLETE {
            mailbox.push(&change(&id(), 1));
        }
        for _ in 0..MAX_COMPLETE {
            assert!(matches!(mailbox.take(), NextItem::Change(_)));
        }
        assert!(matches!(mailbox.take(), NextItem::ReadJob(_)), "only its id waits");
        assert!(matches!(mailbox.take(), NextItem::Nothing));
        for _ in 0..=MAX_WAITING {
            mailbox.push(&change(&id(), 1));
        }
        assert!(matches!(mailbox.take(), NextItem::Failed(error) if error.kind == ErrorKind::Unavailable));
    }
}
