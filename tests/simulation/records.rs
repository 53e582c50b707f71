//! The true state of jobs, accounts and ledger, with an audit of every change.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mediaforge::{
    domain::{
        Timestamp,
        credits::{Account, CreditsError, LedgerEntry, Verb},
        ids::{AccountId, JobId, TeamId, UserId},
        job::{Job, State, Transition},
        kind::JobKind,
    },
    error::{BackendError, ErrorKind},
    store::{Inserted, JobFilter, Owner, Page, PageRequest, Result, Version, Versioned, Watch},
};
use tokio::{sync::mpsc, time::Instant};

use crate::{
    audit,
    plan::Broken,
    process::{Fate, Process},
};

/// A job, and what the audit needs to know of its past.
pub struct Row {
    pub job: Versioned<Job>,
    /// The number of its last change.
    pub seq: u64,
    pub past: Past,
}

/// The past of a job's current run (hold).
#[derive(Debug, Clone, Copy, Default)]
pub struct Past {
    /// The version that the current attempt's claim wrote.
    pub fence: u64,
    /// Claims.
    pub starts: u64,
    /// Claims in all runs.
    pub all_starts: u64,
    /// Attempts that were handed back and do not count.
    pub uncounted: u64,
}

/// The process that ended a job, and the fate of its call.
pub struct Ending {
    pub by: Arc<Process>,
    pub fate: Fate,
    pub at: Instant,
}

type Finding = (&'static str, String);

pub struct Records {
    broken: Option<Broken>,
    pub rows: BTreeMap<JobId, Row>,
    pub deleted: BTreeSet<JobId>,
    pub accounts: BTreeMap<AccountId, Account>,
    pub ledger: BTreeMap<AccountId, Vec<LedgerEntry>>,
    pub teams: BTreeMap<UserId, TeamId>,
    pub endings: BTreeMap<JobId, Ending>,
    watchers: Vec<(Watch, mpsc::UnboundedSender<Versioned<Job>>)>,
    seq: u64,
    findings: Vec<(&'static str, Finding)>,
    news: Vec<Finding>,
}

impl Records {
    pub fn new(broken: Option<Broken>) -> Self {
        Self {
            broken,
            rows: BTreeMap::new(),
            deleted: BTreeSet::new(),
            accounts: BTreeMap::new(),
            ledger: BTreeMap::new(),
            teams: BTreeMap::new(),
            endings: BTreeMap::new(),
            watchers: Vec::new(),
            seq: 0,
            findings: Vec::new(),
            news: Vec::new(),
        }
    }

    pub fn insert(&mut self, by: &Process, first: &Transition) -> Inserted {
        let id = &first.job.id;
        if self.deleted.contains(id) {
            return Inserted::Deleted;
        }
        if let Some(row) = self.rows.get(id) {
            return Inserted::Existing(Box::new(row.job.clone()));
        }
        let team = self.teams.get(&first.job.user);
        if first.job.team.as_ref() != team {
            return Inserted::OtherTeam(team.cloned());
        }
        let unfinished = self
            .rows
            .values()
            .map(|row| &row.job.value)
            .filter(|job| job.user == first.job.user && !job.status().is_final());
        if first.max_in_flight.is_some_and(|max| unfinished.count() >= max.get() as usize) {
            self.news.push(("submit refused: too many jobs", id.to_string()));
            return Inserted::TooManyJobs;
        }
        let held_before = first.ledger.iter().any(|entry| entry.verb == Verb::Hold && self.has(entry));
        if held_before {
            return Inserted::Deleted;
        }
        if let Err(refused) = self.settle(&first.ledger) {
            self.news.push(("submit refused: no credits", id.to_string()));
            return Inserted::Refused(refused);
        }
        let version = Version(1);
        self.put(by, None, Versioned { version, value: first.job.clone() });
        Inserted::New { version, dispatched: false }
    }

    pub fn commit(&mut self, by: &Process, expected: Version, next: &Transition) -> Result<Version> {
        let conflict = || BackendError::new(ErrorKind::Conflict, "store.commit");
        let Some(row) = self.rows.get(&next.job.id) else { return Err(conflict()) };
        if row.job.version != expected && self.broken != Some(Broken::Fencing) {
            self.news.push(("commit conflicts", next.job.id.to_string()));
            return Err(conflict());
        }
        let version = Version(row.job.version.0 + 1);
        match self.settle(&next.ledger) {
            Ok(()) => {}
            Err(reason @ CreditsError::Insufficient { .. }) => {
                return Err(BackendError::new(ErrorKind::Refused, "store.commit").because(reason));
            }
            Err(defect) => {
                self.findings.push((
                    "I2 the ledger adds up",
                    ("settling what is not held", format!("{}: {defect}", next.job.id)),
                ));
                return Err(BackendError::new(ErrorKind::Internal, "store.commit").because(defect));
            }
        }
        let before = self.rows.get(&next.job.id).map(|row| (row.job.clone(), row.past));
        self.put(by, before, Versioned { version, value: next.job.clone() });
        Ok(version)
    }

    /// Remembers the first process that ended a job in each run.
    pub fn note_ending(&mut self, by: Arc<Process>, fate: Fate, next: &Job) {
        if next.status().is_final() {
            self.endings.entry(next.id.clone()).or_insert_with(|| Ending { by, fate, at: Instant::now() });
        } else {
            self.endings.remove(&next.id);
        }
    }

    pub fn delete(&mut self, id: &JobId, expected: Version) -> Result<()> {
        match self.rows.get(id) {
            Some(row) if row.job.version != expected => Err(BackendError::new(ErrorKind::Conflict, "store.delete")),
            Some(_) => {
                self.rows.remove(id);
                self.deleted.insert(id.clone());
                self.news.push(("job deleted", id.to_string()));
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub fn due(&self, now: Timestamp, limit: usize) -> Vec<Versioned<Job>> {
        if self.broken == Some(Broken::Sweeper) {
            return Vec::new();
        }
        let mut due: Vec<_> = self
            .rows
            .values()
            .filter_map(|row| row.job.value.due_at().filter(|at| *at <= now).map(|at| (at, row.seq, row.job.clone())))
            .collect();
        due.sort_by_key(|(at, seq, _)| (*at, *seq));
        due.into_iter().take(limit).map(|(_, _, job)| job).collect()
    }

    pub fn removable(&self, before: Timestamp, limit: usize) -> Vec<Versioned<Job>> {
        let since = |row: &Row| row.job.value.removable_since().filter(|since| *since < before);
        let mut old: Vec<_> = self.rows.values().filter_map(|row| since(row).map(|at| (at, &row.job))).collect();
        old.sort_by_key(|(at, job)| (*at, job.value.id.clone()));
        old.into_iter().take(limit).map(|(_, job)| job.clone()).collect()
    }

    pub fn list(&self, filter: &JobFilter, page: &PageRequest) -> Page<Versioned<Job>> {
        let owned = |job: &Job| match &filter.owner {
            Owner::User(user) => job.user == *user,
            Owner::Team(team) => job.team.as_ref() == Some(team),
            Owner::Member(user, team) => job.user == *user || job.team.as_ref() == Some(team),
        };
        let mut found: Vec<_> = self.rows.values().map(|row| &row.job).filter(|job| owned(&job.value)).collect();
        found.retain(|job| job.value.kind() == filter.kind);
        let place = |job: &Job| (job.created_at, job.id.clone());
        let before =
            page.after.as_ref().map(|id| found.iter().find(|job| job.value.id == *id).map(|job| place(&job.value)));
        found.retain(|job| filter.statuses.is_empty() || filter.statuses.contains(&job.value.status()));
        found.retain(|job| match &before {
            None => true,
            Some(None) => false,
            Some(Some(before)) => place(&job.value) < *before,
        });
        found.sort_by_key(|job| std::cmp::Reverse(place(&job.value)));
        let has_more = found.len() > page.limit;
        Page { items: found.into_iter().take(page.limit).cloned().collect(), has_more }
    }

    pub fn adjust(&mut self, entry: &LedgerEntry) -> Result<Account> {
        self.settle(std::slice::from_ref(entry))
            .map_err(|reason| BackendError::new(ErrorKind::Refused, "store.adjust").because(reason))?;
        Ok(self.accounts.get(&entry.account).copied().unwrap_or_default())
    }

    /// Subscribes, before anything is read.
    pub fn watch(&mut self, what: Watch) -> mpsc::UnboundedReceiver<Versioned<Job>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.watchers.push((what, sender));
        receiver
    }

    /// The first states of a watch: the job, or the user's unfinished jobs, the oldest change first.
    pub fn snapshot(&self, what: &Watch) -> Vec<Versioned<Job>> {
        match what {
            Watch::Job(id) | Watch::Changes(id) => self.rows.get(id).map(|row| row.job.clone()).into_iter().collect(),
            Watch::User(user) => {
                let mut rows: Vec<_> = self
                    .rows
                    .values()
                    .filter(|row| row.job.value.user == *user && !row.job.value.status().is_final())
                    .collect();
                rows.sort_by_key(|row| row.seq);
                rows.into_iter().map(|row| row.job.clone()).collect()
            }
        }
    }

    /// The findings of the audit since the last call.
    pub fn take_findings(&mut self, by: &Process) -> Vec<(&'static str, String)> {
        let found = std::mem::take(&mut self.findings);
        found.into_iter().map(|(rule, (what, about))| (rule, format!("{what}: {about} (by {})", by.name))).collect()
    }

    /// The events since the last call.
    pub fn take_news(&mut self) -> Vec<(&'static str, String)> {
        std::mem::take(&mut self.news)
    }

    /// Applies entries that are new, all or none.
    fn settle(&mut self, entries: &[LedgerEntry]) -> std::result::Result<(), CreditsError> {
        let mut accounts = self.accounts.clone();
        let mut written = Vec::new();
        for entry in entries {
            let is_forgotten =
                self.broken == Some(Broken::Settlement) && matches!(entry.verb, Verb::Capture | Verb::Release);
            if is_forgotten || (self.has(entry) && self.broken != Some(Broken::Repetition)) {
                continue;
            }
            let account = accounts.entry(entry.account.clone()).or_default();
            *account = account.apply(entry)?;
            written.push(entry.clone());
        }
        self.accounts = accounts;
        for entry in written {
            self.ledger.entry(entry.account.clone()).or_default().push(entry);
        }
        Ok(())
    }

    fn has(&self, entry: &LedgerEntry) -> bool {
        self.ledger.get(&entry.account).is_some_and(|entries| entries.iter().any(|there| there.id == entry.id))
    }

    fn put(&mut self, by: &Process, before: Option<(Versioned<Job>, Past)>, next: Versioned<Job>) {
        let mut past = before.as_ref().map(|(_, past)| *past).unwrap_or_default();
        let before = before.map(|(job, _)| job);
        let news = audit::follow(before.as_ref().map(|job| &job.value), &next, &mut past);
        self.news.extend(news.into_iter().map(|what| (what, next.value.id.to_string())));
        self.seq += 1;
        let id = next.value.id.clone();
        self.watchers.retain(|(what, sender)| {
            let wanted = match what {
                Watch::Job(wanted) | Watch::Changes(wanted) => *wanted == id,
                Watch::User(user) => *user == next.value.user,
            };
            if wanted { sender.send(next.clone()).is_ok() } else { !sender.is_closed() }
        });
        let account = next.value.account();
        let found = audit::change(before.as_ref(), &next, &past, by.worker_id.get());
        self.rows.insert(id.clone(), Row { job: next, seq: self.seq, past });
        let balance = audit::balance(self, &account);
        self.findings.extend(found.into_iter().chain(balance).map(|(rule, what)| (rule, (what, id.to_string()))));
    }

    /// The number of the last change.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The user's jobs of a kind.
    pub fn of_user(&self, user: &UserId, kind: Option<JobKind>) -> Vec<JobId> {
        let mine = |row: &&Row| row.job.value.user == *user && kind.is_none_or(|kind| row.job.value.kind() == kind);
        self.rows.values().filter(mine).map(|row| row.job.value.id.clone()).collect()
    }

    /// Whether every job has ended and nothing is due.
    pub fn is_settled(&self) -> bool {
        self.rows.values().all(|row| {
            row.job.value.due_at().is_none()
                && !matches!(row.job.value.state, State::Queued { .. } | State::Running { .. })
        })
    }
}
