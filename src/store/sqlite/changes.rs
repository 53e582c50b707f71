//! Reads changes by their number, page by page.

use rusqlite::{Connection, params};

use super::rows::{decode, last_seq};
use crate::{domain::job::Job, embedded::DbResult, store::Versioned};

/// Rows per read: it bounds the memory, and how long a watcher waits for the first of many changes.
pub(super) const PAGE: usize = 256;

/// One page of changes.
pub(super) struct Changes {
    /// The wanted changes by number; only the latest change of each job.
    pub jobs: Vec<(u64, Versioned<Job>)>,
    /// The read covers everything up to this number.
    pub upto: u64,
    /// Whether there are no further changes.
    pub is_complete: bool,
}

/// The changes after `from` whose job id and user are wanted.
pub(super) fn after(
    db: &Connection,
    op: &'static str,
    from: u64,
    wanted: impl Fn(&str, &str) -> bool,
) -> DbResult<Changes> {
    let view = db.unchecked_transaction()?;
    let newest = last_seq(&view)?;
    let sql = "SELECT seq, id, user_id, document FROM jobs WHERE seq > ? ORDER BY seq LIMIT ?";
    let mut found = view.prepare_cached(sql)?;
    let page = i64::try_from(PAGE).unwrap_or(i64::MAX);
    let mut rows = found.query(params![i64::try_from(from).unwrap_or(i64::MAX), page])?;
    let (mut jobs, mut rows_read, mut last) = (Vec::new(), 0, from);
    while let Some(row) = rows.next()? {
        rows_read += 1;
        last = row.get::<_, i64>(0)?.unsigned_abs();
        let text = |column| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
        // Most rows have no watcher: their documents are not decoded.
        if wanted(text(1)?, text(2)?) {
            jobs.push((last, decode(op, text(3)?)?));
        }
    }
    let is_complete = rows_read < PAGE;
    Ok(Changes { jobs, upto: if is_complete { newest } else { last }, is_complete })
}
