//! Port [`JobQueue`]: asks a worker to look at a job, at least once.

mod embedded;

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;

pub use self::embedded::Broker;
pub use crate::error::{BackendError, ErrorKind};
use crate::{
    config::PubSubConfig,
    domain::{
        job::{Dispatch, JobKind},
        message::DeadLetter,
    },
    embedded::Embedded,
};

/// The queue in the data directory.
pub fn open_embedded(embedded: &Embedded) -> Arc<dyn JobQueue> {
    Arc::new(embedded::EmbeddedQueue::new(embedded))
}

/// The queue in a project of Google Cloud. Nothing is connected before it is first used.
pub fn open_pubsub(project: &str, config: &PubSubConfig) -> Result<Arc<dyn JobQueue>> {
    let _ = (project, config);
    Err(BackendError::new(ErrorKind::Internal, "queue.open").because("this build has no Pub/Sub"))
}

/// What a queue method answers.
pub type Result<T> = std::result::Result<T, BackendError>;

/// The name a queue gave a message.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MessageId(pub String);

/// Topic and subscription of a kind of job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Where messages are published.
    pub topic: &'static str,
    /// From where they are pushed.
    pub subscription: &'static str,
    /// The worker's endpoint.
    pub endpoint: &'static str,
}

/// The topic of dead letters.
pub const DEAD_LETTER_TOPIC: &str = "job-dlq";
/// From where operators read dead letters.
pub const DEAD_LETTER_SUBSCRIPTION: &str = "job-dlq-sub";

/// Where messages of a kind go.
pub fn route(kind: JobKind) -> Route {
    match kind {
        JobKind::Illustration => Route {
            topic: "image-generation-jobs",
            subscription: "image-generation-workers",
            endpoint: "/process-generation",
        },
        JobKind::Brand => Route {
            topic: "brand-training-jobs",
            subscription: "brand-training-workers",
            endpoint: "/process-training",
        },
    }
}

/// Delivers messages to workers, at least once and in no particular order.
#[async_trait]
pub trait JobQueue: Send + Sync {
    /// Durably accepts a message. A queue that cannot delay delivers early; the worker tells by the job.
    async fn publish(&self, dispatch: &Dispatch) -> Result<MessageId>;

    /// Durably records a dead letter; one whose key is recorded already is not recorded again.
    async fn dead_letter(&self, letter: &DeadLetter) -> Result<MessageId>;

    /// Whether the queue answers; the error names what is wrong.
    async fn ping(&self) -> Result<()>;
}

/// A dead letter's attributes with what operators filter by: `jobId`, `kind`, `errorCode` and `attempts`.
fn letter_attributes(letter: &DeadLetter) -> BTreeMap<String, String> {
    let mut attributes = letter.attributes.clone();
    if let Some(id) = &letter.job_id {
        attributes.insert("jobId".to_owned(), id.to_string());
        attributes.insert("kind".to_owned(), id.kind().to_string());
    }
    attributes.insert("errorCode".to_owned(), letter.error.code.to_string());
    attributes.insert("attempts".to_owned(), letter.attempts.to_string());
    attributes
}
