//! Whether the database can still be trusted. Once it cannot, nothing is written until a restart.
//!
//! Two events end the trust. First, a failed write or fsync: the kernel may mark pages clean that never reached the disk.
//! Second, missing files: commits to a deleted, replaced or shortened file succeed, but are lost with the process.

use std::{
    fmt::Display,
    fs, io,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use tokio_util::sync::CancellationToken;

use super::error;
use crate::error::{BackendError, ErrorKind};

#[derive(Debug)]
pub(super) struct Health {
    database: PathBuf,
    why: OnceLock<String>,
    broken: CancellationToken,
}

impl Health {
    pub(super) fn new(database: &Path) -> Self {
        Self { database: database.to_owned(), why: OnceLock::new(), broken: CancellationToken::new() }
    }

    pub(super) fn database(&self) -> &Path {
        &self.database
    }

    /// Why no writes are allowed; `None` while the database is healthy.
    pub(super) fn why_broken(&self) -> Option<&str> {
        self.why.get().map(String::as_str)
    }

    /// Returns once no writes are allowed.
    pub(super) async fn broken(&self) {
        self.broken.cancelled().await;
    }

    pub(super) fn check(&self, op: &'static str) -> Result<(), BackendError> {
        match self.why_broken() {
            Some(why) => Err(BackendError::new(ErrorKind::Broken, op).because(why)),
            None => Ok(()),
        }
    }

    /// Notes a failed write to the database or its log; returns whether it ends the trust.
    pub(super) fn note_failure(&self, failed: &rusqlite::Error) -> bool {
        let is_broken = error::kind(failed) == ErrorKind::Broken;
        if is_broken {
            self.mark_broken(format_args!("could not be written ({failed})"));
        }
        is_broken
    }

    /// Ends the trust, with the reason. Only the first reason counts.
    pub(super) fn mark_broken(&self, what: impl Display) {
        let why = format!("{} {what}; nothing is written until a restart", self.database.display());
        if self.why.set(why).is_ok() {
            self.broken.cancel();
        }
    }
}

/// The database and its log as they were opened.
#[derive(Debug)]
pub(super) struct Files {
    database: PathBuf,
    log: PathBuf,
    opened: [Identity; 2],
    length: u64,
}

impl Files {
    /// The files of an open database.
    pub(super) fn of(database: &Path) -> io::Result<Self> {
        let mut log = database.as_os_str().to_owned();
        log.push("-wal");
        let (database, log) = (database.to_owned(), PathBuf::from(log));
        let metadata = fs::metadata(&database)?;
        let opened = [identity(&metadata), identity(&fs::metadata(&log)?)];
        Ok(Self { database, log, opened, length: metadata.len() })
    }

    /// What has happened to the files; `None` while they are intact. Costs two system calls.
    pub(super) fn damage(&mut self) -> Option<&'static str> {
        let [database, log] = self.opened;
        let length = match fs::metadata(&self.database) {
            Ok(now) if identity(&now) == database => now.len(),
            Ok(_) => return Some("has been replaced while it was in use"),
            Err(error) if is_missing(&error) => return Some("has been deleted or moved while it was in use"),
            // An unreadable path says nothing about the open file.
            Err(_) => return None,
        };
        // This program never makes the file smaller.
        if length < self.length {
            return Some("has been cut short while it was in use");
        }
        self.length = length;
        match fs::metadata(&self.log) {
            Ok(now) if identity(&now) != log => Some("has lost its log (-wal), which has been replaced"),
            Err(error) if is_missing(&error) => Some("has lost its log (-wal), which has been deleted or moved"),
            _ => None,
        }
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Distinguishes a file from another one of the same name.
type Identity = (u64, u64);

#[cfg(unix)]
fn identity(file: &fs::Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt as _;
    (file.dev(), file.ino())
}

/// On these systems an open database can be neither deleted nor replaced.
#[cfg(not(unix))]
fn identity(_: &fs::Metadata) -> Identity {
    (0, 0)
}
