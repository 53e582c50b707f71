//! Dead letters as operators find them, whichever queue keeps them.

use std::collections::BTreeMap;

use crate::domain::{
    Timestamp,
    ids::JobId,
    message::{DeadLetter, JobMessage},
};

/// The attribute that says which dead letter it is: dead letters of one key are one dead letter.
pub(super) const KEY: &str = "deadLetterKey";

/// A dead letter that waits for an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDeadLetter {
    /// Which dead letter it is, and what it is discarded by.
    pub key: String,
    /// The job, where the dead letter names one.
    pub job_id: Option<JobId>,
    /// Why the job is dead; absent where the queue gave up a message that no worker took.
    pub error_code: Option<String>,
    /// Attempts the job had started; absent as above.
    pub attempts: Option<u32>,
    /// The message's data, verbatim.
    pub data: Vec<u8>,
    /// The message's attributes, with what a worker has added (`errorCode` and the like) or the queue
    /// (`CloudPubSubDeadLetterSource…`).
    pub attributes: BTreeMap<String, String>,
    /// When it was recorded; of copies the first that was found.
    pub published_at: Timestamp,
}

impl StoredDeadLetter {
    /// Reads what the attributes and the data say.
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

/// A dead letter's attributes with what operators and readers go by: `deadLetterKey`, `jobId`, `kind`, `errorCode` and
/// `attempts`.
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
