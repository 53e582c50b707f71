//! What the load generator reads of a job, as the API shows it.

use serde::Deserialize;

use crate::domain::Timestamp;

/// A job.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    #[serde(rename = "illustrationId")]
    pub id: String,
    pub status: String,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    completed_at: Option<Timestamp>,
    failed_at: Option<Timestamp>,
    cancelled_at: Option<Timestamp>,
    error: Option<Cause>,
}

#[derive(Debug, Deserialize)]
struct Cause {
    code: String,
}

impl Document {
    /// When it was finished, if it is.
    pub(super) fn finished_at(&self) -> Option<Timestamp> {
        self.completed_at.or(self.failed_at).or(self.cancelled_at)
    }

    /// Why it counts as an error. The engine that draws nothing withholds every picture, so its jobs fail for that.
    pub(super) fn trouble(&self) -> Option<String> {
        match (self.status.as_str(), &self.error) {
            ("failed", Some(Cause { code })) if code != "content_filtered" => Some(format!("a job failed: {code}")),
            ("failed", None) | ("cancelled", _) => Some(format!("a job was {}", self.status)),
            _ => None,
        }
    }
}

/// The answer to an accepted request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Accepted {
    pub illustration_id: String,
}

/// A page of jobs.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page {
    pub data: Vec<Document>,
    pub has_more: bool,
    pub last_id: Option<String>,
}

/// A balance.
#[derive(Debug, Deserialize)]
pub(super) struct Balance {
    pub held: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(rest: &str) -> Document {
        let text = format!(r#"{{"illustrationId":"i","createdAt":"2026-01-01T00:00:00.000001Z",{rest}}}"#);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_withheld_picture_is_the_expected_end_and_any_other_failure_is_an_error() {
        let ended = |code: &str| {
            document(&format!(
                r#""status":"failed","failedAt":"2026-01-01T00:00:01Z","error":{{"code":"{code}","message":"m"}}"#
            ))
        };
        assert_eq!(ended("content_filtered").trouble(), None);
        assert_eq!(ended("content_filtered").finished_at(), Some("2026-01-01T00:00:01Z".parse().unwrap()));
        assert_eq!(ended("worker_lost").trouble().as_deref(), Some("a job failed: worker_lost"));
        assert_eq!(document(r#""status":"completed""#).trouble(), None);
        assert_eq!(document(r#""status":"cancelled""#).trouble().as_deref(), Some("a job was cancelled"));
        assert_eq!(document(r#""status":"queued""#).finished_at(), None);
    }
}
