//! Jobs and accounts in the SQLite file: every write is part of a group commit, and a job's message is written with it.

mod accounts;
mod changes;
mod dispatcher;
mod list;
mod rows;
mod watcher;

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;

use self::{
    accounts::LedgerResult,
    dispatcher::ChangeDispatcher,
    rows::{JobRow, SideWrites},
};
use super::{
    AccountStore, BackendError, Committed, ErrorKind, Inserted, JobFilter, JobStore, Page, PageRequest, Result,
    Version, Versioned, Watch,
};
use crate::{
    domain::{
        Timestamp,
        credits::{Account, CreditsError, LedgerEntry},
        ids::{AccountId, JobId, TeamId, UserId},
        job::{Job, Transition},
    },
    embedded::{DbError, Embedded, Tx},
};

/// The embedded store.
pub(super) struct SqliteStore {
    embedded: Embedded,
    dispatcher: Arc<ChangeDispatcher>,
}

impl SqliteStore {
    pub(super) fn new(embedded: &Embedded) -> Self {
        let dispatcher = ChangeDispatcher::new(embedded);
        dispatcher.follow();
        Self { embedded: embedded.clone(), dispatcher }
    }
}

#[async_trait]
impl JobStore for SqliteStore {
    async fn insert(&self, first: &Transition) -> Result<Inserted> {
        const OP: &str = "store.insert";
        let version = Version(1);
        let row = JobRow::new(OP, &first.job, version)?;
        let side_writes = SideWrites::of(first);
        let dispatched = side_writes.dispatches();
        let (user, expected_team) = (first.job.user.clone(), first.job.team.clone());
        let max_in_flight = first.max_in_flight;
        let write = move |tx: &Tx<'_>| {
            if rows::is_deleted(tx, &row.id)? {
                return Ok((Inserted::Deleted, 0));
            }
            let Some(seq) = row.insert(tx, &side_writes.ids(""))? else {
                tx.discard();
                let there = rows::find(tx, OP, &row.id)?;
                let gone = || DbError::Backend(BackendError::new(ErrorKind::Internal, OP));
                return Ok((Inserted::Existing(Box::new(there.ok_or_else(gone)?)), 0));
            };
            let team = accounts::team_of(tx, OP, &user)?;
            if team != expected_team {
                tx.discard();
                return Ok((Inserted::OtherTeam(team), 0));
            }
            let outcome = match accounts::apply_entries(tx, OP, &side_writes.ledger, |_| false)? {
                LedgerResult::Refused(reason) => Inserted::Refused(reason),
                LedgerResult::Applied if row.exceeds_limit(tx, max_in_flight)? => Inserted::TooManyJobs,
                LedgerResult::Applied => {
                    side_writes.dispatch(tx)?;
                    return Ok((Inserted::New { version, dispatched }, seq));
                }
            };
            tx.discard();
            Ok((outcome, 0))
        };
        let (changes, value) = (Arc::clone(&self.dispatcher), first.job.clone());
        let publish = move |(inserted, seq): &(Inserted, u64)| {
            if matches!(inserted, Inserted::New { .. }) {
                changes.publish(*seq, Versioned { version, value });
            }
        };
        Ok(self.embedded.write_then(OP, write, publish).await?.0)
    }

    async fn get(&self, id: &JobId) -> Result<Option<Versioned<Job>>> {
        const OP: &str = "store.get";
        let id = id.clone();
        self.embedded.look_up(OP, move |db| rows::find(db, OP, id.as_str())).await
    }

    async fn list(&self, filter: &JobFilter, page: &PageRequest) -> Result<Page<Versioned<Job>>> {
        const OP: &str = "store.list";
        let (filter, page) = (filter.clone(), page.clone());
        self.embedded.read(OP, move |db| list::page(db, OP, &filter, &page)).await
    }

    async fn commit(&self, expected: Version, next: &Transition) -> Result<Committed> {
        const OP: &str = "store.commit";
        let version = Version(expected.0 + 1);
        let row = JobRow::new(OP, &next.job, version)?;
        let side_writes = SideWrites::of(next);
        let dispatched = side_writes.dispatches();
        let write = move |tx: &Tx<'_>| {
            // Most commits move no credits.
            let before = if side_writes.ledger.is_empty() { None } else { Some(row.entries(tx)?) };
            let after = before.as_deref().map(|before| side_writes.ids(before));
            let Some(seq) = row.replace(tx, expected, after.as_deref())? else {
                return Err(BackendError::new(ErrorKind::Conflict, OP).into());
            };
            let is_known =
                |entry: &LedgerEntry| before.as_deref().is_some_and(|before| SideWrites::contains(before, entry));
            match accounts::apply_entries(tx, OP, &side_writes.ledger, is_known)? {
                LedgerResult::Applied => side_writes.dispatch(tx)?,
                LedgerResult::Refused(reason @ CreditsError::Insufficient { .. }) => {
                    return Err(BackendError::new(ErrorKind::Refused, OP).because(reason).into());
                }
                LedgerResult::Refused(defect) => {
                    return Err(BackendError::new(ErrorKind::Internal, OP).because(defect).into());
                }
            }
            Ok(seq)
        };
        let (changes, value) = (Arc::clone(&self.dispatcher), next.job.clone());
        let publish = move |seq: &u64| changes.publish(*seq, Versioned { version, value });
        self.embedded.write_then(OP, write, publish).await?;
        Ok(Committed { version, dispatched })
    }

    async fn delete(&self, id: &JobId, expected: Version) -> Result<()> {
        const OP: &str = "store.delete";
        let id = id.clone();
        self.embedded.write(OP, move |tx| rows::delete(tx, OP, id.as_str(), expected)).await
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Versioned<Job>>> {
        const OP: &str = "store.due";
        self.embedded.read(OP, move |db| list::due(db, OP, now, limit)).await
    }

    async fn removable(&self, before: Timestamp, limit: usize) -> Result<Vec<Versioned<Job>>> {
        const OP: &str = "store.removable";
        self.embedded.read(OP, move |db| list::removable(db, OP, before, limit)).await
    }

    fn watch(&self, what: Watch) -> BoxStream<'static, Result<Versioned<Job>>> {
        watcher::stream(&self.dispatcher, &what)
    }

    async fn ping(&self) -> Result<()> {
        self.embedded.ping("store.ping").await
    }
}

#[async_trait]
impl AccountStore for SqliteStore {
    async fn account(&self, id: &AccountId) -> Result<Option<Account>> {
        let id = id.clone();
        self.embedded.look_up("store.account", move |db| accounts::find(db, &id)).await
    }

    async fn adjust(&self, entry: &LedgerEntry) -> Result<Account> {
        const OP: &str = "store.adjust";
        let entry = entry.clone();
        let write = move |tx: &Tx<'_>| match accounts::apply_entries(tx, OP, std::slice::from_ref(&entry), |_| false)? {
            LedgerResult::Applied => Ok(accounts::find(tx, &entry.account)?.unwrap_or_default()),
            LedgerResult::Refused(reason) => Err(BackendError::new(ErrorKind::Refused, OP).because(reason).into()),
        };
        self.embedded.write(OP, write).await
    }

    async fn ledger(&self, account: &AccountId, limit: usize) -> Result<Vec<LedgerEntry>> {
        const OP: &str = "store.ledger";
        let account = account.clone();
        self.embedded.read(OP, move |db| accounts::entries(db, OP, &account, limit)).await
    }

    async fn adjustment(&self, account: &AccountId, id: &str) -> Result<Option<LedgerEntry>> {
        const OP: &str = "store.adjustment";
        let (account, id) = (account.clone(), id.to_owned());
        self.embedded.read(OP, move |db| accounts::grant(db, OP, &account, &id)).await
    }

    async fn team_of(&self, user: &UserId) -> Result<Option<TeamId>> {
        const OP: &str = "store.team_of";
        let user = user.clone();
        self.embedded.look_up(OP, move |db| accounts::team_of(db, OP, &user)).await
    }

    async fn set_team(&self, user: &UserId, team: Option<&TeamId>) -> Result<()> {
        let (user, team) = (user.clone(), team.cloned());
        self.embedded.write("store.set_team", move |tx| accounts::set_team(tx, &user, team.as_ref())).await
    }
}
