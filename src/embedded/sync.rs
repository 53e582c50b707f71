//! Files that survive a power cut.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::Path,
};

use super::OpenError;

/// Opens a file that exists only to be locked.
pub(super) fn touch(path: &Path) -> Result<File, OpenError> {
    OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .open(path)
        .map_err(|source| OpenError::NotWritable { path: path.to_owned(), source })
}

/// Makes the names in a directory durable: a new file needs it beside its own fsync.
pub(super) fn directory(path: &Path) -> io::Result<()> {
    // Directories cannot be opened for that on Windows, where the file system journals names itself.
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

/// Puts a small file in place, whole or not at all.
pub(super) fn put(directory_path: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let temporary = directory_path.join(format!("{name}.new"));
    let mut file = File::create(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, directory_path.join(name))?;
    directory(directory_path)
}
