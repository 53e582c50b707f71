//! Publishing: one publisher a topic for the life of the process, over one connection.

use std::{collections::HashMap, time::Duration};

use google_cloud_pubsub::{
    client::{BasePublisher, Publisher},
    error::PublishError,
    model::Message,
};

use super::{PubSubProject, TOPICS, backoff, error, error::explained, retry};
use crate::{
    error::{BackendError, ErrorKind},
    google,
    queue::{MessageId, Result},
};

/// How long a message waits for others to travel with: a submit waits for it, too.
const BATCH_DELAY: Duration = Duration::from_millis(1);
/// Messages that travel together, at most: ours have a few hundred bytes.
const BATCH_MESSAGES: u32 = 100;

pub(super) struct Publishers {
    project: PubSubProject,
    by_topic: HashMap<&'static str, Publisher>,
}

impl Publishers {
    /// Connects to nothing yet.
    pub(super) async fn open(project: &PubSubProject) -> Result<Self> {
        let credentials = google::credentials(project.endpoint.as_ref())?;
        let base = BasePublisher::builder().with_endpoint(project.base()).with_credentials(credentials);
        let base = base.with_retry_policy(retry()).with_backoff_policy(backoff()).build().await;
        let base = base.map_err(|error| error::unbuilt("queue.open", error))?;
        let publisher = |topic| {
            let publisher = base.publisher(project.topic(topic)).set_delay_threshold(BATCH_DELAY);
            (topic, publisher.set_message_count_threshold(BATCH_MESSAGES).build())
        };
        Ok(Self { project: project.clone(), by_topic: TOPICS.into_iter().map(publisher).collect() })
    }

    /// Publishes; answers once the service has the message.
    pub(super) async fn publish(&self, op: &'static str, topic: &'static str, message: Message) -> Result<MessageId> {
        let unknown = || BackendError::new(ErrorKind::Internal, op).because(format!("no publisher for topic {topic}"));
        let publisher = self.by_topic.get(topic).ok_or_else(unknown)?;
        let id = publisher.publish(message).await.map(MessageId);
        id.map_err(|error| match error {
            PublishError::Rpc(error) => {
                let what = format!("topic {}", self.project.topic(topic));
                explained(op, &what, "roles/pubsub.publisher", error)
            }
            // The runtime that the publisher's task runs on is ending.
            error => BackendError::new(ErrorKind::Unavailable, op).because(error),
        })
    }
}
