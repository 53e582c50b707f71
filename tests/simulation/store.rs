//! The store as one process sees it: over a network that loses things.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use mediaforge::{
    domain::{
        Timestamp,
        credits::{Account, LedgerEntry},
        ids::{AccountId, JobId, TeamId, UserId},
        job::{Job, Transition},
    },
    error::{BackendError, ErrorKind},
    store::{
        AccountStore, Committed, Inserted, JobFilter, JobStore, Page, PageRequest, Result, Version, Versioned, Watch,
    },
};
use tokio::{sync::mpsc, time::sleep};

use crate::{plan::Fault, process::Process};

pub struct SimStore(pub Arc<Process>);

impl SimStore {
    async fn read<T: Send + 'static>(
        &self,
        op: &'static str,
        about: &str,
        read: impl FnOnce(&mut crate::records::Records) -> T + Send + 'static,
    ) -> Result<T> {
        let fate = self.0.store_fate(false);
        self.0.call(op, about, fate, |by| Ok(by.world.with_records(by, read))).await
    }
}

#[async_trait]
impl JobStore for SimStore {
    async fn insert(&self, first: &Transition) -> Result<Inserted> {
        let (first, id) = (first.clone(), first.job.id.clone());
        let fate = self.0.store_fate(true);
        let insert = move |by: &Process| Ok(by.world.with_records(by, |records| records.insert(by, &first)));
        self.0.call("store.insert", id.as_str(), fate, insert).await
    }

    async fn get(&self, id: &JobId) -> Result<Option<Versioned<Job>>> {
        let wanted = id.clone();
        self.read("store.get", id.as_str(), move |records| records.rows.get(&wanted).map(|row| row.job.clone())).await
    }

    async fn list(&self, filter: &JobFilter, page: &PageRequest) -> Result<Page<Versioned<Job>>> {
        let (filter, page) = (filter.clone(), page.clone());
        self.read("store.list", "", move |records| records.list(&filter, &page)).await
    }

    async fn commit(&self, expected: Version, next: &Transition) -> Result<Committed> {
        let (next, id) = (next.clone(), next.job.id.clone());
        let fate = self.0.store_fate(true);
        let who = Arc::clone(&self.0);
        let commit = move |by: &Process| {
            let version = by.world.with_records(by, |records| {
                let version = records.commit(by, expected, &next)?;
                records.note_ending(who, fate, &next.job);
                Ok::<_, BackendError>(version)
            })?;
            Ok(Committed { version, dispatched: false })
        };
        self.0.call("store.commit", id.as_str(), fate, commit).await
    }

    async fn delete(&self, id: &JobId, expected: Version) -> Result<()> {
        let wanted = id.clone();
        let fate = self.0.store_fate(true);
        let delete = move |by: &Process| by.world.with_records(by, |records| records.delete(&wanted, expected));
        self.0.call("store.delete", id.as_str(), fate, delete).await
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Versioned<Job>>> {
        self.read("store.due", "", move |records| records.due(now, limit)).await
    }

    async fn removable(&self, before: Timestamp, limit: usize) -> Result<Vec<Versioned<Job>>> {
        self.read("store.removable", "", move |records| records.removable(before, limit)).await
    }

    fn watch(&self, what: Watch) -> BoxStream<'static, Result<Versioned<Job>>> {
        let news = self.0.world.records.lock().expect("a lock").watch(what.clone());
        let phase = if let Watch::Changes(_) = what { Phase::Live } else { Phase::Begin };
        let watching =
            Watching { by: Arc::clone(&self.0), what, news, ready: Vec::new(), told: BTreeMap::new(), phase };
        stream::unfold(watching, |mut watching| async move { watching.next().await.map(|item| (item, watching)) })
            .boxed()
    }

    async fn ping(&self) -> Result<()> {
        self.read("store.ping", "", |_| ()).await
    }
}

#[async_trait]
impl AccountStore for SimStore {
    async fn account(&self, id: &AccountId) -> Result<Option<Account>> {
        let wanted = id.clone();
        self.read("store.account", "", move |records| records.accounts.get(&wanted).copied()).await
    }

    async fn adjust(&self, entry: &LedgerEntry) -> Result<Account> {
        let entry = entry.clone();
        let fate = self.0.store_fate(true);
        let adjust = move |by: &Process| by.world.with_records(by, |records| records.adjust(&entry));
        self.0.call("store.adjust", "", fate, adjust).await
    }

    async fn ledger(&self, account: &AccountId, limit: usize) -> Result<Vec<LedgerEntry>> {
        let wanted = account.clone();
        let last = move |all: &Vec<LedgerEntry>| all[all.len().saturating_sub(limit)..].to_vec();
        self.read("store.ledger", "", move |records| records.ledger.get(&wanted).map(last).unwrap_or_default()).await
    }

    async fn adjustment(&self, account: &AccountId, id: &str) -> Result<Option<LedgerEntry>> {
        let (wanted, id) = (account.clone(), id.to_owned());
        let find = move |all: &Vec<LedgerEntry>| all.iter().find(|it| it.job_id.is_none() && it.id == id).cloned();
        self.read("store.adjustment", "", move |records| records.ledger.get(&wanted).and_then(find)).await
    }

    async fn team_of(&self, user: &UserId) -> Result<Option<TeamId>> {
        let wanted = user.clone();
        self.read("store.team_of", user.as_str(), move |records| records.teams.get(&wanted).cloned()).await
    }

    async fn set_team(&self, user: &UserId, team: Option<&TeamId>) -> Result<()> {
        let (user, team) = (user.clone(), team.cloned());
        self.read("store.set_team", "", move |records| {
            match team {
                Some(team) => records.teams.insert(user, team),
                None => records.teams.remove(&user),
            };
        })
        .await
    }
}

/// The state of a watcher's stream.
struct Watching {
    by: Arc<Process>,
    what: Watch,
    news: mpsc::UnboundedReceiver<Versioned<Job>>,
    /// The pending states, the last first.
    ready: Vec<Versioned<Job>>,
    /// The last version of each job.
    told: BTreeMap<JobId, Version>,
    phase: Phase,
}

#[derive(PartialEq)]
enum Phase {
    Begin,
    Live,
    Ended,
}

impl Watching {
    async fn next(&mut self) -> Option<Result<Versioned<Job>>> {
        loop {
            if let Some(job) = self.ready.pop() {
                self.by.runs().await;
                let is_news = self.told.get(&job.value.id).is_none_or(|told| *told < job.version);
                if is_news {
                    self.told.insert(job.value.id.clone(), job.version);
                    return Some(Ok(job));
                }
                continue;
            }
            match self.phase {
                Phase::Begin => {
                    let what = self.what.clone();
                    let fate = self.by.store_fate(false);
                    let read = move |by: &Process| Ok(by.world.with_records(by, |records| records.snapshot(&what)));
                    match self.by.call("store.watch", "", fate, read).await {
                        Ok(snapshot) => {
                            self.ready = snapshot;
                            self.ready.reverse();
                            self.phase = Phase::Live;
                        }
                        Err(error) => {
                            self.phase = Phase::Ended;
                            return Some(Err(error));
                        }
                    }
                }
                Phase::Live => {
                    if let Err(error) = self.wait().await {
                        self.phase = Phase::Ended;
                        return Some(Err(error));
                    }
                }
                Phase::Ended => return None,
            }
        }
    }

    /// Makes something ready, in its time.
    async fn wait(&mut self) -> Result<()> {
        let world = Arc::clone(&self.by.world);
        let Some(news) = self.news.recv().await else { return std::future::pending().await };
        let late = world.strikes(Fault::WatchSlow);
        sleep(if late { world.dice.millis(500, 8_000) } else { world.dice.millis(1, 30) }).await;
        self.by.runs().await;
        if world.strikes(Fault::WatchBroken) {
            return Err(BackendError::new(ErrorKind::Unavailable, "store.watch"));
        }
        self.ready.push(news);
        // A slow watcher receives only the latest state of each job.
        while let Some(later) = late.then(|| self.news.try_recv().ok()).flatten() {
            self.ready.retain(|job| job.value.id != later.value.id);
            self.ready.insert(0, later);
        }
        Ok(())
    }
}
