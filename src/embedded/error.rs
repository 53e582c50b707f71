//! Errors of the database file, and their kinds for callers.

use std::{io, path::PathBuf};

use rusqlite::ErrorCode;

use super::Role;
use crate::error::{BackendError, ErrorKind};

/// Why the database cannot be opened. Every message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process of the same role is at work.
    #[error(
        "another `mediaforge` process serves the {role} on this data directory: {} is locked; \
         stop that process or choose another --data-dir", .path.display()
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The role that is taken.
        role: Role,
    },
    /// The directory or a file in it cannot be created or written.
    #[error("cannot write {}: {source}; check its owner and permissions or choose another --data-dir", .path.display())]
    NotWritable {
        /// The path that cannot be written.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// There was a database here, and it is gone.
    #[error(
        "{} is {found}, but a database was created here before; restore it or choose another --data-dir",
        .path.display()
    )]
    Gone {
        /// Where it should be.
        path: PathBuf,
        /// `missing` or `empty`.
        found: &'static str,
    },
    /// The file is not a database, is cut short, or its pages contradict each other.
    #[error("{} is damaged: {detail}; restore it from a backup or choose another --data-dir", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The finding.
        detail: String,
    },
    /// An intact database of some other program.
    #[error("{} is not a database of mediaforge; choose another --data-dir", .path.display())]
    Stranger {
        /// The file.
        path: PathBuf,
    },
    /// A newer build has changed the tables.
    #[error(
        "{} has schema version {found}, but this build knows versions up to {known}; use the newer build",
        .path.display()
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version this build knows.
        known: i64,
    },
    /// SQLite fails for another reason.
    #[error("cannot open {}: {source}", .path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// SQLite's error.
        source: rusqlite::Error,
    },
    /// The tables cannot be brought up to date.
    #[error("cannot bring {} up to date: {source}", .path.display())]
    Migration {
        /// The file.
        path: PathBuf,
        /// The error of the step that failed.
        source: rusqlite_migration::Error,
    },
    /// A thread cannot be started.
    #[error("cannot start a thread for the database: {source}")]
    Thread {
        /// The system's error.
        source: io::Error,
    },
}

impl OpenError {
    /// The error for an error of SQLite about `path`.
    pub(super) fn sqlite(path: &std::path::Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                Self::Damaged { path, detail: source.to_string() }
            }
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Self::NotWritable { path, source: io::Error::other(source) }
            }
            _ => Self::Sqlite { path, source },
        }
    }
}

/// Why a closure over the database failed. `?` converts both kinds of error.
#[derive(Debug)]
pub enum DbError {
    /// SQLite failed.
    Sqlite(rusqlite::Error),
    /// The closure returned an error of the port.
    Backend(BackendError),
}

impl From<rusqlite::Error> for DbError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<BackendError> for DbError {
    fn from(error: BackendError) -> Self {
        Self::Backend(error)
    }
}

impl DbError {
    /// The error for the caller of the port.
    pub(super) fn into_backend(self, op: &'static str) -> BackendError {
        match self {
            Self::Backend(error) => error,
            Self::Sqlite(error) => BackendError::new(kind(&error), op).because(error),
        }
    }
}

/// The kind of an error of SQLite.
pub(super) fn kind(error: &rusqlite::Error) -> ErrorKind {
    match error.sqlite_error_code() {
        // A full disk is transient: the transaction is rolled back, and space may return.
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::DiskFull) => ErrorKind::Unavailable,
        Some(
            ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::ReadOnly
            | ErrorCode::PermissionDenied,
        ) => ErrorKind::Broken,
        _ => ErrorKind::Internal,
    }
}
