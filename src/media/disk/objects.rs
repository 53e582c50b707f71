//! Creates, finds and removes the files of objects.

use std::{
    fs::{self, File},
    io::{self, ErrorKind as Io},
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{BackendError, ErrorKind, Inner, MediaFormat, MediaInfo, MediaKey, Result, TEMP_DIR, at};
use crate::domain::Timestamp;

/// Tries to link an object, because another process can delete its directory between creation and use.
const MAX_LINK_TRIES: usize = 20;

impl Inner {
    pub(super) fn path(&self, key: &MediaKey) -> PathBuf {
        // Joined segment by segment: `/` is the separator of keys, whatever the platform's is.
        key.as_str().split('/').fold(self.root.clone(), |path, segment| path.join(segment))
    }

    pub(super) fn put(&self, op: &'static str, key: &MediaKey, bytes: &[u8]) -> Result<()> {
        let path = self.path(key);
        if path.symlink_metadata().is_ok() {
            return Err(BackendError::new(ErrorKind::AlreadyExists, op).because(key.to_string()));
        }
        let mut temp = self.temp().map_err(at(op, &self.root.join(TEMP_DIR)))?;
        temp.write(bytes).map_err(at(op, &temp.path))?;
        for tried in 1.. {
            let linked = self.link(&temp.path, &path);
            match linked {
                Err(error) if error.kind() == Io::NotFound && tried < MAX_LINK_TRIES => {}
                Err(error) if error.kind() == Io::AlreadyExists => {
                    return Err(BackendError::new(ErrorKind::AlreadyExists, op).because(key.to_string()));
                }
                linked => return linked.map_err(at(op, &path)),
            }
        }
        Ok(())
    }

    /// Links a written file to its name, which fails if the name exists, and makes the name durable.
    fn link(&self, temp: &Path, path: &Path) -> io::Result<()> {
        let parent = path.parent().unwrap_or(&self.root);
        self.make_dir(parent)?;
        fs::hard_link(temp, path)?;
        sync_dir(parent)
    }

    /// Creates a directory with its parents. A new directory is durable once its parent is synced.
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        if path.symlink_metadata().is_ok() {
            // The path can lead through a symbolic link.
            return if path.canonicalize()? == path { Ok(()) } else { Err(outside(path)) };
        }
        let parent = path.parent().unwrap_or(&self.root);
        self.make_dir(parent)?;
        match fs::create_dir(path) {
            Ok(()) => sync_dir(parent),
            Err(error) if error.kind() == Io::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Creates a second name for the same file: objects never change, so it is as good as a copy.
    pub(super) fn copy(&self, op: &'static str, from: &MediaKey, to: &MediaKey) -> Result<bool> {
        let Some(source) = self.existing(op, from)? else { return Ok(false) };
        let path = self.path(to);
        match self.link(&source, &path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == Io::AlreadyExists => {
                Err(BackendError::new(ErrorKind::AlreadyExists, op).because(to.to_string()))
            }
            Err(error) if error.kind() == Io::NotFound && source.symlink_metadata().is_err() => Ok(false),
            Err(error) => Err(at(op, &path)(error)),
        }
    }

    pub(super) fn expire(&self, op: &'static str, directory: &MediaKey, before: Timestamp) -> Result<usize> {
        let mut expired = 0;
        let mut open = vec![self.path(directory)];
        while let Some(path) = open.pop() {
            let entries = match fs::read_dir(&path) {
                Ok(entries) => entries,
                Err(error) if is_miss(&error) => continue,
                Err(error) => return Err(at(op, &path)(error)),
            };
            for entry in entries {
                let entry = entry.map_err(at(op, &path))?;
                let (path, metadata) = (entry.path(), entry.metadata());
                match metadata {
                    Ok(metadata) if metadata.is_dir() => open.push(path),
                    Ok(metadata) if written(&metadata).is_some_and(|at| at < before) => {
                        self.delete(op, &path, |path| fs::remove_file(path))?;
                        expired += 1;
                    }
                    Ok(_) => {}
                    Err(error) if is_miss(&error) => {}
                    Err(error) => return Err(at(op, &path)(error)),
                }
            }
        }
        Ok(expired)
    }

    pub(super) fn list(&self, op: &'static str, directory: &MediaKey, limit: usize) -> Result<Vec<MediaKey>> {
        let mut found = Vec::new();
        let mut open = vec![directory.clone()];
        while let Some(directory) = open.pop() {
            let path = self.path(&directory);
            let entries = match fs::read_dir(&path) {
                Ok(entries) => entries,
                Err(error) if is_miss(&error) => continue,
                Err(error) => return Err(at(op, &path)(error)),
            };
            for entry in entries {
                let entry = entry.map_err(at(op, &path))?;
                // A file whose name is not a key is not an object.
                let key = entry.file_name().to_str().and_then(|name| format!("{directory}/{name}").parse().ok());
                let (Some(key), Ok(kind)) = (key, entry.file_type()) else { continue };
                if kind.is_dir() {
                    open.push(key);
                } else if kind.is_file() {
                    if found.len() == limit {
                        return Ok(found);
                    }
                    found.push(key);
                }
            }
        }
        Ok(found)
    }

    pub(super) fn open_object(&self, op: &'static str, key: &MediaKey) -> Result<Option<(File, MediaInfo)>> {
        let Some(path) = self.existing(op, key)? else { return Ok(None) };
        match File::open(&path).and_then(|file| file.metadata().map(|metadata| (file, metadata))) {
            Ok((file, metadata)) => Ok(Some((file, info(key, &metadata).map_err(at(op, &path))?))),
            Err(error) if error.kind() == Io::NotFound => Ok(None),
            Err(error) => Err(at(op, &path)(error)),
        }
    }

    pub(super) fn head(&self, op: &'static str, key: &MediaKey) -> Result<Option<MediaInfo>> {
        let Some(path) = self.existing(op, key)? else { return Ok(None) };
        match path.symlink_metadata() {
            Ok(metadata) => info(key, &metadata).map(Some).map_err(at(op, &path)),
            Err(error) if error.kind() == Io::NotFound => Ok(None),
            Err(error) => Err(at(op, &path)(error)),
        }
    }

    /// The path of the object, if it is a plain file and the path has no symbolic link.
    fn existing(&self, op: &'static str, key: &MediaKey) -> Result<Option<PathBuf>> {
        let path = self.path(key);
        match path.canonicalize() {
            Ok(real) => Ok((real == path && real.is_file()).then_some(path)),
            Err(error) if is_miss(&error) => Ok(None),
            Err(error) => Err(at(op, &path)(error)),
        }
    }

    /// Removes a path, then the directories above it that are empty now.
    pub(super) fn delete(&self, op: &'static str, path: &Path, remove: impl Fn(&Path) -> io::Result<()>) -> Result<()> {
        let parent = path.parent().unwrap_or(&self.root);
        match parent.canonicalize() {
            Ok(real) if real != parent => return Err(at(op, path)(outside(parent))),
            Err(error) if is_miss(&error) => return Ok(()),
            Err(error) => return Err(at(op, path)(error)),
            Ok(_) => {}
        }
        match remove(path) {
            Ok(()) => {}
            // A file where a directory is expected, or the reverse, is not an object of that key.
            Err(error) if is_miss(&error) || matches!(error.kind(), Io::IsADirectory) => return Ok(()),
            Err(error) => return Err(at(op, path)(error)),
        }
        let mut directory = parent;
        // Ends at the first directory that is not empty.
        while directory != self.root && fs::remove_dir(directory).is_ok() {
            directory = directory.parent().unwrap_or(&self.root);
        }
        match sync_dir(directory) {
            Err(error) if error.kind() != Io::NotFound => Err(at(op, directory)(error)),
            _ => Ok(()),
        }
    }
}

fn written(metadata: &fs::Metadata) -> Option<Timestamp> {
    Timestamp::try_from(metadata.modified().ok()?).ok()
}

fn info(key: &MediaKey, metadata: &fs::Metadata) -> io::Result<MediaInfo> {
    let modified = metadata.modified()?;
    let since = modified.duration_since(SystemTime::UNIX_EPOCH).map_err(io::Error::other)?;
    Ok(MediaInfo {
        length: metadata.len(),
        content_type: MediaFormat::of_key(key).map_or("application/octet-stream", MediaFormat::content_type),
        // Objects never change; the inode distinguishes an object from an earlier one under the same key.
        etag: format!("{:x}-{:x}-{:x}", metadata.len(), since.as_nanos(), file_number(metadata)),
        modified: Timestamp::try_from(modified).map_err(io::Error::other)?,
    })
}

#[cfg(unix)]
fn file_number(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn file_number(_metadata: &fs::Metadata) -> u64 {
    0
}

/// Makes the names in a directory durable.
fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn is_miss(error: &io::Error) -> bool {
    matches!(error.kind(), Io::NotFound | Io::NotADirectory)
}

fn outside(path: &Path) -> io::Error {
    io::Error::other(format!("{} leads out of the media directory", path.display()))
}
