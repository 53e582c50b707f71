//! Port [`JobQueue`]: delivers a message about a job to a worker, at least once.

mod dead_letter;
mod embedded;
#[cfg(feature = "google-cloud")]
mod pubsub;

use std::sync::Arc;

use async_trait::async_trait;

pub use self::{dead_letter::StoredDeadLetter, embedded::Broker};
pub use crate::error::{BackendError, ErrorKind};
use crate::{
    domain::{job::Dispatch, message::DeadLetter},
    embedded::Embedded,
    intercept::intercept,
};

/// The queue in the data directory.
pub fn open_embedded(embedded: &Embedded) -> Arc<dyn JobQueue> {
    Arc::new(embedded::EmbeddedQueue::new(embedded))
}

/// The queue on Pub/Sub. The first call connects.
#[cfg(feature = "google-cloud")]
pub fn open_pubsub(project: &str, config: &crate::config::PubSubConfig) -> Arc<dyn JobQueue> {
    Arc::new(pubsub::PubSubQueue::new(project, config))
}

/// The result of a queue method.
pub type Result<T> = std::result::Result<T, BackendError>;

/// The id that the queue gave a message.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MessageId(pub String);

/// Delivers messages to workers at least once, in no particular order.
#[async_trait]
pub trait JobQueue: Send + Sync {
    /// Whether the queue holds a message back until its `not_before`. For a queue that does not, the use cases do not publish
    /// a message for later; the sweeper publishes it when the job is due.
    fn delays(&self) -> bool;

    /// Durably accepts a message.
    async fn publish(&self, dispatch: &Dispatch) -> Result<MessageId>;

    /// Durably records a dead letter, at least once. A queue that cannot detect a repetition keeps copies, and readers treat
    /// copies with one key as one dead letter.
    async fn record_dead_letter(&self, dead_letter: &DeadLetter) -> Result<MessageId>;

    /// Reads up to `limit` dead letters without removing them, each key once, in the order of their recording as far as the
    /// queue knows it. Dead letters that another reader reads at the same time may be missing.
    async fn dead_letters(&self, limit: usize) -> Result<Vec<StoredDeadLetter>>;

    /// Removes the dead letters with these keys, including copies. Returns how many of the keys existed; a missing key is not
    /// an error.
    async fn discard_dead_letters(&self, keys: &[String]) -> Result<usize>;

    /// Removes every dead letter recorded before the call.
    async fn purge_dead_letters(&self) -> Result<()>;

    /// Checks that the queue is usable; the error says what is wrong.
    async fn ping(&self) -> Result<()>;
}

intercept! {
    JobQueue
    calls {
        publish "queue.publish" (dispatch: &Dispatch) -> MessageId;
        record_dead_letter "queue.dead_letter" (dead_letter: &DeadLetter) -> MessageId;
        dead_letters "queue.dead_letters" (limit: usize) -> Vec<StoredDeadLetter>;
        discard_dead_letters "queue.discard" (keys: &[String]) -> usize;
        purge_dead_letters "queue.purge" () -> ();
        ping "queue.ping" () -> ();
    }
    getters {
        delays() -> bool;
    }
}
