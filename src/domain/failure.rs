//! Why an attempt or a job failed, and whether another attempt can help.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// The machine-readable cause, stable for clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The engine withheld every picture because of its content.
    ContentFiltered,
    /// The engine cannot draw what the request describes.
    InvalidRequest,
    /// The engine refuses for now: too many requests.
    RateLimited,
    /// The engine cannot be reached or answers with a server error.
    EngineUnavailable,
    /// The engine exceeded its time limit.
    EngineTimeout,
    /// The engine's model does not exist or may not be used: an operator must correct the configuration.
    EngineMisconfigured,
    /// The engine's answer contained no usable picture.
    EngineError,
    /// The pictures could not be stored.
    StorageError,
    /// The worker disappeared during the attempt.
    WorkerLost,
    /// The job was not finished by its deadline.
    DeadlineExceeded,
    /// A queue message that cannot be read as a job message.
    InvalidMessage,
    /// A queue message for a job that does not exist.
    UnknownJob,
    /// A queue message that was delivered as often as allowed and never acknowledged.
    Undeliverable,
    /// A defect of this program.
    Internal,
}

impl ErrorCode {
    /// The code as JSON spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ContentFiltered => "content_filtered",
            Self::InvalidRequest => "invalid_request",
            Self::RateLimited => "rate_limited",
            Self::EngineUnavailable => "engine_unavailable",
            Self::EngineTimeout => "engine_timeout",
            Self::EngineMisconfigured => "engine_misconfigured",
            Self::EngineError => "engine_error",
            Self::StorageError => "storage_error",
            Self::WorkerLost => "worker_lost",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::InvalidMessage => "invalid_message",
            Self::UnknownJob => "unknown_job",
            Self::Undeliverable => "undeliverable",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a job failed or waits: a code for programs and a message for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct JobError {
    /// For programs.
    pub code: ErrorCode,
    /// For people: lower case, concrete, without secrets.
    pub message: String,
}

impl JobError {
    /// An error with its explanation.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// What follows from a failed attempt. The code that meets the failure decides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Another attempt can help.
    Retry {
        /// The provider's `Retry-After`.
        after: Option<Duration>,
    },
    /// The provider has no capacity: wait, and do not count the attempt.
    Throttled {
        /// The provider's `Retry-After`.
        after: Option<Duration>,
    },
    /// The engine's configuration is wrong: wait for an operator to correct it, and do not count the attempt.
    Misconfigured,
    /// Another attempt cannot help.
    Fail,
}

/// After this many attempts without a usable picture the job fails.
const UNUSABLE_ATTEMPTS: u32 = 3;

/// A failed attempt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct AttemptFailure {
    /// The cause.
    pub error: JobError,
    /// What follows.
    pub disposition: Disposition,
}

impl AttemptFailure {
    /// Try again after a backoff.
    pub fn retry(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { error: JobError::new(code, message), disposition: Disposition::Retry { after: None } }
    }

    /// Do not try again.
    pub fn fail(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { error: JobError::new(code, message), disposition: Disposition::Fail }
    }

    /// The engine delivered no usable picture in this attempt (1 is the first). The first two times the job is tried
    /// again; a third one is not a coincidence, and the job fails.
    pub fn unusable(attempt: u32, message: impl Into<String>) -> Self {
        if attempt < UNUSABLE_ATTEMPTS {
            Self::retry(ErrorCode::EngineError, message)
        } else {
            Self::fail(ErrorCode::EngineError, message)
        }
    }

    /// Wait without counting the attempt.
    pub fn throttled(message: impl Into<String>, after: Option<Duration>) -> Self {
        Self { error: JobError::new(ErrorCode::RateLimited, message), disposition: Disposition::Throttled { after } }
    }

    /// Wait for an operator, without counting the attempt. `message` names what to correct.
    pub fn misconfigured(message: impl Into<String>) -> Self {
        let error = JobError::new(ErrorCode::EngineMisconfigured, message);
        Self { error, disposition: Disposition::Misconfigured }
    }
}
