//! One job, one row; and what a transition writes beside it.

use std::num::NonZeroU32;

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::{
    domain::{
        Timestamp,
        credits::LedgerEntry,
        job::{Job, Transition},
    },
    embedded::{Changed, Failure, Outcome, Tx, messages, messages::NewMessage},
    store::{BackendError, ErrorKind, Result, Version, Versioned, document::JobDocument},
};

/// A row, made ready outside the writer thread.
pub(super) struct JobRow {
    pub id: String,
    user: String,
    team: Option<String>,
    kind: &'static str,
    status: &'static str,
    created_at: i64,
    due_at: Option<i64>,
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
            version: number(version),
            document,
        })
    }

    /// Adds the row and answers the number of the change; `None` when the id is taken.
    pub(super) fn insert(&self, tx: &Tx<'_>) -> Outcome<Option<u64>> {
        let seq = next_seq(tx)?;
        let sql = "INSERT INTO jobs (id, user_id, team_id, kind, status, created_at, due_at, version, seq, document)
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING";
        let Self { id, user, team, kind, status, created_at, due_at, version, document } = self;
        let written = tx
            .prepare_cached(sql)?
            .execute(params![id, user, team, kind, status, created_at, due_at, version, seq, document])?;
        tx.changed(Changed::Jobs);
        Ok((written > 0).then_some(seq.unsigned_abs()))
    }

    /// Whether the user has more than `max` unfinished jobs, this one included.
    ///
    /// Counted, not kept: a counter would cost a write with every job's begin and end, and could drift. The count
    /// reads index entries only, never more than `max + 1`, and finds most users with a handful.
    pub(super) fn is_one_too_many(&self, tx: &Tx<'_>, max: Option<NonZeroU32>) -> Outcome<bool> {
        let Some(max) = max else { return Ok(false) };
        let sql = "SELECT count(*) FROM (
                       SELECT 1 FROM jobs INDEXED BY jobs_by_user WHERE user_id = ?1
                       AND (kind, status) IN (VALUES ('ill_', 'queued'), ('ill_', 'processing'),
                                                     ('brd_', 'queued'), ('brd_', 'training'))
                       LIMIT ?2)";
        let most = i64::from(max.get());
        let found: i64 = tx.prepare_cached(sql)?.query_row(params![self.user, most + 1], |row| row.get(0))?;
        Ok(found > most)
    }

    /// Replaces the row that is at `expected` and answers the number of the change; `None` when there is none.
    pub(super) fn replace(&self, tx: &Tx<'_>, expected: Version) -> Outcome<Option<u64>> {
        let seq = next_seq(tx)?;
        let sql = "UPDATE jobs SET status = ?, due_at = ?, version = ?, seq = ?, document = ?
                   WHERE id = ? AND version = ?";
        let Self { id, status, due_at, version, document, .. } = self;
        let written =
            tx.prepare_cached(sql)?.execute(params![status, due_at, version, seq, document, id, number(expected)])?;
        tx.changed(Changed::Jobs);
        Ok((written > 0).then_some(seq.unsigned_abs()))
    }
}

/// What a transition writes beside the job.
pub(super) struct Journal {
    pub ledger: Vec<LedgerEntry>,
    message: Option<NewMessage>,
}

impl Journal {
    pub(super) fn of(transition: &Transition) -> Self {
        let message = transition.dispatch.as_ref().map(NewMessage::from);
        Self { ledger: transition.ledger.clone(), message }
    }

    pub(super) fn dispatches(&self) -> bool {
        self.message.is_some()
    }

    pub(super) fn dispatch(&self, tx: &Tx<'_>) -> Outcome<()> {
        if let Some(message) = &self.message {
            messages::insert(tx, message)?;
        }
        Ok(())
    }
}

fn next_seq(tx: &Tx<'_>) -> Outcome<i64> {
    let sql = "UPDATE sequence SET value = value + 1 RETURNING value";
    Ok(tx.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

/// The number of the last change of any job.
pub(super) fn last_seq(db: &Connection) -> Outcome<u64> {
    let seq: i64 = db.prepare_cached("SELECT value FROM sequence")?.query_row([], |row| row.get(0))?;
    Ok(seq.unsigned_abs())
}

/// The job of that id.
pub(super) fn find(db: &Connection, op: &'static str, id: &str) -> Outcome<Option<Versioned<Job>>> {
    let mut found = db.prepare_cached("SELECT document FROM jobs WHERE id = ?")?;
    let text: Option<String> = found.query_row([id], |row| row.get(0)).optional()?;
    text.map(|text| decode(op, &text)).transpose()
}

/// A document as the job it stands for.
pub(super) fn decode(op: &'static str, text: &str) -> Outcome<Versioned<Job>> {
    let broken = |error: Box<dyn std::error::Error + Send + Sync>| {
        Failure::Backend(BackendError::new(ErrorKind::Broken, op).because(error))
    };
    let document: JobDocument = serde_json::from_str(text).map_err(|error| broken(error.into()))?;
    document.into_job().map_err(|error| broken(error.into()))
}

/// Whether a job of that id was there and has been deleted.
pub(super) fn is_deleted(tx: &Tx<'_>, id: &str) -> Outcome<bool> {
    Ok(tx.prepare_cached("SELECT 1 FROM deleted_jobs WHERE id = ?")?.exists([id])?)
}

/// Deletes the row that is at `expected` and remembers that its id is spent.
pub(super) fn delete(tx: &Tx<'_>, op: &'static str, id: &str, expected: Version) -> Outcome<()> {
    let sql = "DELETE FROM jobs WHERE id = ? AND version = ?";
    if tx.prepare_cached(sql)?.execute(params![id, number(expected)])? > 0 {
        tx.prepare_cached("INSERT OR IGNORE INTO deleted_jobs (id) VALUES (?)")?.execute([id])?;
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
