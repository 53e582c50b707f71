//! The SQL of the broker and of the dead letters.

use std::collections::{BTreeMap, HashSet};

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::envelope;
use crate::{
    domain::{Timestamp, kind::JobKind},
    embedded::{
        DbResult, Tx,
        messages::{self, NewDeadLetter},
    },
    queue::{BackendError, ErrorKind, StoredDeadLetter},
};

const OP: &str = "queue.pull";

/// A message to be delivered.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub id: i64,
    pub data: Vec<u8>,
    pub attributes: BTreeMap<String, String>,
    pub published_at: Timestamp,
    /// Number of the next delivery, 1 for the first.
    pub delivery_attempt: u32,
}

/// The result of a pull.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub messages: Vec<Message>,
    /// When the next message becomes visible, if this batch is complete.
    pub next: Option<Timestamp>,
}

/// Up to `limit` visible messages, oldest first, except those `in_memory`.
pub(super) fn pull(
    db: &Connection,
    kind: JobKind,
    now: Timestamp,
    limit: usize,
    in_memory: &HashSet<i64>,
) -> DbResult<Batch> {
    let view = db.unchecked_transaction()?;
    let now = now.as_microsecond();
    // The messages in memory are still in the table and come first.
    let rows = i64::try_from(limit.saturating_add(in_memory.len())).unwrap_or(i64::MAX);
    let mut visible =
        view.prepare_cached("SELECT id FROM messages WHERE kind = ? AND visible_at <= ? ORDER BY visible_at LIMIT ?")?;
    let mut load =
        view.prepare_cached("SELECT id, data, attributes, published_at, delivery_attempt FROM messages WHERE id = ?")?;
    let mut batch = Batch::default();
    let mut ids = visible.query(params![kind.id_prefix(), now, rows])?;
    while let Some(row) = ids.next()? {
        let id: i64 = row.get(0)?;
        if batch.messages.len() == limit {
            return Ok(batch);
        }
        if !in_memory.contains(&id) {
            batch.messages.push(load.query_row([id], |row| Ok(read(row)))??);
        }
    }
    batch.next = view
        .prepare_cached(
            "SELECT visible_at FROM messages WHERE kind = ? AND visible_at > ? ORDER BY visible_at LIMIT 1",
        )?
        .query_row(params![kind.id_prefix(), now], |row| row.get::<_, i64>(0))
        .optional()?
        .and_then(|at| Timestamp::from_microsecond(at).ok());
    Ok(batch)
}

fn read(row: &Row<'_>) -> DbResult<Message> {
    Ok(Message {
        id: row.get(0)?,
        data: row.get(1)?,
        attributes: attributes(row.get(2)?)?,
        published_at: time(row.get(3)?)?,
        delivery_attempt: row.get(4)?,
    })
}

fn attributes(text: Option<String>) -> DbResult<BTreeMap<String, String>> {
    let Some(text) = text else { return Ok(BTreeMap::new()) };
    Ok(serde_json::from_str(&text).map_err(|error| broken(&error))?)
}

fn time(microseconds: i64) -> DbResult<Timestamp> {
    Ok(Timestamp::from_microsecond(microseconds).map_err(|error| broken(&error))?)
}

fn broken(what: &dyn std::error::Error) -> BackendError {
    BackendError::new(ErrorKind::Broken, OP).because(what.to_string())
}

/// The oldest dead letters.
pub(super) fn dead_letters(db: &Connection, limit: usize) -> DbResult<Vec<StoredDeadLetter>> {
    let mut query =
        db.prepare_cached("SELECT key, data, attributes, published_at FROM dead_letters ORDER BY id LIMIT ?")?;
    let mut rows = query.query([i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut dead_letters = Vec::new();
    while let Some(row) = rows.next()? {
        dead_letters.push(StoredDeadLetter::new(
            row.get(0)?,
            time(row.get(3)?)?,
            row.get(1)?,
            attributes(row.get(2)?)?,
        ));
    }
    Ok(dead_letters)
}

/// Removes dead letters and returns how many existed.
pub(super) fn discard_dead_letters(tx: &Tx<'_>, keys: &[String]) -> DbResult<usize> {
    let mut delete = tx.prepare_cached("DELETE FROM dead_letters WHERE key = ?")?;
    let mut removed = 0;
    for key in keys {
        removed += delete.execute([key])?;
    }
    Ok(removed)
}

/// Removes every dead letter.
pub(super) fn purge_dead_letters(tx: &Tx<'_>) -> DbResult<()> {
    tx.prepare_cached("DELETE FROM dead_letters")?.execute([])?;
    Ok(())
}

/// Removes an acknowledged message.
pub(super) fn acknowledge(tx: &Tx<'_>, id: i64) -> DbResult<()> {
    tx.prepare_cached("DELETE FROM messages WHERE id = ?")?.execute([id])?;
    Ok(())
}

/// Schedules the next delivery of a refused message.
pub(super) fn postpone(tx: &Tx<'_>, id: i64, next_attempt: u32, visible_at: Timestamp) -> DbResult<()> {
    tx.prepare_cached("UPDATE messages SET delivery_attempt = ?, visible_at = ? WHERE id = ?")?.execute(params![
        next_attempt,
        visible_at.as_microsecond(),
        id
    ])?;
    Ok(())
}

/// Turns a message into a dead letter after its last refusal, in one transaction.
pub(super) fn forward(tx: &Tx<'_>, kind: JobKind, message: &Message) -> DbResult<()> {
    let subscription = kind.subscription();
    let dead_letter = NewDeadLetter {
        key: format!("{subscription}:{}", message.id),
        data: message.data.clone(),
        attributes: envelope::forwarded(message, subscription),
    };
    messages::insert_dead_letter(tx, &dead_letter)?;
    acknowledge(tx, message.id)
}

/// Removes a batch of messages published before `oldest` and returns how many. Ids grow with time, so the oldest messages
/// are found without another index.
pub(super) fn expire(tx: &Tx<'_>, oldest: Timestamp) -> DbResult<usize> {
    let sql = "DELETE FROM messages
               WHERE id IN (SELECT id FROM messages ORDER BY id LIMIT 256) AND published_at < ?";
    Ok(tx.prepare_cached(sql)?.execute([oldest.as_microsecond()])?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        domain::{
            clock::{Clock as _, SystemClock, SystemRandom, after},
            ids::JobId,
            job::Dispatch,
            message::JobMessage,
        },
        embedded::{Embedded, messages::NewMessage},
    };

    #[tokio::test]
    async fn only_messages_past_their_retention_expire() -> Result<(), Box<dyn std::error::Error>> {
        let directory = tempfile::tempdir()?;
        let embedded = Embedded::open(directory.path(), &[])?;
        let now = SystemClock.now();
        for _ in 0..300 {
            let id = JobId::random(JobKind::Illustration, &SystemRandom);
            let message = NewMessage::from(&Dispatch { message: JobMessage::new(id, None), not_before: now });
            embedded.write("test", move |tx| messages::insert(tx, &message)).await?;
        }
        let expired = |oldest| embedded.write("test", move |tx| expire(tx, oldest));
        assert_eq!(expired(now).await?, 0, "no message is old enough");
        let later = after(SystemClock.now(), Duration::from_secs(1));
        let batches = [expired(later).await?, expired(later).await?, expired(later).await?];
        assert_eq!(batches, [256, 44, 0]);
        Ok(())
    }
}
