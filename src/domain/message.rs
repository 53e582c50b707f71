//! What travels through the queue: the id of a job, and nothing that the store keeps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{failure::JobError, ids::JobId, kind::JobKind, trace::TraceContext};

/// The schema version this build writes and reads.
pub const MESSAGE_VERSION: u32 = 1;

/// The attribute, and the header of a push, that carries the trace context (W3C).
pub const TRACEPARENT: &str = "traceparent";

/// The topic of dead letters.
pub const DEAD_LETTER_TOPIC: &str = "job-dlq";
/// The subscription that operators read dead letters from.
pub const DEAD_LETTER_SUBSCRIPTION: &str = "job-dlq-sub";
/// Every topic.
pub const TOPICS: [&str; 3] = [JobKind::Illustration.topic(), JobKind::Brand.topic(), DEAD_LETTER_TOPIC];

/// The body of a queue message: `{v, kind, jobId}`. The trace travels as an attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobMessage {
    /// Schema version.
    pub v: u32,
    /// Decides the topic and the subscription.
    pub kind: JobKind,
    /// The job to work on.
    pub job_id: JobId,
    /// The trace of the request that submitted the job.
    #[serde(skip)]
    pub trace: Option<TraceContext>,
}

impl JobMessage {
    /// A message that tells a worker to look at this job.
    pub fn new(job_id: JobId, trace: Option<TraceContext>) -> Self {
        Self { v: MESSAGE_VERSION, kind: job_id.kind(), job_id, trace }
    }

    /// The message's data: `{"v":1,"kind":"generation","jobId":"ill_…"}`.
    pub fn data(&self) -> Vec<u8> {
        let Self { v, kind, job_id, trace: _ } = self;
        serde_json::json!({ "v": v, "kind": kind, "jobId": job_id }).to_string().into_bytes()
    }

    /// Reads a received message. The error says why no build of this version can ever work on it.
    pub fn parse(data: &[u8], attributes: &BTreeMap<String, String>) -> Result<Self, InvalidMessage> {
        let mut message: Self = serde_json::from_slice(data)?;
        if message.v != MESSAGE_VERSION {
            return Err(InvalidMessage::Version(message.v));
        }
        if message.kind != message.job_id.kind() {
            return Err(InvalidMessage::Kind(message.kind, message.job_id));
        }
        message.trace = attributes.get(TRACEPARENT).and_then(|text| text.parse().ok());
        Ok(message)
    }

    /// The message's attributes: the trace, under both names that Google's client libraries read.
    pub fn attributes(&self) -> BTreeMap<String, String> {
        let trace = self.trace.as_ref().map(ToString::to_string);
        let names = [TRACEPARENT, "googclient_traceparent"];
        trace.iter().flat_map(|trace| names.map(|name| (name.to_owned(), trace.clone()))).collect()
    }
}

/// Why data is not a job message.
#[derive(Debug, thiserror::Error)]
pub enum InvalidMessage {
    /// Not the JSON of a job message.
    #[error("not a job message: {0}")]
    Json(#[from] serde_json::Error),
    /// Another schema version.
    #[error("message version {0} is unknown; this build reads version {MESSAGE_VERSION}")]
    Version(u32),
    /// The kind and the id contradict each other.
    #[error("the kind {0} does not match the job id {1}")]
    Kind(JobKind, JobId),
}

/// What the queue knows about one delivery of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliveryInfo {
    /// The queue's id of the message.
    pub message_id: String,
    /// The subscription that delivered it.
    pub subscription: String,
    /// Number of this delivery, 1 for the first; `None` if the queue does not count.
    pub attempt: Option<u32>,
    /// The message's data as it was received, for a dead letter.
    pub data: Vec<u8>,
    /// The message's attributes as they were received, for a dead letter.
    pub attributes: BTreeMap<String, String>,
}

impl DeliveryInfo {
    /// The dead letter of a message that no worker can ever work on.
    pub fn into_dead_letter(self, job_id: Option<JobId>, error: JobError) -> DeadLetter {
        let Self { message_id, data, attributes, .. } = self;
        DeadLetter { key: format!("message:{message_id}"), job_id, error, attempts: 0, data, attributes }
    }
}

/// The worker's reply to a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushOutcome {
    /// The queue must not deliver the message again. The text says what happened to it.
    Acknowledged(&'static str),
    /// The queue must deliver the message again later. The text says why.
    Refused(&'static str),
}

/// A job or a message that nothing tries again unless an operator redrives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Identifies the dead letter: recording it twice leaves one.
    pub key: String,
    /// The job, if the message names one.
    pub job_id: Option<JobId>,
    /// Why it failed.
    pub error: JobError,
    /// Attempts the job had started.
    pub attempts: u32,
    /// The message's data, verbatim: the data received, or the data that a redrive would publish.
    pub data: Vec<u8>,
    /// The message's attributes.
    pub attributes: BTreeMap<String, String>,
}
