//! Watching: a snapshot by reading, then changes by listening.
//!
//! A process has one `Listen` stream, whatever the number of watchers ([`listen_stream`]); each watched job and each
//! watched user is a target or two of it ([`dispatcher`]). The target of a job is its document. The target of a user is a
//! query by `changedAt`, the server's time of the last write, from a while before now: no job ever leaves that query, so
//! none can begin and end unnoticed while the connection is lost. After a loss every target is added again, a user's from
//! a while before the last moment that was complete, and the version of a job identifies repeated changes.

mod dispatcher;
mod inbox;
mod listen_stream;

use std::{collections::HashMap, sync::Arc};

use futures::{future::try_join_all, stream::BoxStream};
use gcloud_sdk::google::firestore::v1::structured_query::field_filter::Operator;

pub(super) use self::dispatcher::ChangeDispatcher;
use self::inbox::{Change, Inbox, NextItem};
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
    store::{
        Result, Version, Versioned, Watch,
        watch::{self, Mailbox, OP, Ready, SnapshotProgress, WatchSource},
    },
};

/// The source of one watcher's stream.
struct Watcher {
    dispatcher: Arc<ChangeDispatcher>,
    mailbox: Arc<Mailbox<Inbox>>,
    /// When the stream was opened, by this machine's clock.
    opened: Timestamp,
    /// The time of the snapshot, per kind.
    snapshot: HashMap<JobKind, Timestamp>,
    /// The versions that came from a read, until the dispatcher has caught up with them.
    read: HashMap<JobId, Version>,
}

/// The stream of one watcher.
pub(super) fn stream(dispatcher: &Arc<ChangeDispatcher>, what: &Watch) -> BoxStream<'static, Result<Versioned<Job>>> {
    let mailbox = Mailbox::new(what.clone());
    let opened = dispatcher.register(&mailbox);
    let dispatcher = Arc::clone(dispatcher);
    let watcher = Watcher { dispatcher, mailbox, opened, snapshot: HashMap::new(), read: HashMap::new() };
    watch::stream(what, watcher)
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.dispatcher.unregister(&self.mailbox);
    }
}

impl WatchSource for Watcher {
    async fn read_snapshot(&mut self, ready: &mut Ready) -> Result<SnapshotProgress> {
        self.dispatcher.follow();
        match self.mailbox.what().clone() {
            Watch::Job(id) | Watch::Changes(id) => {
                if let Some(job) = self.look_up(&id).await? {
                    self.push_read(job, ready);
                }
            }
            Watch::User(user) => self.read_unfinished(&user, ready).await?,
        }
        Ok(SnapshotProgress::Complete)
    }

    async fn next_change(&mut self, ready: &mut Ready) -> Result<()> {
        match self.mailbox.take() {
            NextItem::Change(change) => {
                if self.is_to_be_shown(&change) {
                    let job = Arc::try_unwrap(change).map_or_else(|shared| shared.job.clone(), |change| change.job);
                    ready.push_back(job);
                }
            }
            NextItem::ReadJob(id) => {
                if let Some(job) = self.look_up(&id).await?
                    && self.is_unread(&job)
                {
                    self.push_read(job, ready);
                }
            }
            NextItem::Failed(error) => return Err(error),
            NextItem::Nothing => {
                self.dispatcher.follow();
                self.mailbox.woken().await;
            }
        }
        Ok(())
    }
}

impl Watcher {
    async fn look_up(&self, id: &JobId) -> Result<Option<Versioned<Job>>> {
        let client = self.dispatcher.client();
        let document = client.get_one(OP, client.job(id)).await?;
        document.map(|document| read_job(OP, document)).transpose()
    }

    /// Makes a job ready that came from a read.
    fn push_read(&mut self, job: Versioned<Job>, ready: &mut Ready) {
        self.read.insert(job.value.id.clone(), job.version);
        ready.push_back(job);
    }

    async fn read_unfinished(&mut self, user: &UserId, ready: &mut Ready) -> Result<()> {
        let client = Arc::clone(self.dispatcher.client());
        let queries = JobKind::ALL.map(|kind| {
            let unfinished = Status::ALL.into_iter().filter(|status| !status.is_final());
            let own = filter("userId", Operator::Equal, string(user.as_str()));
            client.query(OP, query(kind.collection(), vec![own, in_status(unfinished, kind)]))
        });
        let mut jobs = Vec::new();
        for (kind, found) in JobKind::ALL.into_iter().zip(try_join_all(queries).await?) {
            self.snapshot.extend(found.at.map(|at| (kind, at)));
            for document in found.documents {
                jobs.push((updated(&document), read_job(OP, document)?));
            }
        }
        jobs.sort_by_key(|(at, _)| *at);
        for (_, job) in jobs {
            self.push_read(job, ready);
        }
        Ok(())
    }

    /// Whether the reader needs this change: it is neither in the snapshot nor read already.
    fn is_to_be_shown(&mut self, change: &Change) -> bool {
        let job = &change.job;
        if !self.is_unread(job) {
            return false;
        }
        self.read.remove(&job.value.id);
        let Some(snapshot) = self.snapshot.get(&job.value.kind()) else { return true };
        // The snapshot of a user contains unfinished jobs only, so it misses a job that finished while it was read. Only
        // the clock tells whether the job finished before the stream was opened; a slow clock shows an old end again,
        // which is better than to miss one.
        let known_until = if job.value.status().is_final() { self.opened.min(*snapshot) } else { *snapshot };
        change.at.is_none_or(|at| at > known_until)
    }

    /// Whether no read has returned this version or a later one.
    fn is_unread(&self, job: &Versioned<Job>) -> bool {
        self.read.get(&job.value.id).is_none_or(|read| *read < job.version)
    }
}
