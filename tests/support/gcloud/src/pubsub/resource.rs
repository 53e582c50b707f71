//! Topics and subscriptions as the REST service spells them.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A topic's settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Topic {
    /// `projects/P/topics/T`.
    pub name: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message_retention_duration: Option<Span>,
    pub(crate) state: State,
}

/// A subscription's settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Subscription {
    /// `projects/P/subscriptions/S`.
    pub name: String,
    /// `projects/P/topics/T`, or `_deleted-topic_`.
    pub topic: String,
    /// Where messages are pushed. Without an endpoint they are pulled.
    pub push_config: PushConfig,
    /// Seconds, 10 to 600.
    pub ack_deadline_seconds: i32,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) retain_acked_messages: bool,
    /// How long an unacknowledged message is kept, 10 minutes to 31 days.
    pub message_retention_duration: Option<Span>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) enable_message_ordering: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) enable_exactly_once_delivery: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expiration_policy: Option<ExpirationPolicy>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) filter: String,
    /// What happens to a message that fails repeatedly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter_policy: Option<DeadLetterPolicy>,
    /// The backoff of a failed message. Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_policy: Option<RetryPolicy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) topic_message_retention_duration: Option<Span>,
    pub(crate) state: State,
}

/// How messages are pushed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PushConfig {
    /// The URL of the endpoint. Empty: no push.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub push_endpoint: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) attributes: BTreeMap<String, String>,
    /// The identity of the pushes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oidc_token: Option<OidcToken>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pubsub_wrapper: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) no_wrapper: Option<serde_json::Value>,
}

/// The service account that sends the pushes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct OidcToken {
    /// Its email.
    pub service_account_email: String,
    /// The audience of the token. Empty: the URL of the endpoint.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub audience: String,
}

/// What happens to a message that fails repeatedly.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DeadLetterPolicy {
    /// The topic of the dead letters.
    pub dead_letter_topic: String,
    /// Deliveries before a message becomes a dead letter, 5 to 100.
    pub max_delivery_attempts: i32,
}

/// The backoff of a failed message: doubles from the minimum to the maximum.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RetryPolicy {
    /// The minimum, after the first failure; 10 s by default.
    pub minimum_backoff: Option<Span>,
    /// The maximum; 600 s by default.
    pub maximum_backoff: Option<Span>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct ExpirationPolicy {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
}

/// Always active. The field is output only; a client's value is ignored.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct State;

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("ACTIVE")
    }
}

impl<'de> Deserialize<'de> for State {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

/// A duration, in JSON as `"3.5s"`.
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd)]
pub struct Span(pub Duration);

impl Span {
    /// A duration of whole seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.subsec_nanos() {
            0 => serializer.serialize_str(&format!("{}s", self.0.as_secs())),
            nanos => serializer.serialize_str(&format!("{}.{nanos:09}s", self.0.as_secs())),
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let seconds = text.strip_suffix('s').and_then(|seconds| seconds.parse::<f64>().ok());
        let span = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        span.map(Self).ok_or_else(|| D::Error::custom(format!("a duration is like \"3.5s\", not {text:?}")))
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
