//! Ports [`JobStore`] and [`AccountStore`]: jobs, and the accounts that pay for them. One backend implements both, so
//! that a job, its ledger entries and the balance change in one atomic step.

pub mod document;
#[cfg(feature = "google-cloud")]
mod firestore;
mod sqlite;
mod watch;

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::domain::{
    Timestamp,
    credits::{Account, CreditsError, LedgerEntry},
    ids::{AccountId, JobId, TeamId, UserId},
    job::{Job, Status, Transition},
    kind::JobKind,
};
pub use crate::error::{BackendError, ErrorKind};
use crate::{embedded::Embedded, intercept::intercept};

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
#[cfg(feature = "google-cloud")]
pub fn open_firestore(project: &str, config: &crate::config::FirestoreConfig) -> Result<Stores> {
    let (clock, random) = (crate::domain::clock::SystemClock, crate::domain::clock::SystemRandom);
    let store = firestore::FirestoreStore::new(project, config, Arc::new(clock), Arc::new(random));
    Ok(Stores::of(store))
}

/// The result of a store method.
pub type Result<T> = std::result::Result<T, BackendError>;

/// Counts the commits of one job, from 1. Writing needs the version that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(pub u64);

/// A value at a version.
#[derive(Debug, Clone, PartialEq)]
pub struct Versioned<T> {
    /// The version to pass to the next write.
    pub version: Version,
    /// The value.
    pub value: T,
}

/// The result of an insert.
#[derive(Debug, Clone, PartialEq)]
pub enum Inserted {
    /// The job is durable.
    New {
        /// Its first version.
        version: Version,
        /// Whether the transition's message is durable too; if not, the caller publishes it.
        dispatched: bool,
    },
    /// A job of that id exists; nothing was written.
    Existing(Box<Versioned<Job>>),
    /// A job of that id existed and was deleted; its key is spent and nothing was written.
    Deleted,
    /// The account cannot pay; nothing was written.
    Refused(CreditsError),
    /// The job names another team than its user's current one, which this is; nothing was written.
    OtherTeam(Option<TeamId>),
    /// The user has as many unfinished jobs as the transition allows; nothing was written.
    TooManyJobs,
}

/// The result of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The job's new version.
    pub version: Version,
    /// Whether the transition's message is durable too; if not, the caller publishes it.
    pub dispatched: bool,
}

/// The owner of listed jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// Jobs that a user submitted.
    User(UserId),
    /// Jobs that a team pays for.
    Team(TeamId),
    /// Jobs that a user submitted and jobs that their team pays for, each once.
    Member(UserId, TeamId),
}

/// Selects the jobs to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobFilter {
    /// The owner.
    pub owner: Owner,
    /// The kind of job.
    pub kind: JobKind,
    /// The states; empty for all.
    pub statuses: BTreeSet<Status>,
}

/// Selects a page of a list, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// The most rows; at least 1.
    pub limit: usize,
    /// The last row of the previous page.
    pub after: Option<JobId>,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The rows, newest first.
    pub items: Vec<T>,
    /// Whether there are more rows after the last.
    pub has_more: bool,
}

/// What to watch.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Watch {
    /// One job.
    Job(JobId),
    /// One job whose current state the caller knows: the stream may leave it out.
    Changes(JobId),
    /// All jobs of a user.
    User(UserId),
}

/// Jobs.
///
/// The contract, which `tests/contract` checks for every backend:
/// - The effect of a method that returns `Ok` is durable. A method that returns `Err` has changed nothing, except with
///   `Timeout`, which leaves that open.
/// - `insert` and `commit` apply the state, the ledger entries and the balance of a transition in one atomic step. A ledger
///   entry whose id exists is skipped, with its effect on the balance. The first entry creates an account.
/// - Dropping the returned future never leaves half a write; the write may still happen.
#[async_trait]
pub trait JobStore: Send + Sync {
    /// Adds a new job, or returns why not; see [`Inserted`]. The limit of unfinished jobs counts both kinds together, is
    /// exact under concurrent inserts, and never applies to an id that exists: a repeat always gets its job. The check of
    /// the team is part of the same atomic step, so a concurrent move between teams cannot go unnoticed.
    async fn insert(&self, first: &Transition) -> Result<Inserted>;

    /// The job and its version; `None` when there is none.
    async fn get(&self, id: &JobId) -> Result<Option<Versioned<Job>>>;

    /// The user's jobs, newest first (`created_at`, then id, descending). An unknown `after` is an empty page.
    async fn list(&self, filter: &JobFilter, page: &PageRequest) -> Result<Page<Versioned<Job>>>;

    /// Replaces the job if it is still at `expected`; otherwise, or if it is gone, the error is [`ErrorKind::Conflict`].
    ///
    /// If the account cannot pay a hold of the transition (a redrive), the error is [`ErrorKind::Refused`] with the
    /// [`CreditsError`] as its [`source`](std::error::Error::source), and nothing is written.
    async fn commit(&self, expected: Version, next: &Transition) -> Result<Committed>;

    /// Removes the job if it is still at `expected`. A missing job is `Ok`. Its ledger stays, and its id is spent.
    async fn delete(&self, id: &JobId, expected: Version) -> Result<()>;

    /// At most `limit` jobs with `due_at <= now`, the most overdue first.
    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Versioned<Job>>>;

    /// At most `limit` jobs whose [`Job::removable_since`] is before that moment, the oldest first.
    async fn removable(&self, before: Timestamp, limit: usize) -> Result<Vec<Versioned<Job>>>;

    /// The current state first (for a user: every unfinished job, oldest change first), then every change by any process,
    /// until the stream is dropped. The call itself subscribes, before the stream is polled. The stream may skip
    /// intermediate states when the reader is slow, but never the latest state of a job, and versions of a job only grow. It
    /// waits for a job that does not exist yet, and reports nothing about a deleted job. It ends after an error: watch again.
    fn watch(&self, what: Watch) -> BoxStream<'static, Result<Versioned<Job>>>;

    /// Checks that the store answers; the error says what is wrong.
    async fn ping(&self) -> Result<()>;
}

/// Accounts, the ledger and teams.
///
/// The contract of [`JobStore`] about errors and cancelled calls holds here, too. A job's own ledger entries are written
/// by [`JobStore::insert`] and [`JobStore::commit`].
#[async_trait]
pub trait AccountStore: Send + Sync {
    /// The account; `None` if it has never had a grant.
    async fn account(&self, id: &AccountId) -> Result<Option<Account>>;

    /// Applies an entry that belongs to no job (a grant), once per entry id, and returns the balance.
    async fn adjust(&self, entry: &LedgerEntry) -> Result<Account>;

    /// The last `limit` ledger entries of an account, the oldest first. The balance is the sum of all entries.
    async fn ledger(&self, account: &AccountId, limit: usize) -> Result<Vec<LedgerEntry>>;

    /// The entry of that id, if it belongs to no job.
    async fn adjustment(&self, account: &AccountId, id: &str) -> Result<Option<LedgerEntry>>;

    /// The team whose credits and brands a user shares, if any.
    async fn team_of(&self, user: &UserId) -> Result<Option<TeamId>>;

    /// Puts a user into a team, or removes the user from their team. Earlier jobs stay with the account that paid.
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
