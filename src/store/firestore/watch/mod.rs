//! Watching: a snapshot by reading, then changes by listening.
//!
//! A process has one `Listen` stream, whatever the number of watchers ([`listen_stream`]); each job and each user that somebody
//! watches is a target or two of it ([`hub`]). A job is listened to as a document. A user's jobs are listened to by
//! `changedAt`, the server's time of their last write, from a while before now: no job ever leaves that query, whatever
//! becomes of it, so none can begin and end unnoticed while the connection is lost. After a loss every target is
//! added anew, a user's from a while before the last moment that was complete, and what comes a second time is known by
//! its version.

mod hub;
mod listen_stream;
mod slot;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use futures::{
    future::try_join_all,
    stream::{self, BoxStream, StreamExt as _},
};
use gcloud_sdk::google::firestore::v1::structured_query::field_filter::Operator;

pub(super) use self::hub::Hub;
use self::slot::{Change, Slot, Taken};
use super::{
    documents::{read_job, updated},
    fields::string,
    list::in_status,
    query::{filter, query},
};
use crate::{
    domain::{
        Timestamp,
        ids::{JobId, UserId},
        job::{Job, Status},
        kind::JobKind,
    },
    store::{Result, Version, Versioned, Watch},
};

const OP: &str = "store.watch";

/// The state of a watcher's stream.
struct Watcher {
    hub: Arc<Hub>,
    slot: Arc<Slot>,
    phase: Phase,
    /// When the stream was asked for, by this machine's clock.
    called: Timestamp,
    /// Of each kind the moment of which the snapshot is.
    snapshot: HashMap<JobKind, Timestamp>,
    /// What was read rather than listened to, until the hub has caught up with it.
    read: HashMap<JobId, Version>,
    ready: VecDeque<Versioned<Job>>,
}

enum Phase {
    Begin,
    Live,
    Failed,
}

/// The stream of one watcher.
///
/// Interest is taken here and now, before anything is read: a change that is committed from this moment on is either in
/// the snapshot or listened to.
pub(super) fn stream(hub: &Arc<Hub>, what: Watch) -> BoxStream<'static, Result<Versioned<Job>>> {
    let phase = if let Watch::Changes(_) = what { Phase::Live } else { Phase::Begin };
    let slot = Slot::new(what);
    let called = hub.register(&slot);
    let watcher = Watcher {
        hub: Arc::clone(hub),
        slot,
        phase,
        called,
        snapshot: HashMap::new(),
        read: HashMap::new(),
        ready: VecDeque::new(),
    };
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
                return Some(Ok(job));
            }
            let step = match self.phase {
                Phase::Begin => self.begin().await,
                Phase::Live => self.listen().await,
                Phase::Failed => return None,
            };
            if let Err(error) = step {
                // The reader learns why and may watch again; a stream that went on could have missed a change.
                self.phase = Phase::Failed;
                return Some(Err(error));
            }
        }
    }

    async fn begin(&mut self) -> Result<()> {
        self.hub.follow();
        match self.slot.what.clone() {
            Watch::Job(id) | Watch::Changes(id) => {
                if let Some(job) = self.look_up(&id).await? {
                    self.hand_out(job);
                }
            }
            Watch::User(user) => self.begin_with_unfinished(&user).await?,
        }
        self.phase = Phase::Live;
        Ok(())
    }

    async fn look_up(&self, id: &JobId) -> Result<Option<Versioned<Job>>> {
        let client = self.hub.client();
        let document = client.get_one(OP, client.job(id)).await?;
        document.map(|document| read_job(OP, document)).transpose()
    }

    /// Makes a job ready that was read.
    fn hand_out(&mut self, job: Versioned<Job>) {
        self.read.insert(job.value.id.clone(), job.version);
        self.ready.push_back(job);
    }

    async fn begin_with_unfinished(&mut self, user: &UserId) -> Result<()> {
        let client = Arc::clone(self.hub.client());
        let answers = JobKind::ALL.map(|kind| {
            let unfinished = Status::ALL.into_iter().filter(|status| !status.is_final());
            let own = filter("userId", Operator::Equal, string(user.as_str()));
            client.query(OP, query(kind.collection(), vec![own, in_status(unfinished, kind)]))
        });
        let mut jobs = Vec::new();
        for (kind, answer) in JobKind::ALL.into_iter().zip(try_join_all(answers).await?) {
            self.snapshot.extend(answer.at.map(|at| (kind, at)));
            for document in answer.documents {
                jobs.push((updated(&document), read_job(OP, document)?));
            }
        }
        jobs.sort_by_key(|(at, _)| *at);
        for (_, job) in jobs {
            self.hand_out(job);
        }
        Ok(())
    }

    /// Makes a change ready, or waits for one.
    async fn listen(&mut self) -> Result<()> {
        match self.slot.take() {
            Taken::Change(change) => self.accept(change),
            Taken::Job(id) => {
                if let Some(job) = self.look_up(&id).await?
                    && self.is_news(&job)
                {
                    self.hand_out(job);
                }
            }
            Taken::Failed(error) => return Err(error),
            Taken::Nothing => {
                self.hub.follow();
                self.slot.wait().await;
            }
        }
        Ok(())
    }

    fn accept(&mut self, change: Arc<Change>) {
        if self.is_new(&change) {
            let job = Arc::try_unwrap(change).map_or_else(|shared| shared.job.clone(), |change| change.job);
            self.ready.push_back(job);
        }
    }

    fn is_new(&mut self, change: &Change) -> bool {
        let job = &change.job;
        if !self.is_news(job) {
            return false;
        }
        self.read.remove(&job.value.id);
        let Some(snapshot) = self.snapshot.get(&job.value.kind()) else { return true };
        // A user's snapshot is of unfinished jobs: one that finished while it was being read is not in it. That it is of
        // before the call only the clock tells; one that is slow shows an old end once more, which is better than none.
        let old = if job.value.status().is_final() { self.called.min(*snapshot) } else { *snapshot };
        change.at.is_none_or(|at| at > old)
    }

    /// Whether the reader has not been handed this version, or a later one, from a read.
    fn is_news(&self, job: &Versioned<Job>) -> bool {
        self.read.get(&job.value.id).is_none_or(|read| *read < job.version)
    }
}
