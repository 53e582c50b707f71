//! The body of a Pub/Sub push: the fields that a worker needs.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;

use crate::domain::{
    failure::{ErrorCode, JobError},
    ids::RequestHash,
    kind::JobKind,
    message::{DeadLetter, DeliveryInfo, JobMessage},
};

/// The body of a push.
///
/// Google sends both `messageId` and `message_id` (and both spellings of the publish time) in one object and may add
/// fields at any time. This reads one spelling and ignores everything else: with an `alias`, serde would report a
/// duplicate field for every real push.
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

/// Reads the body of a push to the endpoint of `kind`, or returns the dead letter that says why it can never be read.
pub fn parse(body: &[u8], kind: JobKind) -> Result<(JobMessage, DeliveryInfo), Box<DeadLetter>> {
    let envelope: Envelope = serde_json::from_slice(body).map_err(|error| unreadable_body(body, &error))?;
    let PushedMessage { data: encoded, attributes, message_id } = envelope.message;
    let mut delivery = DeliveryInfo {
        message_id,
        subscription: envelope.subscription,
        attempt: envelope.delivery_attempt,
        data: Vec::new(),
        attributes,
    };
    match STANDARD.decode(&encoded) {
        Ok(data) => delivery.data = data,
        Err(error) => {
            delivery.data = encoded.into_bytes();
            return Err(invalid(delivery, format!("the data is not base64: {error}")));
        }
    }
    match JobMessage::parse(&delivery.data, &delivery.attributes) {
        Ok(message) if message.kind == kind => Ok((message, delivery)),
        Ok(message) => {
            let reason = format!("a message of kind {} at the endpoint for kind {kind}", message.kind);
            Err(invalid(delivery, reason))
        }
        Err(error) => Err(invalid(delivery, error.to_string())),
    }
}

fn invalid(delivery: DeliveryInfo, reason: String) -> Box<DeadLetter> {
    Box::new(delivery.into_dead_letter(None, JobError::new(ErrorCode::InvalidMessage, reason)))
}

/// The dead letter of a body that is not an envelope. It has no message id, so its hash is the key: a body that is
/// delivered again is recorded once.
fn unreadable_body(body: &[u8], error: &serde_json::Error) -> Box<DeadLetter> {
    Box::new(DeadLetter {
        key: format!("body:{}", RequestHash::of(body)),
        job_id: None,
        error: JobError::new(ErrorCode::InvalidMessage, format!("not a push envelope: {error}")),
        attempts: 0,
        data: body.to_vec(),
        attributes: BTreeMap::new(),
    })
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
    fn a_real_push_of_pubsub_is_read() {
        let body = push(&format!(r#"{{"v":1,"kind":"generation","jobId":"{ID}"}}"#));
        let (message, delivery) = parse(&body, JobKind::Illustration).expect("a delivery");
        assert_eq!(message.job_id.as_str(), ID);
        assert_eq!(delivery.attempt, Some(3));
        assert!(message.trace.is_some());
    }

    #[test]
    fn an_unreadable_push_becomes_a_dead_letter_with_a_reason() {
        let unpadded = br#"{"message":{"data":"eyJ","messageId":"7"}}"#.to_vec();
        let cases: Vec<(Vec<u8>, &str)> = vec![
            (b"not json".to_vec(), "not a push envelope"),
            (b"[]".to_vec(), "not a push envelope"),
            (b"{}".to_vec(), "not a push envelope"),
            (unpadded, "the data is not base64"),
            (push("\u{1}"), "not a job message"),
            (push(r#"{"v":1,"kind":"generation","jobId":"../../etc/passwd"}"#), "not a job message"),
            (push(&format!(r#"{{"v":2,"kind":"generation","jobId":"{ID}"}}"#)), "message version 2"),
            (push(&format!(r#"{{"v":1,"kind":"training","jobId":"{ID}"}}"#)), "the kind training does not match"),
            (push(r#"{"v":1,"kind":"training","jobId":"brd_0123456789abcdefABCD"}"#), "a message of kind training"),
        ];
        for (body, reason) in cases {
            let dead_letter = parse(&body, JobKind::Illustration).expect_err("a dead letter");
            assert_eq!(dead_letter.error.code, ErrorCode::InvalidMessage);
            assert!(
                dead_letter.error.message.starts_with(reason),
                "{} does not start with {reason}",
                dead_letter.error.message
            );
        }
    }
}
