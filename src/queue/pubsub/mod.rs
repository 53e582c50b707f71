//! Cloud Pub/Sub: a topic for each kind of job, pushed to the workers, and one of dead dead_letters, pulled by operators.

mod admin;
mod dead_letters;
mod drift;
mod error;
mod iam;
mod publish;
mod wanted;

use std::time::Duration;

use async_trait::async_trait;
use google_cloud_gax::{
    exponential_backoff::{ExponentialBackoff, ExponentialBackoffBuilder},
    retry_policy::{RetryPolicy, RetryPolicyExt as _},
};
use google_cloud_pubsub::{client::TopicAdmin, model::Message, retry_policy::RetryableErrors};
use tokio::sync::OnceCell;
use url::Url;

pub use self::{
    admin::{Action, Kind, Provision, Provisioned, open_provision},
    drift::Drift,
    error::ProvisionError,
    iam::iam_commands,
    wanted::Push,
};
use self::{dead_letters::DeadLetters, error::explained, publish::Publishers};
use super::{DEAD_LETTER_TOPIC, JobQueue, MessageId, Result, StoredDeadLetter, dead_letter};
use crate::{
    config::PubSubConfig,
    domain::{job::Dispatch, kind::JobKind, message::DeadLetter},
    google,
};

/// Tries of one call, at most, and how long they may take together. What is not published then is published by the
/// sweeper, and whoever submitted does not wait for it.
const TRIES: u32 = 3;
const TIME: Duration = Duration::from_secs(5);

/// The three topics.
const TOPICS: [&str; 3] = [JobKind::Illustration.topic(), JobKind::Brand.topic(), DEAD_LETTER_TOPIC];

/// Pub/Sub of a project. Each client is made with the first call that needs it.
pub(super) struct PubSubQueue {
    project: PubSubProject,
    publishers: OnceCell<Publishers>,
    topics: OnceCell<TopicAdmin>,
    dead_letters: DeadLetters,
}

/// Where the topics and subscriptions are.
#[derive(Debug, Clone)]
struct PubSubProject {
    project: String,
    /// Instead of Google's own address.
    endpoint: Option<Url>,
}

impl PubSubProject {
    fn new(project: &str, config: &PubSubConfig) -> Self {
        Self { project: project.to_owned(), endpoint: config.endpoint.clone() }
    }

    /// The address as the clients want it.
    fn base(&self) -> &str {
        self.endpoint.as_ref().map_or("https://pubsub.googleapis.com", google::base)
    }

    fn topic(&self, name: &str) -> String {
        format!("projects/{}/topics/{name}", self.project)
    }

    fn subscription(&self, name: &str) -> String {
        format!("projects/{}/subscriptions/{name}", self.project)
    }

    async fn topic_admin(&self) -> Result<TopicAdmin> {
        let credentials = google::credentials(self.endpoint.as_ref())?;
        let client = TopicAdmin::builder().with_endpoint(self.base()).with_credentials(credentials);
        let client = client.with_retry_policy(retry()).with_backoff_policy(backoff()).build().await;
        client.map_err(|error| error::unbuilt("queue.open", error))
    }
}

/// Retry policies cannot be cloned.
fn retry() -> impl RetryPolicy + 'static {
    RetryableErrors.with_time_limit(TIME).with_attempt_limit(TRIES)
}

fn backoff() -> ExponentialBackoff {
    // Clamped, because a wrong constant must not end the process.
    ExponentialBackoffBuilder::new()
        .with_initial_delay(Duration::from_millis(100))
        .with_maximum_delay(Duration::from_secs(1))
        .clamp()
}

impl PubSubQueue {
    pub(super) fn new(project: &str, config: &PubSubConfig) -> Self {
        let project = PubSubProject::new(project, config);
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
    /// Pub/Sub cannot delay: what is to come later is left to the sweeper, and what comes early the worker knows by
    /// the job.
    async fn publish(&self, dispatch: &Dispatch) -> Result<MessageId> {
        let message = &dispatch.message;
        let topic = message.kind.topic();
        let message = Message::new().set_data(message.data()).set_attributes(message.attributes());
        self.publish_to("queue.publish", topic, message).await
    }

    async fn dead_letter(&self, dead_letter: &DeadLetter) -> Result<MessageId> {
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
