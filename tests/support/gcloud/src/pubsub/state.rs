//! The state of Pub/Sub and its changes, without a clock and a network: the caller passes the time.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use gcloud_sdk::google::pubsub::v1::PubsubMessage;
use jiff::Timestamp;
use tokio::time::Instant;
use tonic::Status;

use super::{
    Message, limits,
    queue::Queue,
    resource::{Subscription, Topic},
};

/// Messages of a topic, and deliveries of a subscription, that are kept for tests.
pub const REMEMBERED: usize = 10_000;
const DELETED_TOPIC: &str = "_deleted-topic_";

/// The current time: of the wall clock, and for waits.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    pub time: Timestamp,
    pub instant: Instant,
}

#[derive(Debug)]
pub struct State {
    pub topics: BTreeMap<String, TopicState>,
    pub queues: BTreeMap<String, Queue>,
    /// The factor by which waits are shorter than documented.
    pub speed: f64,
    /// The number of acknowledgements that are lost from now on.
    pub lost_acks: usize,
    last_message: u64,
    last_queue: u64,
}

#[derive(Debug, Default)]
pub struct TopicState {
    pub settings: Topic,
    pub published: VecDeque<Arc<Message>>,
}

impl Default for State {
    fn default() -> Self {
        let (topics, queues) = (BTreeMap::new(), BTreeMap::new());
        Self { topics, queues, speed: 1.0, lost_acks: 0, last_message: 2_070_443_601_311_540, last_queue: 0 }
    }
}

impl State {
    pub fn create_topic(&mut self, settings: Topic) -> Result<Topic, Status> {
        limits::check_name(&settings.name, "topics")?;
        limits::check_topic(&settings)?;
        if self.topics.contains_key(&settings.name) {
            return Err(Status::already_exists(format!(
                "Resource already exists in the project (resource={})",
                id(&settings.name)
            )));
        }
        let topic = TopicState { settings: settings.clone(), published: VecDeque::new() };
        self.topics.insert(settings.name.clone(), topic);
        Ok(settings)
    }

    pub fn topic(&self, name: &str) -> Result<&TopicState, Status> {
        limits::check_name(name, "topics")?;
        self.topics.get(name).ok_or_else(|| not_found(name))
    }

    pub fn update_topic(&mut self, settings: Topic) -> Result<Topic, Status> {
        limits::check_topic(&settings)?;
        let topic = self.topics.get_mut(&settings.name).ok_or_else(|| not_found(&settings.name))?;
        topic.settings = settings.clone();
        Ok(settings)
    }

    /// Its subscriptions and their messages stay.
    pub fn delete_topic(&mut self, name: &str) -> Result<(), Status> {
        self.topic(name)?;
        self.topics.remove(name);
        for queue in self.queues.values_mut().filter(|queue| queue.settings.topic == name) {
            DELETED_TOPIC.clone_into(&mut queue.settings.topic);
        }
        Ok(())
    }

    /// Returns the number of its queue, for the task that serves it.
    pub fn create_subscription(&mut self, mut settings: Subscription) -> Result<(Subscription, u64), Status> {
        limits::check_name(&settings.name, "subscriptions")?;
        self.topic(&settings.topic)?;
        limits::settle_subscription(&mut settings)?;
        self.check_dead_letters(&settings)?;
        if self.queues.contains_key(&settings.name) {
            return Err(Status::already_exists(format!(
                "Resource already exists in the project (resource={})",
                id(&settings.name)
            )));
        }
        self.last_queue += 1;
        self.queues.insert(settings.name.clone(), Queue::new(self.last_queue, settings.clone()));
        Ok((settings, self.last_queue))
    }

    pub fn queue(&mut self, name: &str) -> Result<&mut Queue, Status> {
        limits::check_name(name, "subscriptions")?;
        self.queues.get_mut(name).ok_or_else(|| not_found(name))
    }

    pub fn update_subscription(&mut self, mut settings: Subscription) -> Result<Subscription, Status> {
        limits::settle_subscription(&mut settings)?;
        self.check_dead_letters(&settings)?;
        let queue = self.queue(&settings.name)?;
        queue.settings = settings.clone();
        Ok(settings)
    }

    pub fn delete_subscription(&mut self, name: &str) -> Result<(), Status> {
        self.queue(name)?;
        self.queues.remove(name);
        Ok(())
    }

    /// Adds the messages to each subscription of the topic. Returns their ids.
    pub fn publish(&mut self, topic: &str, messages: Vec<PubsubMessage>, now: Now) -> Result<Vec<String>, Status> {
        self.topic(topic)?;
        limits::check_messages(&messages)?;
        Ok(messages.into_iter().map(|message| self.publish_one(topic, message, now)).collect())
    }

    fn publish_one(&mut self, topic: &str, message: PubsubMessage, now: Now) -> String {
        self.last_message += 1;
        let message = Arc::new(Message {
            id: self.last_message.to_string(),
            data: message.data,
            attributes: message.attributes.into_iter().collect(),
            ordering_key: message.ordering_key,
            publish_time: now.time,
        });
        for queue in self.queues.values_mut().filter(|queue| queue.settings.topic == topic) {
            queue.backlog.add(Arc::clone(&message), now.instant);
        }
        let id = message.id.clone();
        if let Some(topic) = self.topics.get_mut(topic) {
            remember(&mut topic.published, message);
        }
        id
    }

    /// Publishes a message that failed too often to the dead-letter topic, unless that topic is gone.
    pub fn record_dead_letter(&mut self, dead: Vec<(String, PubsubMessage)>, now: Now) {
        for (topic, message) in dead {
            self.publish_one(&topic, message, now);
        }
    }

    fn check_dead_letters(&self, settings: &Subscription) -> Result<(), Status> {
        settings.dead_letter_policy.as_ref().map_or(Ok(()), |policy| self.topic(&policy.dead_letter_topic).map(drop))
    }
}

/// Adds to a list and drops the oldest element beyond the limit.
pub fn remember<T>(memory: &mut VecDeque<T>, item: T) {
    if memory.len() == REMEMBERED {
        memory.pop_front();
    }
    memory.push_back(item);
}

/// The last part of a name.
pub fn id(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn not_found(name: &str) -> Status {
    Status::not_found(format!("Resource not found (resource={})", id(name)))
}
