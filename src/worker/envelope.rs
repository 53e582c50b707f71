//! The wrapped push request of Pub/Sub, as far as a worker needs it.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;

use crate::domain::{
    failure::{ErrorCode, JobError},
    kind::JobKind,
    message::{DeadLetter, JobMessage, MESSAGE_VERSION},
    trace::TraceContext,
};

/// The body of a push.
///
/// Google sends `messageId` and `message_id` (and both spellings of the publish time) in one object and adds fields at
/// will: one spelling is read and everything else is ignored. An `alias` would be a duplicate field on every real push.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    message: PushedMessage,
    #[serde(default)]
    subscription: String,
    #[serde(default)]
    delivery_attempt: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PushedMessage {
    #[serde(default)]
    data: String,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    #[serde(default)]
    message_id: String,
}

/// A delivery that names a job.
#[derive(Debug)]
pub struct Delivery {
    /// What the worker is asked to look at.
    pub message: JobMessage,
    /// The queue's name for it.
    pub message_id: String,
    /// Where it was pushed from.
    pub subscription: String,
    /// Which delivery this is, where the subscription counts.
    pub attempt: Option<u32>,
    data: Vec<u8>,
    attributes: BTreeMap<String, String>,
}

impl Delivery {
    /// Reads a push, or says as a dead letter why it can never be read.
    pub fn parse(body: &[u8], expected: JobKind) -> Result<Self, Box<DeadLetter>> {
        let envelope: Envelope =
            serde_json::from_slice(body).map_err(|error| unreadable(body, format!("no push envelope: {error}")))?;
        let PushedMessage { data: encoded, attributes, message_id } = envelope.message;
        let invalid = |reason: String, data: Vec<u8>| {
            let key = format!("message:{message_id}");
            dead_letter(key, ErrorCode::InvalidMessage, reason, data, attributes.clone())
        };
        let data = match STANDARD.decode(encoded.as_bytes()) {
            Ok(data) => data,
            Err(error) => return Err(invalid(format!("data is not base64: {error}"), encoded.into_bytes())),
        };
        let mut message: JobMessage = match serde_json::from_slice(&data) {
            Ok(message) => message,
            Err(error) => return Err(invalid(format!("no job message: {error}"), data)),
        };
        if message.v != MESSAGE_VERSION {
            let reason = format!("message version {} is unknown; this build reads {MESSAGE_VERSION}", message.v);
            return Err(invalid(reason, data));
        }
        if message.kind != expected || message.job_id.kind() != expected {
            return Err(invalid(format!("a {} message where {expected} is worked on", message.kind), data));
        }
        message.trace = attributes.get("traceparent").and_then(|text| text.parse::<TraceContext>().ok());
        Ok(Self {
            message,
            message_id,
            subscription: envelope.subscription,
            attempt: envelope.delivery_attempt,
            data,
            attributes,
        })
    }

    /// This delivery as a dead letter: its job does not exist.
    pub(super) fn unknown_job(self) -> DeadLetter {
        let mut dead_letter = *dead_letter(
            format!("message:{}", self.message_id),
            ErrorCode::UnknownJob,
            format!("there is no job {}", self.message.job_id),
            self.data,
            self.attributes,
        );
        dead_letter.job_id = Some(self.message.job_id);
        dead_letter
    }
}

/// A body without an envelope has no message id; its own hash keeps a repeat from being recorded twice.
fn unreadable(body: &[u8], reason: String) -> Box<DeadLetter> {
    let key = format!("body:{}", crate::domain::ids::RequestHash::of(body));
    dead_letter(key, ErrorCode::InvalidMessage, reason, body.to_vec(), BTreeMap::new())
}

fn dead_letter(
    key: String,
    code: ErrorCode,
    reason: String,
    data: Vec<u8>,
    attributes: BTreeMap<String, String>,
) -> Box<DeadLetter> {
    Box::new(DeadLetter { key, job_id: None, error: JobError::new(code, reason), attempts: 0, data, attributes })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "ill_0123456789abcdefABCD";

    fn push(data: &str) -> Vec<u8> {
        let encoded = STANDARD.encode(data);
        format!(
            r#"{{"deliveryAttempt":3,"message":{{"attributes":{{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}},
            "data":"{encoded}","messageId":"7","message_id":"7","publishTime":"2026-01-01T00:00:00Z",
            "publish_time":"2026-01-01T00:00:00Z"}},"subscription":"projects/p/subscriptions/s","new":{{}}}}"#
        )
        .into_bytes()
    }

    #[test]
    fn reads_what_pubsub_really_sends() {
        let body = push(&format!(r#"{{"v":1,"kind":"generation","jobId":"{ID}"}}"#));
        let delivery = Delivery::parse(&body, JobKind::Illustration).expect("a delivery");
        assert_eq!(delivery.message.job_id.as_str(), ID);
        assert_eq!(delivery.attempt, Some(3));
        assert!(delivery.message.trace.is_some());
    }

    #[test]
    fn what_can_never_be_read_is_a_dead_letter_with_a_reason() {
        let unpadded = br#"{"message":{"data":"eyJ","messageId":"7"}}"#.to_vec();
        let cases: Vec<(Vec<u8>, &str)> = vec![
            (b"not json".to_vec(), "no push envelope"),
            (b"[]".to_vec(), "no push envelope"),
            (b"{}".to_vec(), "no push envelope"),
            (unpadded, "data is not base64"),
            (push("\u{1}"), "no job message"),
            (push(r#"{"v":1,"kind":"generation","jobId":"../../etc/passwd"}"#), "no job message"),
            (push(&format!(r#"{{"v":2,"kind":"generation","jobId":"{ID}"}}"#)), "message version 2"),
            (push(&format!(r#"{{"v":1,"kind":"training","jobId":"{ID}"}}"#)), "a training message"),
        ];
        for (body, reason) in cases {
            let dead_letter = Delivery::parse(&body, JobKind::Illustration).expect_err("a dead letter");
            assert_eq!(dead_letter.error.code, ErrorCode::InvalidMessage);
            assert!(dead_letter.error.message.starts_with(reason), "{} is not {reason}", dead_letter.error.message);
        }
    }
}
