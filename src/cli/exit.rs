//! Exit codes, and errors that carry one.

use std::{fmt, process::ExitCode};

/// The exit codes, as `mediaforge generate --help` documents them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Success.
    Done,
    /// The job or the command failed.
    Failed,
    /// Wrong usage, configuration or request.
    Usage,
    /// Not enough credits.
    NoCredits,
    /// The service is unreachable or unavailable.
    Unavailable,
    /// The job was cancelled.
    Cancelled,
    /// Too many requests.
    Busy,
    /// The service refuses the caller: not signed in, or not allowed.
    NotAllowed,
    /// `--dry-run` found differences and changed nothing.
    WouldChange,
    /// `--timeout` has passed and the job continues. Same code as timeout(1).
    TimedOut,
    /// A signal ended the command: 128 plus its number, as in shells.
    Signal(u8),
}

impl Exit {
    /// Ctrl-C.
    pub const INTERRUPTED: Self = Self::Signal(130);

    /// The exit code of the process.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NoCredits => 3,
            Self::Unavailable => 4,
            Self::Cancelled => 5,
            Self::Busy => 6,
            Self::NotAllowed => 7,
            Self::WouldChange => 8,
            Self::TimedOut => 124,
            Self::Signal(code) => code,
        }
    }

    /// The exit code for an HTTP status that refuses a request.
    pub fn of_status(status: u16) -> Self {
        match status {
            401 | 403 => Self::NotAllowed,
            402 => Self::NoCredits,
            429 => Self::Busy,
            400..=499 => Self::Usage,
            _ => Self::Unavailable,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error with an exit code and hints.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What went wrong.
    pub message: String,
    /// One hint per line.
    pub hints: Vec<String>,
}

impl Failure {
    /// A failure without hints.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hints: Vec::new() }
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_map_to_the_documented_codes() {
        let codes =
            [(400, 2), (401, 7), (402, 3), (403, 7), (404, 2), (413, 2), (422, 2), (429, 6), (500, 4), (503, 4)];
        for (status, code) in codes {
            assert_eq!(Exit::of_status(status).code(), code, "{status}");
        }
    }
}
