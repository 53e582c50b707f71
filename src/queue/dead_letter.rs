//! Dead letters as operators read them, independent of the queue.

use std::collections::BTreeMap;

use crate::domain::{
    Timestamp,
    ids::JobId,
    message::{DeadLetter, JobMessage},
};

/// The attribute with the key of a dead letter. Copies with one key count as one dead letter.
pub(super) const KEY: &str = "deadLetterKey";

/// A recorded dead letter that waits for an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDeadLetter {
    /// Identifies the dead letter, also to discard it.
    pub key: String,
    /// The job, if the dead letter names one.
    pub job_id: Option<JobId>,
    /// Why the job failed; absent if the queue forwarded a message that no worker acknowledged.
    pub error_code: Option<String>,
    /// How many attempts the job had started; absent as above.
    pub attempts: Option<u32>,
    /// The message's data, verbatim.
    pub data: Vec<u8>,
    /// The message's attributes, with those that a worker (`errorCode` and others) or the queue
    /// (`CloudPubSubDeadLetterSource…`) has added.
    pub attributes: BTreeMap<String, String>,
    /// When it was recorded; with copies, the time of the oldest that was read.
    pub published_at: Timestamp,
}

impl StoredDeadLetter {
    /// Reads the job, the error and the attempts from the attributes, or the job from the data.
    pub(super) fn new(
        key: String,
        published_at: Timestamp,
        data: Vec<u8>,
        attributes: BTreeMap<String, String>,
    ) -> Self {
        let named = attributes.get("jobId").and_then(|id| id.parse().ok());
        let job_id = named.or_else(|| Some(serde_json::from_slice::<JobMessage>(&data).ok()?.job_id));
        let attempts = attributes.get("attempts").and_then(|text| text.parse().ok());
        Self { key, job_id, error_code: attributes.get("errorCode").cloned(), attempts, data, attributes, published_at }
    }
}

/// The attributes to record a dead letter with: its own, and `deadLetterKey`, `jobId`, `kind`, `errorCode` and `attempts`
/// for operators.
pub(super) fn attributes(dead_letter: &DeadLetter) -> BTreeMap<String, String> {
    let mut attributes = dead_letter.attributes.clone();
    if let Some(id) = &dead_letter.job_id {
        attributes.insert("jobId".to_owned(), id.to_string());
        attributes.insert("kind".to_owned(), id.kind().to_string());
    }
    attributes.insert("errorCode".to_owned(), dead_letter.error.code.to_string());
    attributes.insert("attempts".to_owned(), dead_letter.attempts.to_string());
    attributes.insert(KEY.to_owned(), dead_letter.key.clone());
    attributes
}
