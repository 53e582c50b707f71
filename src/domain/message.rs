//! What travels through the queue: the id of a job, and nothing that the store keeps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{failure::JobError, ids::JobId, kind::JobKind, trace::TraceContext};

/// The schema version this build writes and reads.
pub const MESSAGE_VERSION: u32 = 1;

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

    /// The message's attributes: the trace, under both names that Google's client libraries read.
    pub fn attributes(&self) -> BTreeMap<String, String> {
        let trace = self.trace.as_ref().map(ToString::to_string);
        let names = ["traceparent", "googclient_traceparent"];
        trace.iter().flat_map(|trace| names.map(|name| (name.to_owned(), trace.clone()))).collect()
    }
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
