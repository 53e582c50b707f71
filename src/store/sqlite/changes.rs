//! Reads changes by their number, page by page.

use rusqlite::{Connection, params};

use super::rows::{decode, last_seq};
use crate::{domain::job::Job, embedded::Outcome, store::Versioned};

/// Rows that are read at once: bounds the memory, and how long a watcher waits for the first of many.
pub(super) const PAGE: usize = 256;

/// One page of changes.
pub(super) struct Changes {
    /// The wanted ones by number; of each job its latest change only.
    pub jobs: Vec<(u64, Versioned<Job>)>,
    /// Everything up to this number has been looked at.
    pub upto: u64,
    /// Whether that is all there was.
    pub is_all: bool,
}

/// The changes after `from` whose job id and user are wanted.
pub(super) fn after(
    db: &Connection,
    op: &'static str,
    from: u64,
    wanted: impl Fn(&str, &str) -> bool,
) -> Outcome<Changes> {
    let view = db.unchecked_transaction()?;
    let newest = last_seq(&view)?;
    let sql = "SELECT seq, id, user_id, document FROM jobs WHERE seq > ? ORDER BY seq LIMIT ?";
    let mut found = view.prepare_cached(sql)?;
    let page = i64::try_from(PAGE).unwrap_or(i64::MAX);
    let mut rows = found.query(params![i64::try_from(from).unwrap_or(i64::MAX), page])?;
    let (mut jobs, mut seen, mut last) = (Vec::new(), 0, from);
    while let Some(row) = rows.next()? {
        seen += 1;
        last = row.get::<_, i64>(0)?.unsigned_abs();
        let text = |column| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
        // Most rows are nobody's: their documents are not even looked at.
        if wanted(text(1)?, text(2)?) {
            jobs.push((last, decode(op, text(3)?)?));
        }
    }
    let is_all = seen < PAGE;
    Ok(Changes { jobs, upto: if is_all { newest } else { last }, is_all })
}
