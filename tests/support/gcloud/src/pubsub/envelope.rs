//! Messages as JSON: the body of a push and its message.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::Message;

/// The wrapped envelope of a push: with both spellings of fields that have two, without empty fields.
pub fn of(message: &Message, attempt: Option<u32>, subscription: &str) -> Value {
    let mut inner = self::message(message);
    inner["message_id"] = inner["messageId"].clone();
    inner["publish_time"] = inner["publishTime"].clone();
    let mut body = json!({ "message": inner, "subscription": subscription });
    if let Some(attempt) = attempt {
        body["deliveryAttempt"] = attempt.into();
    }
    body
}

/// A message, without empty fields.
pub fn message(message: &Message) -> Value {
    let mut value = json!({ "messageId": message.id, "publishTime": publish_time(message) });
    if !message.data.is_empty() {
        value["data"] = BASE64_STANDARD.encode(&message.data).into();
    }
    if !message.attributes.is_empty() {
        value["attributes"] = json!(message.attributes);
    }
    if !message.ordering_key.is_empty() {
        value["orderingKey"] = message.ordering_key.clone().into();
    }
    value
}

/// Always with three digits of milliseconds.
fn publish_time(message: &Message) -> String {
    message.publish_time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}
