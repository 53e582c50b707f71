//! Pages of a user's or a team's jobs, and jobs that are overdue. Every query reads a range of one index, whatever the
//! table's size.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::rows::decode;
use crate::{
    domain::{
        Timestamp,
        job::{Job, Status},
    },
    embedded::{DbError, DbResult},
    store::{JobFilter, Owner, Page, PageRequest, Versioned},
};

/// The position of a row in the list: newest first, then by id.
type ListPosition = (i64, String, i64);

/// One page, from one consistent view.
pub(super) fn page(
    db: &Connection,
    op: &'static str,
    filter: &JobFilter,
    request: &PageRequest,
) -> DbResult<Page<Versioned<Job>>> {
    let view = db.unchecked_transaction()?;
    let limit = request.limit.max(1);
    let before = match &request.after {
        None => Some((i64::MAX, String::new())),
        Some(after) => {
            let mut found = None;
            for (column, owner) in owners(&filter.owner) {
                let sql = format!("SELECT created_at FROM jobs WHERE id = ? AND {column} = ? AND kind = ?");
                let key = params![after.as_str(), owner, filter.kind.id_prefix()];
                let at: Option<i64> = view.prepare_cached(&sql)?.query_row(key, |row| row.get(0)).optional()?;
                found = found.or(at);
            }
            found.map(|at| (at, after.to_string()))
        }
    };
    let Some(before) = before else { return Ok(Page { items: Vec::new(), has_more: false }) };
    let mut positions = Vec::new();
    for status in Status::ALL {
        if filter.statuses.is_empty() || filter.statuses.contains(&status) {
            for owner in owners(&filter.owner) {
                collect(&view, filter, owner, status, &before, limit, &mut positions)?;
            }
        }
    }
    positions.sort_unstable_by(|a, b| b.cmp(a));
    // A member's own job that the team pays for matches twice.
    positions.dedup();
    let has_more = positions.len() > limit;
    positions.truncate(limit);
    let mut document = view.prepare_cached("SELECT document FROM jobs WHERE row = ?")?;
    let mut items = Vec::with_capacity(positions.len());
    for (_, _, row) in positions {
        let text: String = document.query_row([row], |row| row.get(0))?;
        items.push(decode(op, &text)?);
    }
    Ok(Page { items, has_more })
}

/// Adds the first `limit + 1` positions of one status.
fn collect(
    db: &Connection,
    filter: &JobFilter,
    (column, owner): (&str, &str),
    status: Status,
    (created_at, id): &(i64, String),
    limit: usize,
    positions: &mut Vec<ListPosition>,
) -> DbResult<()> {
    let sql = format!(
        "SELECT created_at, id, row FROM jobs
         WHERE {column} = ? AND kind = ? AND status = ? AND (created_at, id) < (?, ?)
         ORDER BY created_at DESC, id DESC LIMIT ?"
    );
    let (kind, word) = (filter.kind.id_prefix(), status.shown_as(filter.kind));
    let rows = i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX);
    let mut found = db.prepare_cached(&sql)?;
    let key = params![owner, kind, word, created_at, id, rows];
    for position in found.query_map(key, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))? {
        positions.push(position?);
    }
    Ok(())
}

/// The columns that name the owner of a job, each with the value that a listed job has.
fn owners(owner: &Owner) -> Vec<(&'static str, &str)> {
    match owner {
        Owner::User(user) => vec![("user_id", user.as_str())],
        Owner::Team(team) => vec![("team_id", team.as_str())],
        Owner::Member(user, team) => vec![("user_id", user.as_str()), ("team_id", team.as_str())],
    }
}

/// Overdue jobs, the most overdue first.
pub(super) fn due(db: &Connection, op: &'static str, now: Timestamp, limit: usize) -> DbResult<Vec<Versioned<Job>>> {
    let sql = "SELECT document, id FROM jobs WHERE due_at <= ? ORDER BY due_at LIMIT ?";
    first(db, op, sql, now, limit)
}

/// Jobs that may have been removed since before that moment, the oldest first.
pub(super) fn removable(
    db: &Connection,
    op: &'static str,
    before: Timestamp,
    limit: usize,
) -> DbResult<Vec<Versioned<Job>>> {
    let sql = "SELECT document, id FROM jobs WHERE removable_since < ? ORDER BY removable_since LIMIT ?";
    first(db, op, sql, before, limit)
}

/// The first jobs of a statement with a timestamp and a limit as parameters and document and id as columns.
fn first(db: &Connection, op: &'static str, sql: &str, at: Timestamp, limit: usize) -> DbResult<Vec<Versioned<Job>>> {
    let mut found = db.prepare_cached(sql)?;
    let mut rows = found.query(params![at.as_microsecond(), i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut jobs = Vec::new();
    while let Some(row) = rows.next()? {
        match decode(op, row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?) {
            Ok(job) => jobs.push(job),
            // One damaged document must not keep the sweep from every other job.
            Err(DbError::Backend(error)) => {
                let id: String = row.get(1)?;
                tracing::error!(job.id = id, %error, "cannot read a job that needs a sweep");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(jobs)
}
