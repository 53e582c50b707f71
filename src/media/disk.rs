//! [`MediaStore`] on a directory: one file per object, placed by a hard link so that it appears whole or not at all.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind as Io, Write as _},
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::{BackendError, ErrorKind, MediaFormat, MediaInfo, MediaKey, MediaRead, MediaStore, MediaUrl, Result};
use crate::domain::Timestamp;

/// Half-written files live here. No key begins with a dot, so no object can.
const TEMP_DIR: &str = ".tmp";
/// A half-written file of this age belongs to a process that died.
const TEMP_AGE: Duration = Duration::from_hours(1);
const CHUNK: usize = 64 * 1024;
/// How often a directory may be deleted by somebody else between its creation and its use.
const PLACE_TRIES: usize = 20;

/// Objects below one directory. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct DiskMedia {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Absolute, without symbolic links.
    root: PathBuf,
    next_temp: AtomicU64,
}

impl DiskMedia {
    /// Opens (or creates) the store below `root`, checks that it can hold objects, and removes what dead processes left.
    pub(super) fn open(root: &Path) -> Result<Self> {
        const OP: &str = "media.open";
        fs::create_dir_all(root.join(TEMP_DIR)).map_err(at(OP, root))?;
        let root = root.canonicalize().map_err(at(OP, root))?;
        let inner = Inner { root, next_temp: AtomicU64::new(0) };
        let now = inner.probe(OP)?;
        inner.remove_stale(now).map_err(at(OP, &inner.root.join(TEMP_DIR)))?;
        Ok(Self { inner: Arc::new(inner) })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        op: &'static str,
        work: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || work(&inner))
            .await
            .map_err(|panic| BackendError::new(ErrorKind::Internal, op).because(panic))?
    }
}

#[async_trait]
impl MediaStore for DiskMedia {
    async fn put(&self, key: &MediaKey, format: MediaFormat, bytes: Bytes) -> Result<()> {
        const OP: &str = "media.put";
        if MediaFormat::of_key(key) != Some(format) {
            let why = format!("the key {key} does not end in .{}", format.extension());
            return Err(BackendError::new(ErrorKind::Internal, OP).because(why));
        }
        let key = key.clone();
        // Not cancelled when the caller goes away: the object then appears whole, or its temporary file is removed.
        self.blocking(OP, move |inner| inner.put(OP, &key, &bytes)).await
    }

    async fn get(&self, key: &MediaKey, range: Option<Range<u64>>) -> Result<Option<MediaRead>> {
        const OP: &str = "media.get";
        let (path, key) = (self.inner.path(key), key.clone());
        let opened = self.blocking(OP, move |inner| inner.open_object(OP, &key)).await?;
        let Some((file, info)) = opened else { return Ok(None) };
        let mut file = tokio::fs::File::from_std(file);
        let range = range.unwrap_or(0..info.length);
        if range.start > range.end || range.end > info.length {
            let why = format!("bytes {}..{} of {} that there are", range.start, range.end, info.length);
            return Err(BackendError::new(ErrorKind::Internal, OP).because(why));
        }
        file.seek(io::SeekFrom::Start(range.start)).await.map_err(at(OP, &path))?;
        let body = ReaderStream::with_capacity(file.take(range.end - range.start), CHUNK).boxed();
        Ok(Some(MediaRead { info, body }))
    }

    async fn head(&self, key: &MediaKey) -> Result<Option<MediaInfo>> {
        const OP: &str = "media.head";
        let key = key.clone();
        self.blocking(OP, move |inner| inner.head(OP, &key)).await
    }

    async fn copy(&self, from: &MediaKey, to: &MediaKey) -> Result<bool> {
        const OP: &str = "media.copy";
        let (from, to) = (from.clone(), to.clone());
        self.blocking(OP, move |inner| inner.copy(OP, &from, &to)).await
    }

    async fn expire(&self, prefix: &str, before: Timestamp) -> Result<usize> {
        const OP: &str = "media.expire";
        let directory = directory_of(OP, prefix)?;
        self.blocking(OP, move |inner| inner.expire(OP, &directory, before)).await
    }

    async fn delete(&self, key: &MediaKey) -> Result<()> {
        const OP: &str = "media.delete";
        let key = key.clone();
        self.blocking(OP, move |inner| inner.delete(OP, &inner.path(&key), |path| fs::remove_file(path))).await
    }

    async fn delete_prefix(&self, prefix: &str) -> Result<()> {
        const OP: &str = "media.delete_prefix";
        let directory = directory_of(OP, prefix)?;
        self.blocking(OP, move |inner| inner.delete(OP, &inner.path(&directory), |path| fs::remove_dir_all(path))).await
    }

    async fn url(&self, key: &MediaKey, _now: Timestamp) -> Result<MediaUrl> {
        Ok(MediaUrl::Gateway(format!("/media/{key}")))
    }

    async fn ping(&self) -> Result<()> {
        const OP: &str = "media.ping";
        self.blocking(OP, |inner| inner.probe(OP).map(drop)).await
    }
}

impl Inner {
    fn path(&self, key: &MediaKey) -> PathBuf {
        // Joined segment by segment: `/` is the separator of keys, whatever the platform's is.
        key.as_str().split('/').fold(self.root.clone(), |path, segment| path.join(segment))
    }

    fn put(&self, op: &'static str, key: &MediaKey, bytes: &[u8]) -> Result<()> {
        let path = self.path(key);
        if path.symlink_metadata().is_ok() {
            return Err(BackendError::new(ErrorKind::AlreadyExists, op).because(key.to_string()));
        }
        let mut temp = self.temp().map_err(at(op, &self.root.join(TEMP_DIR)))?;
        temp.write(bytes).map_err(at(op, &temp.path))?;
        for tried in 1.. {
            let placed = self.place(&temp.path, &path);
            match placed {
                Err(error) if error.kind() == Io::NotFound && tried < PLACE_TRIES => {}
                Err(error) if error.kind() == Io::AlreadyExists => {
                    return Err(BackendError::new(ErrorKind::AlreadyExists, op).because(key.to_string()));
                }
                placed => return placed.map_err(at(op, &path)),
            }
        }
        Ok(())
    }

    /// Gives a written file its name, which fails when the name is taken, and makes the name durable.
    fn place(&self, temp: &Path, path: &Path) -> io::Result<()> {
        let parent = path.parent().unwrap_or(&self.root);
        self.make_dir(parent)?;
        fs::hard_link(temp, path)?;
        sync_dir(parent)
    }

    /// Creates a directory with its parents. A new directory is durable once the one that holds it is synced.
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        if path.symlink_metadata().is_ok() {
            // Somebody may have put a symbolic link in the way.
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

    /// A second name for the same file: objects are never written again, so nobody can tell it from a copy.
    fn copy(&self, op: &'static str, from: &MediaKey, to: &MediaKey) -> Result<bool> {
        let Some(source) = self.existing(op, from)? else { return Ok(false) };
        let path = self.path(to);
        match self.place(&source, &path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == Io::AlreadyExists => {
                Err(BackendError::new(ErrorKind::AlreadyExists, op).because(to.to_string()))
            }
            Err(error) if error.kind() == Io::NotFound && source.symlink_metadata().is_err() => Ok(false),
            Err(error) => Err(at(op, &path)(error)),
        }
    }

    fn expire(&self, op: &'static str, directory: &MediaKey, before: Timestamp) -> Result<usize> {
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

    fn open_object(&self, op: &'static str, key: &MediaKey) -> Result<Option<(File, MediaInfo)>> {
        let Some(path) = self.existing(op, key)? else { return Ok(None) };
        match File::open(&path).and_then(|file| file.metadata().map(|metadata| (file, metadata))) {
            Ok((file, metadata)) => Ok(Some((file, info(key, &metadata).map_err(at(op, &path))?))),
            Err(error) if error.kind() == Io::NotFound => Ok(None),
            Err(error) => Err(at(op, &path)(error)),
        }
    }

    fn head(&self, op: &'static str, key: &MediaKey) -> Result<Option<MediaInfo>> {
        let Some(path) = self.existing(op, key)? else { return Ok(None) };
        match path.symlink_metadata() {
            Ok(metadata) => info(key, &metadata).map(Some).map_err(at(op, &path)),
            Err(error) if error.kind() == Io::NotFound => Ok(None),
            Err(error) => Err(at(op, &path)(error)),
        }
    }

    /// The object's path, when it is a plain file that no symbolic link leads to.
    fn existing(&self, op: &'static str, key: &MediaKey) -> Result<Option<PathBuf>> {
        let path = self.path(key);
        match path.canonicalize() {
            Ok(real) => Ok((real == path && real.is_file()).then_some(path)),
            Err(error) if is_miss(&error) => Ok(None),
            Err(error) => Err(at(op, &path)(error)),
        }
    }

    /// Removes a path, then the directories above it that this left empty.
    fn delete(&self, op: &'static str, path: &Path, remove: impl Fn(&Path) -> io::Result<()>) -> Result<()> {
        let parent = path.parent().unwrap_or(&self.root);
        match parent.canonicalize() {
            Ok(real) if real != parent => return Err(at(op, path)(outside(parent))),
            Err(error) if is_miss(&error) => return Ok(()),
            Err(error) => return Err(at(op, path)(error)),
            Ok(_) => {}
        }
        match remove(path) {
            Ok(()) => {}
            // A name of the other sort (a file where a directory is meant, or the reverse) is no object of that key.
            Err(error) if is_miss(&error) || matches!(error.kind(), Io::IsADirectory) => return Ok(()),
            Err(error) => return Err(at(op, path)(error)),
        }
        let mut directory = parent;
        // Fails as soon as one is not empty, which is the end of it.
        while directory != self.root && fs::remove_dir(directory).is_ok() {
            directory = directory.parent().unwrap_or(&self.root);
        }
        match sync_dir(directory) {
            Err(error) if error.kind() != Io::NotFound => Err(at(op, directory)(error)),
            _ => Ok(()),
        }
    }

    /// Writes, links and removes a file; answers its time, which is "now" by the file system's own clock.
    fn probe(&self, op: &'static str) -> Result<SystemTime> {
        let directory = self.root.join(TEMP_DIR);
        let attempt = || {
            let mut temp = self.temp()?;
            temp.write(b"probe")?;
            let modified = fs::metadata(&temp.path)?.modified()?;
            let linked = TempFile { path: temp.path.with_extension("link"), file: None };
            fs::hard_link(&temp.path, &linked.path)?;
            Ok(modified)
        };
        attempt().map_err(at(op, &directory))
    }

    fn temp(&self) -> io::Result<TempFile> {
        let directory = self.root.join(TEMP_DIR);
        loop {
            let number = self.next_temp.fetch_add(1, Ordering::Relaxed);
            let path = directory.join(format!("{}-{number}", std::process::id()));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(TempFile { path, file: Some(file) }),
                // Left by a dead process of the same number, or written by a living one in another container.
                Err(error) if error.kind() == Io::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn remove_stale(&self, now: SystemTime) -> io::Result<()> {
        for entry in fs::read_dir(self.root.join(TEMP_DIR))? {
            let entry = entry?;
            // A living process may remove its own between our look and our touch.
            let Ok(modified) = entry.metadata().and_then(|metadata| metadata.modified()) else { continue };
            if now.duration_since(modified).is_ok_and(|age| age > TEMP_AGE) {
                match fs::remove_file(entry.path()) {
                    Err(error) if error.kind() != Io::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// A file that disappears with this value: whatever goes wrong, nothing half-written stays.
struct TempFile {
    path: PathBuf,
    file: Option<File>,
}

impl TempFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(mut file) = self.file.take() {
            file.write_all(bytes)?;
            file.sync_all()?;
        }
        Ok(())
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // Nothing can be done about a failure here; `open` removes what is left after an hour.
        let _ = fs::remove_file(&self.path);
    }
}

/// A directory's name follows the rules of a key; anything else could name a place outside the store.
fn directory_of(op: &'static str, prefix: &str) -> Result<MediaKey> {
    let directory = prefix.strip_suffix('/').and_then(|name| name.parse::<MediaKey>().ok());
    directory.ok_or_else(|| {
        let why = format!("{prefix:?} is no prefix of keys that ends in a slash");
        BackendError::new(ErrorKind::Internal, op).because(why)
    })
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
        // Objects never change; the file's number tells apart two that follow each other under one key.
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

fn at(op: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackendError {
    move |error| {
        let kind = match error.kind() {
            Io::TimedOut | Io::Interrupted | Io::ResourceBusy => ErrorKind::Unavailable,
            _ => ErrorKind::Broken,
        };
        BackendError::new(kind, op).because(format!("{}: {error}", path.display()))
    }
}
