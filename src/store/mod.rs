//! Ports [`JobStore`] and [`AccountStore`]: jobs, and the accounts that pay for them. One backend implements both, so
//! that a job, its ledger entries and the balance change in one atomic step.

pub mod document;
mod firestore;
mod sqlite;
mod watch;

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::domain::{
    Timestamp,
    clock::{SystemClock, SystemRandom},
    credits::{Account, CreditsError, LedgerEntry},
    ids::{AccountId, JobId, TeamId, UserId},
    job::{Job, Status, Transition},
    kind::JobKind,
};
pub use crate::error::{BackendError, ErrorKind};
use crate::{config::FirestoreConfig, embedded::Embedded, intercept::intercept};

/// The two ports of one backend.
#[derive(Clone)]
pub struct Stores {
    /// Jobs.
    pub jobs: Arc<dyn JobStore>,
    /// Accounts, the ledger and teams.
    pub accounts: Arc<dyn AccountStore>,
}

impl Stores {
    fn of(backend: impl JobStore + AccountStore + 'static) -> Self {
        let backend = Arc::new(backend);
        Self { jobs: Arc::clone(&backend) as Arc<dyn JobStore>, accounts: backend }
    }
}

/// Opens the store in the data directory.
pub fn open_sqlite(embedded: &Embedded) -> Stores {
    Stores::of(sqlite::SqliteStore::new(embedded))
}

/// Opens the store in a Google Cloud project. It connects on first use.
pub fn open_firestore(project: &str, config: &FirestoreConfig) -> Result<Stores> {
    let store = firestore::FirestoreStore::new(project, config, Arc::new(SystemClock), Arc::new(SystemRandom));
    Ok(Stores::of(store))
}

/// What a store method answers.
pub type Result<T> = std::result::Result<T, BackendError>;

/// Counts the commits of one job, from 1. Writing needs the version that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(pub u64);

/// A value as it stood at a version.
#[derive(Debug, Clone, PartialEq)]
pub struct Versioned<T> {
    /// The version to name when writing.
    pub version: Version,
    /// The value.
    pub value: T,
}

/// What came of an insert.
#[derive(Debug, Clone, PartialEq)]
pub enum Inserted {
    /// The job is durable.
    New {
        /// Its first version.
        version: Version,
        /// Whether the transition's message is durable too; if not, the caller publishes it.
        dispatched: bool,
    },
    /// A job of that id is there already; nothing was written.
    Existing(Box<Versioned<Job>>),
    /// A job of that id was there and has been deleted; its key is spent and nothing was written.
    Deleted,
    /// The account cannot pay; nothing was written.
    Refused(CreditsError),
    /// The job says another team than the one its user is in by now, which this is; nothing was written.
    OtherTeam(Option<TeamId>),
    /// The user has as many unfinished jobs as the transition allows; nothing was written.
    TooManyJobs,
}

/// What came of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The job's new version.
    pub version: Version,
    /// Whether the transition's message is durable too; if not, the caller publishes it.
    pub dispatched: bool,
}

/// Whose jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// Those a user submitted.
    User(UserId),
    /// Those a team pays for.
    Team(TeamId),
    /// Those a user submitted and those their team pays for, each once.
    Member(UserId, TeamId),
}

/// Which jobs to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobFilter {
    /// Whose.
    pub owner: Owner,
    /// Of which kind.
    pub kind: JobKind,
    /// In which states; empty for all.
    pub statuses: BTreeSet<Status>,
}

/// Which page of a list, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// Rows, at most; 1 or more.
    pub limit: usize,
    /// The last row of the page before.
    pub after: Option<JobId>,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The rows, newest first.
    pub items: Vec<T>,
    /// Whether there are more behind the last.
    pub has_more: bool,
}

/// What to watch.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Watch {
    /// One job.
    Job(JobId),
    /// One job, whose current state is known already: it may be left out.
    Changes(JobId),
    /// All jobs of a user.
    User(UserId),
}

/// Jobs.
///
/// Contract, held by `tests/contract` for every backend:
/// - A method that returns `Ok` has made its effect durable; one that returns `Err` has changed nothing, except
///   `Timeout`, which leaves it open.
/// - `insert` and `commit` apply a transition's state, ledger and balance in one atomic step. A ledger entry whose id
///   exists is skipped, with its effect on the balance. An account is created by its first entry.
/// - Cancelling the returned future never leaves half a write; the write may still happen.
#[async_trait]
pub trait JobStore: Send + Sync {
    /// Adds a new job. Says so when one of that id exists, was deleted, cannot be paid, or would be one more than its
    /// user may have unfinished, of both kinds together. The last is exact however many inserts run at once, and never
    /// the answer for an id that is taken: a repeat is always answered. Says so, too, when the job's team is not its
    /// user's: who submits need not ask first, and a move between teams cannot come in between.
    async fn insert(&self, first: &Transition) -> Result<Inserted>;

    /// The job and its version; `None` when there is none.
    async fn get(&self, id: &JobId) -> Result<Option<Versioned<Job>>>;

    /// The user's jobs, newest first (`created_at`, then id, descending). An unknown `after` is an empty page.
    async fn list(&self, filter: &JobFilter, page: &PageRequest) -> Result<Page<Versioned<Job>>>;

    /// Replaces the job if it still is at `expected`; [`ErrorKind::Conflict`] when it is not, or is gone.
    ///
    /// A transition whose hold the account cannot pay (a redrive) is [`ErrorKind::Refused`], with the [`CreditsError`] as
    /// its [`source`](std::error::Error::source). Nothing is written then.
    async fn commit(&self, expected: Version, next: &Transition) -> Result<Committed>;

    /// Removes the job if it still is at `expected`. A missing job is `Ok`: deleting twice is no error.
    /// Its ledger stays, and its id is spent.
    async fn delete(&self, id: &JobId, expected: Version) -> Result<()>;

    /// Jobs with `due_at <= now`, the most overdue first, at most `limit`.
    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Versioned<Job>>>;

    /// Jobs whose [`Job::removable_since`] is before that moment, the oldest first, at most `limit`.
    async fn removable(&self, before: Timestamp, limit: usize) -> Result<Vec<Versioned<Job>>>;

    /// The current state first (for a user: every unfinished job, oldest change first), then every change by any
    /// process, until dropped. Interest is taken by the call, before the stream is polled. Intermediate states may be skipped when the reader is slow; a job's latest state
    /// never is, and versions of one job only grow. A job that does not exist yet is waited for; of a deleted one
    /// nothing more is heard. After an error the stream ends: watch again.
    fn watch(&self, what: Watch) -> BoxStream<'static, Result<Versioned<Job>>>;

    /// Whether the store answers; the error names what is wrong.
    async fn ping(&self) -> Result<()>;
}

/// Accounts, the ledger and teams.
///
/// The contract of [`JobStore`] about errors and cancelled calls holds here, too. A job's own ledger entries are written
/// by [`JobStore::insert`] and [`JobStore::commit`].
#[async_trait]
pub trait AccountStore: Send + Sync {
    /// The account; `None` when nothing was ever granted to it.
    async fn account(&self, id: &AccountId) -> Result<Option<Account>>;

    /// Applies an entry that belongs to no job (a grant), once per entry id, and answers the balance.
    async fn adjust(&self, entry: &LedgerEntry) -> Result<Account>;

    /// The last ledger entries of an account, at most `limit`, the oldest of them first. The balance is the sum of all.
    async fn ledger(&self, account: &AccountId, limit: usize) -> Result<Vec<LedgerEntry>>;

    /// The entry of that id which belongs to no job; `None` when there is none.
    async fn adjustment(&self, account: &AccountId, id: &str) -> Result<Option<LedgerEntry>>;

    /// The team whose credits and brands a user shares; `None` for somebody in no team.
    async fn team_of(&self, user: &UserId) -> Result<Option<TeamId>>;

    /// Puts a user into a team, or out of any. Jobs submitted before stay with the account that paid.
    async fn set_team(&self, user: &UserId, team: Option<&TeamId>) -> Result<()>;
}

intercept! {
    JobStore
    calls {
        insert "store.insert" (first: &Transition) -> Inserted;
        get "store.get" (id: &JobId) -> Option<Versioned<Job>>;
        list "store.list" (filter: &JobFilter, page: &PageRequest) -> Page<Versioned<Job>>;
        commit "store.commit" (expected: Version, next: &Transition) -> Committed;
        delete "store.delete" (id: &JobId, expected: Version) -> ();
        due "store.due" (now: Timestamp, limit: usize) -> Vec<Versioned<Job>>;
        removable "store.removable" (before: Timestamp, limit: usize) -> Vec<Versioned<Job>>;
        ping "store.ping" () -> ();
    }
    streams {
        watch "store.watch" (what: Watch) -> Versioned<Job>;
    }
}

intercept! {
    AccountStore
    calls {
        account "store.account" (id: &AccountId) -> Option<Account>;
        adjust "store.adjust" (entry: &LedgerEntry) -> Account;
        ledger "store.ledger" (account: &AccountId, limit: usize) -> Vec<LedgerEntry>;
        adjustment "store.adjustment" (account: &AccountId, id: &str) -> Option<LedgerEntry>;
        team_of "store.team_of" (user: &UserId) -> Option<TeamId>;
        set_team "store.set_team" (user: &UserId, team: Option<&TeamId>) -> ();
    }
}
