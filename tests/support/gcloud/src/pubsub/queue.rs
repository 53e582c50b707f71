//! A subscription at work: its settings, messages, push rate and deliveries.

use std::{collections::VecDeque, time::Duration};

use gcloud_sdk::google::pubsub::v1::PubsubMessage;
use jiff::tz::TimeZone;
use tokio::time::Instant;

use super::{
    Delivery, Message,
    backlog::{Backlog, Taken, Ticket},
    flow::Flow,
    resource::{Span, Subscription},
    state::{self, Now},
};

#[derive(Debug)]
pub struct Queue {
    /// Differs when a subscription is deleted and created again.
    pub number: u64,
    pub settings: Subscription,
    pub backlog: Backlog,
    pub flow: Flow,
    pub deliveries: VecDeque<(Ticket, Delivery)>,
}

/// A message on its way to the topic that it names.
pub type Dead = (String, PubsubMessage);

impl Queue {
    pub fn new(number: u64, settings: Subscription) -> Self {
        let (backlog, flow) = (Backlog::default(), Flow::default());
        Self { number, settings, backlog, flow, deliveries: VecDeque::new() }
    }

    pub fn is_push(&self) -> bool {
        !self.settings.push_config.push_endpoint.is_empty()
    }

    /// The ack deadline.
    pub fn deadline(&self, speed: f64) -> Duration {
        Duration::from_secs(self.settings.ack_deadline_seconds.unsigned_abs().into()).div_f64(speed)
    }

    /// The retention of a message.
    pub fn retention(&self, speed: f64) -> Duration {
        self.settings.message_retention_duration.unwrap_or_default().0.div_f64(speed)
    }

    /// Starts the delivery of one message, if one is ready.
    pub fn take(&mut self, now: Instant, speed: f64) -> Option<Taken> {
        let taken = self.backlog.take(now, self.deadline(speed))?;
        let delivery = Delivery { message_id: taken.message.id.clone(), attempt: taken.attempt, answer: None };
        state::remember(&mut self.deliveries, (taken.ticket, delivery));
        Some(taken)
    }

    /// The number of a delivery as clients see it: only with a dead-letter topic.
    pub fn attempt(&self, taken: &Taken) -> Option<u32> {
        self.settings.dead_letter_policy.is_some().then_some(taken.attempt)
    }

    /// Records the response to a push.
    pub fn answered(&mut self, ticket: Ticket, answer: Option<u16>) {
        if let Some((_, delivery)) = self.deliveries.iter_mut().rev().find(|(delivered, _)| *delivered == ticket) {
            delivery.answer = answer;
        }
    }

    pub fn acknowledge(&mut self, ticket: Ticket) -> bool {
        self.backlog.acknowledge(ticket, self.settings.retain_acked_messages)
    }

    /// Fails a delivery: the message is redelivered later or becomes a dead letter. `is_open`: the dead-letter topic exists.
    /// Returns whether the delivery was under way, and the dead letter to publish.
    pub fn fail(&mut self, ticket: Ticket, now: Now, speed: f64, is_open: bool) -> (bool, Option<Dead>) {
        let Some(failures) = self.backlog.fail(ticket) else { return (false, None) };
        let policy = self.settings.dead_letter_policy.as_ref();
        if let Some(policy) = policy.filter(|policy| is_open && failures >= policy.max_delivery_attempts.unsigned_abs())
        {
            let topic = policy.dead_letter_topic.clone();
            let dead = self.backlog.remove(ticket).map(|message| (topic, self.dead_letter(&message, failures)));
            return (true, dead);
        }
        let backoff = self.retry_backoff(failures).div_f64(speed);
        self.backlog.retry(ticket, now.instant + backoff);
        (true, None)
    }

    /// The backoff of a message after this number of failures.
    fn retry_backoff(&self, failures: u32) -> Duration {
        let Some(policy) = &self.settings.retry_policy else { return Duration::ZERO };
        let (Span(least), Span(most)) =
            (policy.minimum_backoff.unwrap_or_default(), policy.maximum_backoff.unwrap_or_default());
        least.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(most)
    }

    fn dead_letter(&self, message: &Message, deliveries: u32) -> PubsubMessage {
        let mut attributes: std::collections::HashMap<_, _> = message.attributes.clone().into_iter().collect();
        let name = &self.settings.name;
        let project = name.split('/').nth(1).unwrap_or_default();
        // A numeric offset, as the service writes it here and nowhere else.
        let published = message.publish_time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string();
        attributes.extend([
            ("CloudPubSubDeadLetterSourceDeliveryCount".to_owned(), deliveries.to_string()),
            ("CloudPubSubDeadLetterSourceSubscription".to_owned(), state::id(name).to_owned()),
            ("CloudPubSubDeadLetterSourceSubscriptionProject".to_owned(), project.to_owned()),
            ("CloudPubSubDeadLetterSourceTopicPublishTime".to_owned(), published),
        ]);
        let (data, ordering_key) = (message.data.clone(), message.ordering_key.clone());
        PubsubMessage { data, attributes, ordering_key, ..PubsubMessage::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pubsub::resource::RetryPolicy;

    #[test]
    fn a_message_waits_twice_as_long_after_each_failure() {
        let waits = |policy: Option<RetryPolicy>| {
            let queue = Queue::new(1, Subscription { retry_policy: policy, ..Subscription::default() });
            [1, 2, 3, 7, 100].map(|failures| queue.retry_backoff(failures).as_secs())
        };
        let (minimum_backoff, maximum_backoff) = (Some(Span::seconds(10)), Some(Span::seconds(600)));
        assert_eq!(waits(Some(RetryPolicy { minimum_backoff, maximum_backoff })), [10, 20, 40, 600, 600]);
        assert_eq!(waits(None), [0; 5]);
    }
}
