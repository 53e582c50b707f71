//! Why an attempt or a job failed, and whether trying again can help.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// The machine-readable cause, stable for clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The engine withheld every picture for its content.
    ContentFiltered,
    /// The engine cannot draw what was asked.
    InvalidRequest,
    /// The engine refuses for now: too many requests.
    RateLimited,
    /// The engine cannot be reached or answers with a server error.
    EngineUnavailable,
    /// The engine took longer than it may.
    EngineTimeout,
    /// The engine does not know its model, or may not use it: an operator must look.
    EngineMisconfigured,
    /// The engine's answer was no usable picture.
    EngineError,
    /// The pictures could not be stored.
    StorageError,
    /// The worker disappeared in mid-attempt.
    WorkerLost,
    /// The job was not done by its deadline.
    DeadlineExceeded,
    /// A queue message that is no job message.
    InvalidMessage,
    /// A queue message of a job that does not exist.
    UnknownJob,
    /// A queue message that was not acknowledged in as many deliveries as it may have.
    Undeliverable,
    /// A defect of this program.
    Internal,
}

impl ErrorCode {
    /// The code as it stands in JSON.
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

/// A cause with its explanation for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct JobError {
    /// For programs.
    pub code: ErrorCode,
    /// For people: lower case, concrete, no secrets.
    pub message: String,
}

impl JobError {
    /// A cause with its explanation.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// What follows from a failed attempt; decided where the failure happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Trying again can help; the provider may have said when.
    Retry {
        /// The provider's `Retry-After`.
        after: Option<Duration>,
    },
    /// The provider is full: wait, and do not count the attempt.
    Throttled {
        /// The provider's `Retry-After`.
        after: Option<Duration>,
    },
    /// The engine is set up wrongly: wait until an operator has helped, and do not count the attempt.
    Misconfigured,
    /// Trying again cannot help.
    Fail,
}

/// The attempt from which on an unusable picture is the end.
const UNUSABLE_ATTEMPTS: u32 = 3;

/// A failed attempt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct AttemptFailure {
    /// Why.
    pub error: JobError,
    /// What follows.
    pub disposition: Disposition,
}

impl AttemptFailure {
    /// Try again, with backoff.
    pub fn retry(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { error: JobError::new(code, message), disposition: Disposition::Retry { after: None } }
    }

    /// Give up at once.
    pub fn fail(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { error: JobError::new(code, message), disposition: Disposition::Fail }
    }

    /// What an engine delivered in this attempt, 1 for the first, is no usable picture. That happens, so it is tried again
    /// twice; what happens three times will go on happening.
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

    /// Wait for an operator, without counting the attempt. `message` names what to fix.
    pub fn misconfigured(message: impl Into<String>) -> Self {
        let error = JobError::new(ErrorCode::EngineMisconfigured, message);
        Self { error, disposition: Disposition::Misconfigured }
    }
}
