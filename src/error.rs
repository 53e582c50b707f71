//! What a port says when its backend fails.

use std::{error::Error, fmt, time::Duration};

/// A backend failed. The backend decides the kind; only the gateway turns kinds into HTTP statuses.
#[derive(Debug, thiserror::Error)]
#[error("{op}: {kind}{}", .source.as_ref().map(|source| format!(": {source}")).unwrap_or_default())]
pub struct BackendError {
    /// What follows for the caller.
    pub kind: ErrorKind,
    /// What was tried, for example `store.insert`.
    pub op: &'static str,
    /// When trying again may help, where the backend knows.
    pub retry_after: Option<Duration>,
    /// The backend's own error, already printed by `Display`.
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// The kinds of failure that callers tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Somebody else changed it first: read again.
    Conflict,
    /// The account cannot bear it: the [`source`](std::error::Error::source) says why. Reading again does not help.
    Refused,
    /// What was to be created exists.
    AlreadyExists,
    /// Cannot be reached or is overloaded: later may work.
    Unavailable,
    /// No answer in time: it may or may not have happened.
    Timeout,
    /// The backend or its data is broken (disk full, damaged file): an operator must look.
    Broken,
    /// This program asked for something impossible: a defect.
    Internal,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Conflict => "changed by somebody else",
            Self::Refused => "refused by the account",
            Self::AlreadyExists => "exists already",
            Self::Unavailable => "unavailable",
            Self::Timeout => "no answer in time",
            Self::Broken => "broken",
            Self::Internal => "internal error",
        })
    }
}

impl BackendError {
    /// A failure without an underlying error.
    pub fn new(kind: ErrorKind, op: &'static str) -> Self {
        Self { kind, op, retry_after: None, source: None }
    }

    /// The same with the underlying error or a description.
    #[must_use]
    pub fn because(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    /// Whether trying again later can help.
    pub fn is_transient(&self) -> bool {
        matches!(self.kind, ErrorKind::Unavailable | ErrorKind::Timeout)
    }
}

/// An error with its causes, joined by colons. HTTP clients put the least informative message on top ("error sending
/// request"). A cause that is printed already, as [`BackendError`] does, is not repeated.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    for cause in std::iter::successors(error.source(), |cause: &&(dyn Error + 'static)| (*cause).source()) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// The innermost cause of an error: the part that says what happened.
pub fn root_cause<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    std::iter::successors(Some(error), |cause: &&(dyn Error + 'static)| (*cause).source()).last().unwrap_or(error)
}
