//! Cloud Pub/Sub: one topic for each kind of job, pushed to the workers, and one for dead letters, pulled by operators.

mod dead_letters;
mod publish;

use async_trait::async_trait;
use google_cloud_pubsub::{client::TopicAdmin, model::Message};
use tokio::sync::OnceCell;

use self::{dead_letters::DeadLetters, publish::Publishers};
use super::{JobQueue, MessageId, Result, StoredDeadLetter, dead_letter};
use crate::{
    config::PubSubConfig,
    domain::{
        job::Dispatch,
        message::{DEAD_LETTER_TOPIC, DeadLetter, TOPICS},
    },
    google::pubsub::{PubSubProject, explained},
};

/// The Pub/Sub of a project. The first call that needs a client builds it.
pub(super) struct PubSubQueue {
    project: PubSubProject,
    publishers: OnceCell<Publishers>,
    topics: OnceCell<TopicAdmin>,
    dead_letters: DeadLetters,
}

impl PubSubQueue {
    pub(super) fn new(project: &str, config: &PubSubConfig) -> Self {
        let project = PubSubProject::new(project, config.endpoint.clone());
        let dead_letters = DeadLetters::new(project.clone());
        Self { project, publishers: OnceCell::new(), topics: OnceCell::new(), dead_letters }
    }

    async fn publish_to(&self, op: &'static str, topic: &'static str, message: Message) -> Result<MessageId> {
        let publishers = self.publishers.get_or_try_init(|| Publishers::open(&self.project)).await?;
        publishers.publish(op, topic, message).await
    }

    async fn ping_topic(&self, admin: &TopicAdmin, topic: &str) -> Result<()> {
        let name = self.project.topic(topic);
        let found = admin.get_topic().set_topic(&name).send().await;
        found.map(drop).map_err(|error| explained("queue.ping", &format!("topic {name}"), "roles/pubsub.viewer", error))
    }
}

#[async_trait]
impl JobQueue for PubSubQueue {
    fn delays(&self) -> bool {
        false
    }

    async fn publish(&self, dispatch: &Dispatch) -> Result<MessageId> {
        let message = &dispatch.message;
        let topic = message.kind.topic();
        let message = Message::new().set_data(message.data()).set_attributes(message.attributes());
        self.publish_to("queue.publish", topic, message).await
    }

    async fn record_dead_letter(&self, dead_letter: &DeadLetter) -> Result<MessageId> {
        let message =
            Message::new().set_data(dead_letter.data.clone()).set_attributes(dead_letter::attributes(dead_letter));
        self.publish_to("queue.dead_letter", DEAD_LETTER_TOPIC, message).await
    }

    async fn dead_letters(&self, limit: usize) -> Result<Vec<StoredDeadLetter>> {
        self.dead_letters.peek(limit).await
    }

    async fn discard_dead_letters(&self, keys: &[String]) -> Result<usize> {
        self.dead_letters.discard(keys).await
    }

    async fn purge_dead_letters(&self) -> Result<()> {
        self.dead_letters.purge().await
    }

    async fn ping(&self) -> Result<()> {
        let admin = self.topics.get_or_try_init(|| self.project.topic_admin()).await?;
        let pings = TOPICS.map(|topic| self.ping_topic(admin, topic));
        futures::future::try_join_all(pings).await.map(drop)
    }
}
