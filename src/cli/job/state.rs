//! A job as the API returns it.

use serde::Deserialize;
use serde_json::Value;

use crate::domain::{job::Status, kind::JobKind};

/// A job of either kind.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct Job {
    #[serde(skip)]
    pub(in crate::cli) id: String,
    pub(in crate::cli) status: String,
    #[serde(default)]
    pub(super) attempt: u32,
    pub(super) progress: Option<Progress>,
    #[serde(default)]
    pub(in crate::cli) image_urls: Vec<String>,
    #[serde(default)]
    pub(in crate::cli) sample_urls: Vec<String>,
    #[serde(default)]
    pub(in crate::cli) palette: Vec<String>,
    pub(super) error: Option<JobError>,
    /// The complete JSON, for `--json`.
    #[serde(skip)]
    pub(in crate::cli) raw: Value,
    #[serde(skip)]
    state: Option<Status>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Progress {
    pub(super) fraction: f64,
    pub(super) step: Option<u32>,
    pub(super) total_steps: Option<u32>,
    pub(super) eta_seconds: Option<u64>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct JobError {
    pub(super) code: String,
    pub(super) message: String,
}

impl Job {
    /// Parses a job of this kind. Returns `None` for anything else.
    pub(in crate::cli) fn parse(kind: JobKind, text: &str) -> Option<Self> {
        Self::from_json(kind, serde_json::from_str(text).ok()?)
    }

    /// Reads a job of this kind from JSON. Returns `None` for anything else.
    pub(super) fn from_json(kind: JobKind, raw: Value) -> Option<Self> {
        let id = raw.get(kind.id_field())?.as_str()?.to_owned();
        let job: Self = serde_json::from_value(raw.clone()).ok()?;
        Some(Self { id, raw, state: Status::from_shown(&job.status, kind), ..job })
    }

    pub(in crate::cli) fn is_completed(&self) -> bool {
        self.state == Some(Status::Succeeded)
    }

    pub(in crate::cli) fn is_cancelled(&self) -> bool {
        self.state == Some(Status::Cancelled)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.state.is_some_and(Status::is_final)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_json_is_not_a_job() {
        assert!(Job::parse(JobKind::Illustration, "{}").is_none());
        let text = r#"{"illustrationId":"ill_1","status":"processing","progress":{"fraction":0.5},"x":1}"#;
        assert!(Job::parse(JobKind::Brand, text).is_none());
        let job = Job::parse(JobKind::Illustration, text).unwrap();
        assert!(!job.has_ended());
        assert_eq!((job.id.as_str(), &job.raw["x"]), ("ill_1", &1.into()));
    }

    #[test]
    fn each_kind_has_its_own_success_status() {
        let brand = |status: &str| format!(r#"{{"brandId":"brd_1","status":"{status}"}}"#);
        assert!(Job::parse(JobKind::Brand, &brand("ready")).unwrap().is_completed());
        assert!(!Job::parse(JobKind::Brand, &brand("training")).unwrap().has_ended());
        assert!(Job::parse(JobKind::Brand, &brand("cancelled")).unwrap().is_cancelled());
        assert!(!Job::parse(JobKind::Brand, &brand("something new")).unwrap().has_ended());
    }
}
