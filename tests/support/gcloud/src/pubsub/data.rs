//! Messages and requests in the JSON of the REST service.

use std::collections::HashMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use gcloud_sdk::google::pubsub::v1::PubsubMessage;
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Value, json};

use super::{envelope, pull::Pulled, resource::PushConfig};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Publish {
    #[serde(default)]
    pub messages: Vec<Message>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
pub struct Message {
    #[serde(deserialize_with = "bytes")]
    data: Vec<u8>,
    attributes: HashMap<String, String>,
    ordering_key: String,
}

impl From<Message> for PubsubMessage {
    fn from(Message { data, attributes, ordering_key }: Message) -> Self {
        Self { data, attributes, ordering_key, ..Self::default() }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModifyPushConfig {
    #[serde(default)]
    pub push_config: PushConfig,
}

#[derive(Deserialize)]
pub struct Seek {
    pub time: Option<String>,
    pub snapshot: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pull {
    #[serde(default)]
    pub max_messages: i32,
    #[serde(default)]
    pub return_immediately: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Acknowledge {
    #[serde(default)]
    pub ack_ids: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModifyAckDeadline {
    #[serde(default)]
    pub ack_ids: Vec<String>,
    #[serde(default)]
    pub ack_deadline_seconds: i32,
}

/// The response to a pull.
pub fn pulled(pulled: &[Pulled]) -> Value {
    let received = pulled.iter().map(|pulled| {
        let mut received = json!({
            "ackId": pulled.taken.ticket.to_ack_id(),
            "message": envelope::message(&pulled.taken.message),
        });
        if let Some(attempt) = pulled.attempt {
            received["deliveryAttempt"] = attempt.into();
        }
        received
    });
    let received: Vec<_> = received.collect();
    if received.is_empty() { json!({}) } else { json!({ "receivedMessages": received }) }
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    BASE64_STANDARD.decode(text).map_err(|error| D::Error::custom(format!("data is not base64: {error}")))
}
