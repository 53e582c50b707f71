//! A small Pub/Sub in the SQLite file of the jobs: one push subscription for each kind of job, and dead letters.

mod broker;
mod envelope;
mod rows;
mod subscription;

use async_trait::async_trait;

pub use self::broker::Broker;
use super::{JobQueue, MessageId, Result, StoredDeadLetter, dead_letter};
use crate::{
    domain::{job::Dispatch, message::DeadLetter},
    embedded::{
        Embedded,
        messages::{self, NewDeadLetter, NewMessage},
    },
};

/// The publishing side. The [`Broker`] delivers.
pub(super) struct EmbeddedQueue {
    embedded: Embedded,
}

impl EmbeddedQueue {
    pub(super) fn new(embedded: &Embedded) -> Self {
        Self { embedded: embedded.clone() }
    }
}

#[async_trait]
impl JobQueue for EmbeddedQueue {
    fn delays(&self) -> bool {
        true
    }

    async fn publish(&self, dispatch: &Dispatch) -> Result<MessageId> {
        let message = NewMessage::from(dispatch);
        let id = self.embedded.write("queue.publish", move |tx| messages::insert(tx, &message)).await?;
        Ok(MessageId(id.to_string()))
    }

    async fn record_dead_letter(&self, dead_letter: &DeadLetter) -> Result<MessageId> {
        let dead_letter = NewDeadLetter {
            key: dead_letter.key.clone(),
            data: dead_letter.data.clone(),
            attributes: dead_letter::attributes(dead_letter),
        };
        let id =
            self.embedded.write("queue.dead_letter", move |tx| messages::insert_dead_letter(tx, &dead_letter)).await?;
        Ok(MessageId(id.to_string()))
    }

    async fn dead_letters(&self, limit: usize) -> Result<Vec<StoredDeadLetter>> {
        self.embedded.read("queue.dead_letters", move |db| rows::dead_letters(db, limit)).await
    }

    async fn discard_dead_letters(&self, keys: &[String]) -> Result<usize> {
        let keys = keys.to_vec();
        self.embedded.write("queue.discard", move |tx| rows::discard_dead_letters(tx, &keys)).await
    }

    async fn purge_dead_letters(&self) -> Result<()> {
        self.embedded.write("queue.purge", rows::purge_dead_letters).await
    }

    async fn ping(&self) -> Result<()> {
        self.embedded.ping("queue.ping").await
    }
}
