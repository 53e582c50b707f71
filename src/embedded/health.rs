//! Whether the database can still be trusted. Once it cannot, nothing is written until a restart.
//!
//! Two things end the trust. A write or an fsync that failed: the kernel may call pages clean that never reached the disk.
//! And files that are not there any more: what is committed to a deleted, replaced or shortened file is lost with the
//! process, although every commit succeeds.

use std::{
    fmt::Display,
    fs, io,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use tokio_util::sync::CancellationToken;

use super::error;
use crate::error::{BackendError, ErrorKind};

/// Shared by whoever writes and whoever asks.
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

    /// Why nothing may be written any more; `None` while all is well.
    pub(super) fn why_broken(&self) -> Option<&str> {
        self.why.get().map(String::as_str)
    }

    /// Returns once nothing may be written any more.
    pub(super) async fn broken(&self) {
        self.broken.cancelled().await;
    }

    pub(super) fn check(&self, op: &'static str) -> Result<(), BackendError> {
        match self.why_broken() {
            Some(why) => Err(BackendError::new(ErrorKind::Broken, op).because(why)),
            None => Ok(()),
        }
    }

    /// Takes note of a failed write to the database or its log; whether it is the end.
    pub(super) fn note(&self, failed: &rusqlite::Error) -> bool {
        let is_end = error::kind(failed) == ErrorKind::Broken;
        if is_end {
            self.breaks(format_args!("could not be written ({failed})"));
        }
        is_end
    }

    /// What has become of the database. Of several reasons the first counts.
    pub(super) fn breaks(&self, what: impl Display) {
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
    /// Those of a database that is open.
    pub(super) fn of(database: &Path) -> io::Result<Self> {
        let mut log = database.as_os_str().to_owned();
        log.push("-wal");
        let (database, log) = (database.to_owned(), PathBuf::from(log));
        let there = fs::metadata(&database)?;
        let opened = [identity(&there), identity(&fs::metadata(&log)?)];
        Ok(Self { database, log, opened, length: there.len() })
    }

    /// What has become of them; `None` while they are where they were. Costs two system calls.
    pub(super) fn harm(&mut self) -> Option<&'static str> {
        let [database, log] = self.opened;
        let length = match fs::metadata(&self.database) {
            Ok(now) if identity(&now) == database => now.len(),
            Ok(_) => return Some("has been replaced while it was in use"),
            Err(error) if is_missing(&error) => return Some("has been deleted or moved while it was in use"),
            // That it cannot be looked at says nothing of what is open.
            Err(_) => return None,
        };
        // Nothing here ever makes it smaller.
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

/// Tells a file from another one of the same name.
type Identity = (u64, u64);

#[cfg(unix)]
fn identity(file: &fs::Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt as _;
    (file.dev(), file.ino())
}

/// An open database can be neither deleted nor replaced there.
#[cfg(not(unix))]
fn identity(_: &fs::Metadata) -> Identity {
    (0, 0)
}
