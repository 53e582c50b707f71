//! [`MediaStore`] on a directory: one file per object, placed by a hard link so that it appears whole or not at all.

mod objects;
mod temp;

use std::{
    fs,
    io::{self, ErrorKind as Io},
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::{
    BackendError, ErrorKind, MediaFormat, MediaInfo, MediaKey, MediaRead, MediaStore, MediaUrl, Result, SignedUpload,
    check_extension, directory_of,
};
use crate::domain::Timestamp;

/// The folder of half-written files. Keys do not begin with a dot, so no object can be in it.
const TEMP_DIR: &str = ".tmp";
const CHUNK: usize = 64 * 1024;

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
    /// Opens (or creates) the store below `root`, checks that it can store objects, and removes temporary files of dead processes.
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
        check_extension(OP, key, format)?;
        let key = key.clone();
        // Continues if the caller is cancelled: the object appears whole, or its temporary file is removed.
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

    async fn list(&self, prefix: &str, limit: usize) -> Result<Vec<MediaKey>> {
        const OP: &str = "media.list";
        let directory = directory_of(OP, prefix)?;
        self.blocking(OP, move |inner| inner.list(OP, &directory, limit)).await
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

    async fn upload_url(
        &self,
        _key: &MediaKey,
        _content_type: &'static str,
        _max_bytes: u64,
        _now: Timestamp,
    ) -> Result<Option<SignedUpload>> {
        Ok(None)
    }

    fn is_behind_the_gateway(&self) -> bool {
        true
    }

    async fn ping(&self) -> Result<()> {
        const OP: &str = "media.ping";
        self.blocking(OP, |inner| inner.probe(OP).map(drop)).await
    }
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
