//! One gateway and one worker may serve on a data directory. Advisory locks of the operating system ensure it.
//!
//! A lock ends with its process, so a lock file that `kill -9` leaves behind blocks nothing; a pid file would.

use std::{
    fs::{File, TryLockError},
    path::Path,
};

use super::{OpenError, Role, open, sync};

/// The locks a process holds; dropping them frees them.
#[derive(Debug)]
pub(super) struct Locks {
    _files: Vec<File>,
}

impl Locks {
    /// Creates the directory if need be and takes one lock per role, or fails at once.
    pub(super) fn take(directory: &Path, roles: &[Role]) -> Result<Self, OpenError> {
        open::create_directory(directory)?;
        let take = |role: &Role| {
            let path = directory.join(role.lock_file());
            let file = sync::touch(&path)?;
            match file.try_lock() {
                Ok(()) => Ok(file),
                Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path, role: *role }),
                Err(TryLockError::Error(source)) => Err(OpenError::NotWritable { path, source }),
            }
        };
        let files = roles.iter().map(take).collect::<Result<_, _>>()?;
        Ok(Self { _files: files })
    }
}
