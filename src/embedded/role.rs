//! The roles that a process can hold on a data directory.

use std::fmt;

/// What a process serves on a data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Serves the API.
    Gateway,
    /// Runs jobs and delivers queue messages.
    Worker,
}

impl Role {
    /// The name of the role's lock file in the data directory.
    pub(super) fn lock_file(self) -> &'static str {
        match self {
            Self::Gateway => "gateway.lock",
            Self::Worker => "worker.lock",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gateway => "gateway",
            Self::Worker => "worker",
        })
    }
}
