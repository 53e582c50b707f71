//! Port [`JobQueue`]: asks a worker to look at a job, at least once.

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

/// The queue in a project of Google Cloud. Nothing is connected before it is first used.
#[cfg(feature = "google-cloud")]
pub fn open_pubsub(project: &str, config: &crate::config::PubSubConfig) -> Arc<dyn JobQueue> {
    Arc::new(pubsub::PubSubQueue::new(project, config))
}

/// What a queue method answers.
pub type Result<T> = std::result::Result<T, BackendError>;

/// The name a queue gave a message.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MessageId(pub String);

/// Delivers messages to workers, at least once and in no particular order.
#[async_trait]
pub trait JobQueue: Send + Sync {
    /// Whether the queue holds a message back until its `not_before`. For a queue that does not, the use cases do not publish
    /// a message for later; the sweeper publishes it when the job is due.
    fn delays(&self) -> bool;

    /// Durably accepts a message.
    async fn publish(&self, dispatch: &Dispatch) -> Result<MessageId>;

    /// Durably records a dead letter, at least once: where the queue cannot tell a repetition it keeps copies, and those
    /// who read take dead letters of one key for one.
    async fn dead_letter(&self, dead_letter: &DeadLetter) -> Result<MessageId>;

    /// Looks at up to `limit` dead letters, each key once, in the order in which they were recorded as far as the queue
    /// knows it. They stay where they are. What somebody else looks at in the same moment may be missing.
    async fn dead_letters(&self, limit: usize) -> Result<Vec<StoredDeadLetter>>;

    /// Removes the dead letters of these keys with all their copies; of how many keys it removed some. A key that is
    /// gone is no error.
    async fn discard_dead_letters(&self, keys: &[String]) -> Result<usize>;

    /// Removes every dead letter recorded so far.
    async fn purge_dead_letters(&self) -> Result<()>;

    /// Whether the queue answers; the error names what is wrong.
    async fn ping(&self) -> Result<()>;
}

intercept! {
    JobQueue
    calls {
        publish "queue.publish" (dispatch: &Dispatch) -> MessageId;
        dead_letter "queue.dead_letter" (dead_letter: &DeadLetter) -> MessageId;
        dead_letters "queue.dead_letters" (limit: usize) -> Vec<StoredDeadLetter>;
        discard_dead_letters "queue.discard" (keys: &[String]) -> usize;
        purge_dead_letters "queue.purge" () -> ();
        ping "queue.ping" () -> ();
    }
    getters {
        delays() -> bool;
    }
}
