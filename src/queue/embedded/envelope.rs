//! The body of a push, byte for byte as Pub/Sub sends it.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;

use super::rows::Message;
use crate::domain::Timestamp;

/// The project that embedded topics and subscriptions belong to.
pub(super) const PROJECT: &str = "local";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    delivery_attempt: u32,
    message: Wrapped<'a>,
    subscription: String,
}

#[derive(Serialize)]
struct Wrapped<'a> {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    data: String,
    // Pub/Sub sends these two fields in both spellings, and clients rely on either.
    #[serde(rename = "messageId")]
    message_id_camel: &'a str,
    message_id: &'a str,
    #[serde(rename = "publishTime")]
    publish_time_camel: &'a str,
    publish_time: &'a str,
}

/// The envelope of a message. `subscription` is a short name.
pub(super) fn body(message: &Message, subscription: &str) -> Result<Vec<u8>, serde_json::Error> {
    let id = message.id.to_string();
    let time = message.published_at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string();
    serde_json::to_vec(&Envelope {
        delivery_attempt: message.delivery_attempt,
        message: Wrapped {
            attributes: &message.attributes,
            data: STANDARD.encode(&message.data),
            message_id_camel: &id,
            message_id: &id,
            publish_time_camel: &time,
            publish_time: &time,
        },
        subscription: format!("projects/{PROJECT}/subscriptions/{subscription}"),
    })
}

/// The attributes of a message that is forwarded to the dead letters, with those that Pub/Sub adds.
pub(super) fn forwarded(message: &Message, subscription: &str) -> BTreeMap<String, String> {
    let mut attributes = message.attributes.clone();
    let mut add = |name: &str, value: String| attributes.insert(format!("CloudPubSubDeadLetterSource{name}"), value);
    add("DeliveryCount", message.delivery_attempt.to_string());
    add("Subscription", subscription.to_owned());
    add("SubscriptionProject", PROJECT.to_owned());
    add("TopicPublishTime", zoned(message.published_at));
    attributes
}

/// Pub/Sub writes this time with a numeric offset.
fn zoned(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3f+00:00").to_string()
}
