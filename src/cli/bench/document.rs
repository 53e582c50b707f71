//! The parts of the API's responses that the load generator reads.

use serde::Deserialize;

use crate::domain::Timestamp;

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
    /// When it finished, if it has.
    pub(super) fn finished_at(&self) -> Option<Timestamp> {
        self.completed_at.or(self.failed_at).or(self.cancelled_at)
    }

    /// The error to report for this job. `content_filtered` is expected, because the noop engine withholds every picture.
    pub(super) fn error_text(&self) -> Option<String> {
        match (self.status.as_str(), &self.error) {
            ("failed", Some(Cause { code })) if code != "content_filtered" => Some(format!("a job failed: {code}")),
            ("failed", None) | ("cancelled", _) => Some(format!("a job was {}", self.status)),
            _ => None,
        }
    }
}

/// The response to an accepted request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Accepted {
    pub illustration_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page {
    pub data: Vec<Document>,
    pub has_more: bool,
    pub last_id: Option<String>,
}

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
    fn a_withheld_picture_is_expected_and_any_other_failure_is_an_error() {
        let ended = |code: &str| {
            document(&format!(
                r#""status":"failed","failedAt":"2026-01-01T00:00:01Z","error":{{"code":"{code}","message":"m"}}"#
            ))
        };
        assert_eq!(ended("content_filtered").error_text(), None);
        assert_eq!(ended("content_filtered").finished_at(), Some("2026-01-01T00:00:01Z".parse().unwrap()));
        assert_eq!(ended("worker_lost").error_text().as_deref(), Some("a job failed: worker_lost"));
        assert_eq!(document(r#""status":"completed""#).error_text(), None);
        assert_eq!(document(r#""status":"cancelled""#).error_text().as_deref(), Some("a job was cancelled"));
        assert_eq!(document(r#""status":"queued""#).finished_at(), None);
    }
}
