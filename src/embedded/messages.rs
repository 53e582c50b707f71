//! Rows of the embedded queue. They are here, and not in the queue, because the store writes a message in the same
//! transaction as its job, and store and queue do not import each other.

use std::collections::BTreeMap;

use rusqlite::params;

use super::{Changed, DbError, DbResult, Tx};
use crate::{
    domain::{
        Timestamp,
        clock::{Clock as _, SystemClock},
        job::Dispatch,
        kind::JobKind,
    },
    error::{BackendError, ErrorKind},
};

/// A message on its way into a subscription.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// Selects the subscription: there is one per kind of job.
    pub kind: JobKind,
    /// The body.
    pub data: Vec<u8>,
    /// The attributes.
    pub attributes: BTreeMap<String, String>,
    /// The earliest delivery.
    pub not_before: Timestamp,
}

impl From<&Dispatch> for NewMessage {
    fn from(dispatch: &Dispatch) -> Self {
        let Dispatch { message, not_before } = dispatch;
        Self { kind: message.kind, data: message.data(), attributes: message.attributes(), not_before: *not_before }
    }
}

/// Adds a message and returns its id.
pub fn insert(tx: &Tx<'_>, message: &NewMessage) -> DbResult<i64> {
    let NewMessage { kind, data, attributes, not_before } = message;
    let sql = "INSERT INTO messages (kind, data, attributes, published_at, visible_at) VALUES (?, ?, ?, ?, ?)";
    let now = SystemClock.now().as_microsecond();
    tx.prepare_cached(sql)?.execute(params![
        kind.id_prefix(),
        data,
        attributes_text(attributes)?,
        now,
        not_before.as_microsecond()
    ])?;
    tx.changed(Changed::Messages);
    Ok(tx.last_insert_rowid())
}

/// A dead letter on its way to the operators.
#[derive(Debug, Clone)]
pub struct NewDeadLetter {
    /// Identifies the dead letter: a repeated key adds no row.
    pub key: String,
    /// The body.
    pub data: Vec<u8>,
    /// The attributes.
    pub attributes: BTreeMap<String, String>,
}

/// Records a dead letter unless its key is recorded already; returns the id of the row.
pub fn insert_dead_letter(tx: &Tx<'_>, dead_letter: &NewDeadLetter) -> DbResult<i64> {
    let NewDeadLetter { key, data, attributes } = dead_letter;
    let sql = "INSERT INTO dead_letters (key, data, attributes, published_at) VALUES (?, ?, ?, ?)
               ON CONFLICT (key) DO NOTHING";
    let now = SystemClock.now().as_microsecond();
    let written = tx.prepare_cached(sql)?.execute(params![key, data, attributes_text(attributes)?, now])?;
    if written > 0 {
        return Ok(tx.last_insert_rowid());
    }
    Ok(tx.prepare_cached("SELECT id FROM dead_letters WHERE key = ?")?.query_row([key], |row| row.get(0))?)
}

/// Attributes as JSON, or null if there are none.
fn attributes_text(attributes: &BTreeMap<String, String>) -> DbResult<Option<String>> {
    if attributes.is_empty() {
        return Ok(None);
    }
    let text = serde_json::to_string(attributes).map_err(|error| {
        DbError::Backend(BackendError::new(ErrorKind::Internal, "embedded.attributes").because(error))
    })?;
    Ok(Some(text))
}
