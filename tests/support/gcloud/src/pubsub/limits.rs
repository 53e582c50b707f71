//! The limits and the defaults of the service.

use std::time::Duration;

use gcloud_sdk::google::pubsub::v1::PubsubMessage;
use tonic::Status;

use super::resource::{ExpirationPolicy, PushConfig, RetryPolicy, Span, Subscription, Topic};

const MINUTE: u64 = 60;
const DAY: u64 = 24 * 60 * MINUTE;
/// Bytes of a message, and of all messages of a request together.
const MAX_BYTES: usize = 10_000_000;
const MAX_MESSAGES: usize = 1000;
const MAX_ATTRIBUTES: usize = 100;
const MAX_KEY_BYTES: usize = 256;
const MAX_VALUE_BYTES: usize = 1024;

/// Checks a name of the form `projects/P/KIND/ID`.
pub fn check_name(name: &str, kind: &str) -> Result<(), Status> {
    let mut parts = name.split('/');
    let parts = (parts.next(), parts.next(), parts.next(), parts.next(), parts.next());
    let (Some("projects"), Some(project), Some(found), Some(id), None) = parts else {
        return refuse(format!("a name is projects/PROJECT/{kind}/ID, not {name:?}"));
    };
    let is_fit = |c: char| c.is_ascii_alphanumeric() || "-_.~+%".contains(c);
    if found != kind || project.is_empty() {
        return refuse(format!("a name is projects/PROJECT/{kind}/ID, not {name:?}"));
    }
    if !(3..=255).contains(&id.len()) || !id.starts_with(|c: char| c.is_ascii_alphabetic()) || !id.chars().all(is_fit) {
        return refuse(format!("an id has 3 to 255 letters, digits and -_.~+%, a letter first, not {id:?}"));
    }
    if id.starts_with("goog") {
        return refuse(format!("an id does not begin with goog, as {id:?} does"));
    }
    Ok(())
}

pub fn check_topic(topic: &Topic) -> Result<(), Status> {
    topic
        .message_retention_duration
        .map_or(Ok(()), |span| between("message_retention_duration", span, 10 * MINUTE, 31 * DAY))
}

/// Fills in the defaults and checks all settings.
pub fn settle_subscription(subscription: &mut Subscription) -> Result<(), Status> {
    if subscription.ack_deadline_seconds == 0 {
        subscription.ack_deadline_seconds = 10;
    }
    subscription.message_retention_duration.get_or_insert(Span::seconds(7 * DAY));
    subscription.expiration_policy.get_or_insert(ExpirationPolicy { ttl: Some(Span::seconds(31 * DAY)) });
    if let Some(RetryPolicy { minimum_backoff, maximum_backoff }) = &mut subscription.retry_policy {
        minimum_backoff.get_or_insert(Span::seconds(10));
        maximum_backoff.get_or_insert(Span::seconds(600));
    }
    if let Some(policy) = &mut subscription.dead_letter_policy
        && policy.max_delivery_attempts == 0
    {
        policy.max_delivery_attempts = 5;
    }
    check_subscription(subscription)
}

fn check_subscription(subscription: &Subscription) -> Result<(), Status> {
    check_deadline(subscription.ack_deadline_seconds, 10)?;
    if let Some(span) = subscription.message_retention_duration {
        between("message_retention_duration", span, 10 * MINUTE, 31 * DAY)?;
    }
    if let Some(ttl) = subscription.expiration_policy.as_ref().and_then(|policy| policy.ttl) {
        between("expiration_policy.ttl", ttl, DAY, 365 * DAY)?;
    }
    if let Some(policy) = &subscription.dead_letter_policy {
        check_name(&policy.dead_letter_topic, "topics")?;
        if !(5..=100).contains(&policy.max_delivery_attempts) {
            return refuse(format!("max_delivery_attempts is 5 to 100, not {}", policy.max_delivery_attempts));
        }
    }
    if let Some(RetryPolicy { minimum_backoff: Some(least), maximum_backoff: Some(most) }) = subscription.retry_policy {
        between("retry_policy.minimum_backoff", least, 0, 600)?;
        between("retry_policy.maximum_backoff", most, 0, 600)?;
        if least > most {
            return refuse("retry_policy.minimum_backoff is at most maximum_backoff".to_owned());
        }
    }
    check_push(&subscription.push_config)?;
    let undone = [
        ("enable_message_ordering", subscription.enable_message_ordering),
        ("enable_exactly_once_delivery", subscription.enable_exactly_once_delivery),
        ("filter", !subscription.filter.is_empty()),
        ("push_config.no_wrapper", subscription.push_config.no_wrapper.is_some()),
    ];
    match undone.iter().find(|(_, is_asked)| *is_asked) {
        Some((field, _)) => Err(Status::unimplemented(format!("the emulator does not do {field}"))),
        None => Ok(()),
    }
}

/// An ack deadline in seconds; 0 is a negative acknowledgement (`modifyAckDeadline`).
pub fn check_deadline(seconds: i32, least: i32) -> Result<(), Status> {
    if (least..=600).contains(&seconds) {
        return Ok(());
    }
    refuse(format!("an ack deadline is {least} to 600 s, not {seconds}"))
}

fn check_push(push: &PushConfig) -> Result<(), Status> {
    if !push.push_endpoint.is_empty()
        && !reqwest::Url::parse(&push.push_endpoint).is_ok_and(|url| ["http", "https"].contains(&url.scheme()))
    {
        return refuse(format!("push_endpoint is an http or https URL, not {:?}", push.push_endpoint));
    }
    if push.oidc_token.as_ref().is_some_and(|token| !token.service_account_email.contains('@')) {
        return refuse("oidc_token.service_account_email is an email".to_owned());
    }
    Ok(())
}

/// Checks the messages of one publish request.
pub fn check_messages(messages: &[PubsubMessage]) -> Result<(), Status> {
    if messages.is_empty() || messages.len() > MAX_MESSAGES {
        return refuse(format!("a request publishes 1 to {MAX_MESSAGES} messages, not {}", messages.len()));
    }
    messages.iter().try_for_each(check_message)?;
    let bytes: usize = messages.iter().map(size).sum();
    if bytes > MAX_BYTES {
        return refuse(format!("a request has at most {MAX_BYTES} bytes of messages, not {bytes}"));
    }
    Ok(())
}

fn check_message(message: &PubsubMessage) -> Result<(), Status> {
    if message.data.is_empty() && message.attributes.is_empty() {
        return refuse("a message has data or an attribute".to_owned());
    }
    if message.attributes.len() > MAX_ATTRIBUTES {
        return refuse(format!("a message has at most {MAX_ATTRIBUTES} attributes, not {}", message.attributes.len()));
    }
    for (key, value) in &message.attributes {
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return refuse(format!("an attribute's key has 1 to {MAX_KEY_BYTES} bytes, not {}", key.len()));
        }
        if value.len() > MAX_VALUE_BYTES {
            return refuse(format!("an attribute's value has at most {MAX_VALUE_BYTES} bytes, not {}", value.len()));
        }
    }
    Ok(())
}

fn size(message: &PubsubMessage) -> usize {
    let attributes: usize = message.attributes.iter().map(|(key, value)| key.len() + value.len()).sum();
    message.data.len() + attributes + message.ordering_key.len()
}

fn between(field: &str, span: Span, least: u64, most: u64) -> Result<(), Status> {
    if (Duration::from_secs(least)..=Duration::from_secs(most)).contains(&span.0) {
        return Ok(());
    }
    refuse(format!("{field} is {least} s to {most} s, not {:?}", span.0))
}

fn refuse<T>(reason: String) -> Result<T, Status> {
    Err(Status::invalid_argument(reason))
}
