//! The rows of jobs, and the writes of a transition beside the job.

use std::{num::NonZeroU32, sync::LazyLock};

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::{
    domain::{
        Timestamp,
        credits::LedgerEntry,
        job::{Job, Status, Transition},
        kind::JobKind,
    },
    embedded::{
        Changed, DbError, DbResult, Tx,
        messages::{self, NewMessage},
    },
    store::{BackendError, ErrorKind, Result, Version, Versioned, document::JobDocument},
};

/// Counts the unfinished jobs of a user (?1), up to ?2. It reads one index range per kind and status: with `IN` over pairs
/// SQLite would walk through all of the user's jobs.
static UNFINISHED: LazyLock<String> = LazyLock::new(|| {
    let unfinished =
        |kind: JobKind| Status::ALL.into_iter().filter(|status| !status.is_final()).map(move |s| (kind, s));
    let ranges = JobKind::ALL.into_iter().flat_map(unfinished).map(|(kind, status)| {
        let (prefix, word) = (kind.id_prefix(), status.shown_as(kind));
        format!("SELECT 1 FROM jobs WHERE user_id = ?1 AND kind = '{prefix}' AND status = '{word}'")
    });
    format!("SELECT count(*) FROM ({} LIMIT ?2)", ranges.collect::<Vec<_>>().join(" UNION ALL "))
});

/// A row, prepared outside the writer thread.
pub(super) struct JobRow {
    pub id: String,
    user: String,
    team: Option<String>,
    kind: &'static str,
    status: &'static str,
    created_at: i64,
    due_at: Option<i64>,
    removable_since: Option<i64>,
    version: i64,
    document: String,
}

impl JobRow {
    pub(super) fn new(op: &'static str, job: &Job, version: Version) -> Result<Self> {
        let document = serde_json::to_string(&JobDocument::new(job, version))
            .map_err(|error| BackendError::new(ErrorKind::Internal, op).because(error))?;
        Ok(Self {
            id: job.id.to_string(),
            user: job.user.to_string(),
            team: job.team.as_ref().map(ToString::to_string),
            kind: job.kind().id_prefix(),
            status: job.status().shown_as(job.kind()),
            created_at: job.created_at.as_microsecond(),
            due_at: job.due_at().map(Timestamp::as_microsecond),
            removable_since: job.removable_since().map(Timestamp::as_microsecond),
            version: number(version),
            document,
        })
    }

    /// Adds the row with the ids of its ledger entries. Returns the number of the change; `None` if the id is taken.
    pub(super) fn insert(&self, tx: &Tx<'_>, entries: &str) -> DbResult<Option<u64>> {
        let seq = tx.next_number()?;
        let sql =
            "INSERT INTO jobs (id, user_id, team_id, kind, status, created_at, due_at, removable_since, version, seq,
                   entries, document) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING";
        let Self { id, user, team, kind, status, created_at, due_at, removable_since, version, document } = self;
        let row =
            params![id, user, team, kind, status, created_at, due_at, removable_since, version, seq, entries, document];
        let written = tx.prepare_cached(sql)?.execute(row)?;
        tx.changed(Changed::Jobs);
        Ok((written > 0).then_some(seq.unsigned_abs()))
    }

    /// Whether the user has more than `max` unfinished jobs, this one included.
    ///
    /// Counts them each time: a stored counter would cost a write at each job's start and end, and could drift. The count
    /// reads index entries only, at most `max + 1`.
    pub(super) fn exceeds_limit(&self, tx: &Tx<'_>, max: Option<NonZeroU32>) -> DbResult<bool> {
        let Some(max) = max.map(|max| i64::from(max.get())) else { return Ok(false) };
        let mut found = tx.prepare_cached(&UNFINISHED)?;
        let unfinished: i64 = found.query_row(params![self.user, max + 1], |row| row.get(0))?;
        Ok(unfinished > max)
    }

    /// The ids of the job's ledger entries.
    pub(super) fn entries(&self, tx: &Tx<'_>) -> DbResult<String> {
        let mut found = tx.prepare_cached("SELECT entries FROM jobs WHERE id = ?")?;
        Ok(found.query_row([&self.id], |row| row.get(0)).optional()?.unwrap_or_default())
    }

    /// Replaces the row if it is at `expected`, and its ledger entries if they change. Returns the number of the change;
    /// `None` if there is no such row.
    pub(super) fn replace(&self, tx: &Tx<'_>, expected: Version, entries: Option<&str>) -> DbResult<Option<u64>> {
        let seq = tx.next_number()?;
        let sql = "UPDATE jobs SET status = ?, due_at = ?, removable_since = ?, version = ?, seq = ?, document = ?,
                   entries = coalesce(?, entries)
                   WHERE id = ? AND version = ?";
        let Self { id, status, due_at, removable_since, version, document, .. } = self;
        let row = params![status, due_at, removable_since, version, seq, document, entries, id, number(expected)];
        let written = tx.prepare_cached(sql)?.execute(row)?;
        tx.changed(Changed::Jobs);
        Ok((written > 0).then_some(seq.unsigned_abs()))
    }
}

/// The ledger entries and the message of a transition.
pub(super) struct SideWrites {
    pub ledger: Vec<LedgerEntry>,
    message: Option<NewMessage>,
}

impl SideWrites {
    pub(super) fn of(transition: &Transition) -> Self {
        let message = transition.dispatch.as_ref().map(NewMessage::from);
        Self { ledger: transition.ledger.clone(), message }
    }

    /// The ids of `before` and of its own entries, without the job's id in front, each followed by a space.
    pub(super) fn ids(&self, before: &str) -> String {
        let mut ids = before.to_owned();
        for entry in &self.ledger {
            let Some(tail) = tail(entry).filter(|_| !Self::contains(before, entry)) else { continue };
            ids.push_str(tail);
            ids.push(' ');
        }
        ids
    }

    /// Whether `ids` contains the entry's id.
    pub(super) fn contains(ids: &str, entry: &LedgerEntry) -> bool {
        tail(entry).is_some_and(|tail| ids.split(' ').any(|known| known == tail))
    }

    pub(super) fn dispatches(&self) -> bool {
        self.message.is_some()
    }

    pub(super) fn dispatch(&self, tx: &Tx<'_>) -> DbResult<()> {
        if let Some(message) = &self.message {
            messages::insert(tx, message)?;
        }
        Ok(())
    }
}

/// The part of an entry's id that differs within a job.
fn tail(entry: &LedgerEntry) -> Option<&str> {
    let job = entry.job_id.as_ref()?;
    Some(entry.id.strip_prefix(job.as_str()).unwrap_or(&entry.id))
}

/// The number of the last change of any job.
pub(super) fn last_seq(db: &Connection) -> DbResult<u64> {
    let seq: i64 = db.prepare_cached("SELECT value FROM sequence")?.query_row([], |row| row.get(0))?;
    Ok(seq.unsigned_abs())
}

/// The job of that id.
pub(super) fn find(db: &Connection, op: &'static str, id: &str) -> DbResult<Option<Versioned<Job>>> {
    let mut found = db.prepare_cached("SELECT document FROM jobs WHERE id = ?")?;
    let text: Option<String> = found.query_row([id], |row| row.get(0)).optional()?;
    text.map(|text| decode(op, &text)).transpose()
}

/// The job of a document.
pub(super) fn decode(op: &'static str, text: &str) -> DbResult<Versioned<Job>> {
    let broken = |error: Box<dyn std::error::Error + Send + Sync>| {
        DbError::Backend(BackendError::new(ErrorKind::Broken, op).because(error))
    };
    let document: JobDocument = serde_json::from_str(text).map_err(|error| broken(error.into()))?;
    document.into_job().map_err(|error| broken(error.into()))
}

/// Whether a job of that id was there and has been deleted.
pub(super) fn is_deleted(tx: &Tx<'_>, id: &str) -> DbResult<bool> {
    Ok(tx.prepare_cached("SELECT 1 FROM deleted_jobs WHERE id = ?")?.exists([id])?)
}

/// Deletes the row if it is at `expected`, and records for ever that its id is spent.
pub(super) fn delete(tx: &Tx<'_>, op: &'static str, id: &str, expected: Version) -> DbResult<()> {
    let sql = "DELETE FROM jobs WHERE id = ? AND version = ?";
    if tx.prepare_cached(sql)?.execute(params![id, number(expected)])? > 0 {
        tx.prepare_cached("INSERT INTO deleted_jobs (id) VALUES (?) ON CONFLICT (id) DO NOTHING")?.execute([id])?;
        return Ok(());
    }
    if tx.prepare_cached("SELECT 1 FROM jobs WHERE id = ?")?.exists([id])? {
        return Err(BackendError::new(ErrorKind::Conflict, op).into());
    }
    Ok(())
}

fn number(version: Version) -> i64 {
    i64::try_from(version.0).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::Embedded;

    #[tokio::test]
    async fn the_count_of_unfinished_jobs_reads_only_the_index() -> DbResult<()> {
        let directory = tempfile::tempdir().expect("a directory");
        let embedded = Embedded::open(directory.path(), &[]).expect("a database");
        let plan = |db: &Connection| {
            let mut explained = db.prepare(&format!("EXPLAIN QUERY PLAN {}", *UNFINISHED))?;
            let lines = explained.query_map(params!["ada", 51], |row| row.get::<_, String>(3))?;
            Ok(lines.collect::<std::result::Result<Vec<_>, _>>()?)
        };
        let plan = embedded.read("plan", plan).await.expect("a plan");
        let searches: Vec<_> = plan.iter().filter(|line| line.contains("jobs")).collect();
        let range = "SEARCH jobs USING COVERING INDEX jobs_by_user (user_id=? AND kind=? AND status=?)";
        assert_eq!(searches, [range; 4]);
        Ok(())
    }
}
