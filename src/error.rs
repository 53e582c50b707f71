//! The error of every port.

use std::{error::Error, fmt, time::Duration};

/// A failure of a backend. The backend decides the kind; only the gateway maps kinds to HTTP statuses.
#[derive(Debug, thiserror::Error)]
#[error("{op}: {kind}{}", .source.as_ref().map(|source| format!(": {source}")).unwrap_or_default())]
pub struct BackendError {
    /// The kind, which decides how the caller reacts.
    pub kind: ErrorKind,
    /// The operation, for example `store.insert`.
    pub op: &'static str,
    /// When a retry may succeed, if the backend knows.
    pub retry_after: Option<Duration>,
    /// The backend's own error. `Display` prints it.
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// The kinds of failure that callers distinguish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Another writer was first: read again.
    Conflict,
    /// The account does not allow it, for the reason in [`source`](std::error::Error::source). Reading again does not help.
    Refused,
    /// The object to create already exists.
    AlreadyExists,
    /// The backend is unreachable or overloaded: retry later.
    Unavailable,
    /// No response in time: the operation may or may not have happened.
    Timeout,
    /// The backend or its data is broken (disk full, damaged file): an operator must act.
    Broken,
    /// This program sent an invalid request: a defect.
    Internal,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Conflict => "changed by another writer",
            Self::Refused => "refused by the account",
            Self::AlreadyExists => "already exists",
            Self::Unavailable => "unavailable",
            Self::Timeout => "no response in time",
            Self::Broken => "broken",
            Self::Internal => "internal error",
        })
    }
}

impl BackendError {
    /// A failure without a cause.
    pub fn new(kind: ErrorKind, op: &'static str) -> Self {
        Self { kind, op, retry_after: None, source: None }
    }

    /// Adds the cause: an error or a description.
    #[must_use]
    pub fn because(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    /// Whether a later retry can succeed.
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
