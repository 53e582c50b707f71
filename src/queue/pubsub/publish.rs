//! Publishing: one publisher for each topic, kept as long as the process lives, over one connection.

use std::{collections::HashMap, time::Duration};

use google_cloud_pubsub::{
    client::{BasePublisher, Publisher},
    error::PublishError,
    model::Message,
};

use crate::{
    domain::message::TOPICS,
    error::{BackendError, ErrorKind},
    google::pubsub::{PubSubProject, backoff, explained, retry, unbuilt},
    queue::{MessageId, Result},
};

/// How long a message waits for others to share a request with. Each submit waits this long, too.
const BATCH_DELAY: Duration = Duration::from_millis(1);
/// The most messages in one request. A message has a few hundred bytes.
const BATCH_MESSAGES: u32 = 100;

pub(super) struct Publishers {
    project: PubSubProject,
    by_topic: HashMap<&'static str, Publisher>,
}

impl Publishers {
    /// Does not connect yet.
    pub(super) async fn open(project: &PubSubProject) -> Result<Self> {
        let base = BasePublisher::builder().with_endpoint(project.address()).with_credentials(project.credentials()?);
        let base = base.with_retry_policy(retry()).with_backoff_policy(backoff()).build().await;
        let base = base.map_err(|error| unbuilt("queue.open", error))?;
        let publisher = |topic| {
            let publisher = base.publisher(project.topic(topic)).set_delay_threshold(BATCH_DELAY);
            (topic, publisher.set_message_count_threshold(BATCH_MESSAGES).build())
        };
        Ok(Self { project: project.clone(), by_topic: TOPICS.into_iter().map(publisher).collect() })
    }

    /// Publishes a message and waits until the service has stored it.
    pub(super) async fn publish(&self, op: &'static str, topic: &'static str, message: Message) -> Result<MessageId> {
        let unknown = || BackendError::new(ErrorKind::Internal, op).because(format!("no publisher for topic {topic}"));
        let publisher = self.by_topic.get(topic).ok_or_else(unknown)?;
        let id = publisher.publish(message).await.map(MessageId);
        id.map_err(|error| match error {
            PublishError::Rpc(error) => {
                let what = format!("topic {}", self.project.topic(topic));
                explained(op, &what, "roles/pubsub.publisher", error)
            }
            // The runtime of the publisher's task is shutting down.
            error => BackendError::new(ErrorKind::Unavailable, op).because(error),
        })
    }
}
