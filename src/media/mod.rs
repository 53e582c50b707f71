//! Port [`MediaStore`]: pictures by key, created once and never overwritten.

pub mod archive;
mod disk;
#[cfg(feature = "google-cloud")]
mod gcs;
pub mod image;

use std::{collections::BTreeMap, fmt, ops::Range, path::Path, str::FromStr, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

pub use crate::error::{BackendError, ErrorKind};
use crate::{
    domain::{
        Timestamp,
        ids::{JobId, UserId},
        upload::UploadId,
    },
    intercept::intercept,
};

/// The result of a media method.
pub type Result<T> = std::result::Result<T, BackendError>;

/// The name of an object: segments of `A-Z a-z 0-9 _ . @ + -` joined by `/`, none of which begins with a dot.
///
/// No other text becomes a key, so no key becomes a path outside the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MediaKey(String);

/// The text is not a media key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a media key is at most 512 characters: segments of 1 to 128 letters, digits and _ . @ + - that do not begin with a dot"
)]
pub struct InvalidMediaKey;

impl MediaKey {
    /// `illustrations/{user}/{job}/{attempt}-{fence}-{n}.{extension}`.
    ///
    /// The fence is the version of the attempt's claim. The attempt's number alone is not unique: a worker that shuts down
    /// gives its attempt back, and the next attempt has the same number.
    pub fn picture(user: &UserId, job: &JobId, attempt: u32, fence: u64, n: usize, format: MediaFormat) -> Self {
        Self(format!("{}{attempt}-{fence}-{n}.{}", Self::job_prefix(user, job), format.extension()))
    }

    /// `illustrations/{user}/{job}/{attempt}-{fence}-{n}_thumb.webp`.
    pub fn thumbnail(user: &UserId, job: &JobId, attempt: u32, fence: u64, n: usize) -> Self {
        Self(format!("{}{attempt}-{fence}-{n}_thumb.webp", Self::job_prefix(user, job)))
    }

    /// `brands/{user}/{brand}/sample-{attempt}-{fence}-{n}.{extension}`.
    pub fn sample(user: &UserId, brand: &JobId, attempt: u32, fence: u64, n: usize, format: MediaFormat) -> Self {
        Self(format!("{}sample-{attempt}-{fence}-{n}.{}", Self::job_prefix(user, brand), format.extension()))
    }

    /// `uploads/{user}/{upload}-{content}.{extension}`.
    ///
    /// `content` is a hash of the bytes, so that other bytes under the same id do not overwrite these.
    pub fn upload(user: &UserId, upload: &UploadId, content: u64, format: MediaFormat) -> Self {
        Self(format!("uploads/{user}/{upload}-{content:016x}.{}", format.extension()))
    }

    /// `uploads/{user}/{upload}.json`: written last, so an upload that has it is complete.
    pub fn upload_facts(user: &UserId, upload: &UploadId) -> Self {
        Self(format!("uploads/{user}/{upload}.{}", MediaFormat::Json.extension()))
    }

    /// `uploads/{user}/{upload}.raw`: what a client has uploaded directly, not yet checked.
    pub fn raw_upload(user: &UserId, upload: &UploadId) -> Self {
        Self(format!("uploads/{user}/{upload}.raw"))
    }

    /// `uploads/{user}/{upload}.zip`: the same for an archive of pictures.
    pub fn raw_archive(user: &UserId, upload: &UploadId) -> Self {
        Self(format!("uploads/{user}/{upload}.zip"))
    }

    /// `brands/{user}/{job}/{fence}-{n}.{extension}`: a training picture.
    ///
    /// The fence is random for each submission, so that a refused submission removes only its own pictures.
    pub fn training(user: &UserId, job: &JobId, fence: u64, n: usize, format: MediaFormat) -> Self {
        Self(format!("{}{fence:016x}-{n}.{}", Self::job_prefix(user, job), format.extension()))
    }

    /// The claim that stored this object: the fence of a picture, thumbnail or sample.
    ///
    /// `None` for an object that does not belong to an attempt, such as a training picture.
    pub fn fence(&self) -> Option<u64> {
        let (_, name) = self.0.rsplit_once('/')?;
        let (name, _) = name.rsplit_once('.')?;
        let parts: Vec<&str> = name.strip_prefix("sample-").unwrap_or(name).split('-').collect();
        let [attempt, fence, n] = parts[..] else { return None };
        let n = n.strip_suffix("_thumb").unwrap_or(n);
        (attempt.parse::<u32>().is_ok() && n.parse::<usize>().is_ok()).then(|| fence.parse().ok())?
    }

    /// The common prefix of a job's keys.
    pub fn job_prefix(user: &UserId, job: &JobId) -> String {
        format!("{}/{user}/{job}/", job.kind().collection())
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MediaKey {
    type Err = InvalidMediaKey;
    fn from_str(text: &str) -> std::result::Result<Self, InvalidMediaKey> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"_.@+-".contains(&b);
        // Names of users, jobs and pictures are shorter, and file systems allow at most 255 bytes.
        let segment = |s: &str| (1..=128).contains(&s.len()) && !s.starts_with('.') && s.bytes().all(legal);
        if text.len() <= 512 && text.split('/').all(segment) { Ok(Self(text.to_owned())) } else { Err(InvalidMediaKey) }
    }
}

impl fmt::Display for MediaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The formats that are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaFormat {
    /// Lossless pictures.
    Png,
    /// Photographs.
    Jpeg,
    /// Thumbnails.
    Webp,
    /// Facts about a picture, stored beside it.
    Json,
}

impl MediaFormat {
    /// The file extension, without a dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::Webp => "webp",
            Self::Json => "json",
        }
    }

    /// The media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Webp => "image/webp",
            Self::Json => "application/json",
        }
    }

    /// The format of a key's extension.
    pub fn of_key(key: &MediaKey) -> Option<Self> {
        let extension = key.as_str().rsplit_once('.')?.1;
        [Self::Png, Self::Jpeg, Self::Webp, Self::Json].into_iter().find(|format| format.extension() == extension)
    }
}

/// The metadata of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaInfo {
    /// Its length in bytes.
    pub length: u64,
    /// The media type.
    pub content_type: &'static str,
    /// A strong entity tag, without quotes.
    pub etag: String,
    /// When it was written.
    pub modified: Timestamp,
}

/// An object, or a part of it, as a stream of chunks.
pub struct MediaRead {
    /// The metadata of the whole object.
    pub info: MediaInfo,
    /// Its bytes, in chunks of bounded size.
    pub body: BoxStream<'static, std::io::Result<Bytes>>,
}

/// The address at which a client fetches an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaUrl {
    /// A path, beginning with `/`, below the gateway's own address.
    Gateway(String),
    /// A URL of another server.
    Absolute {
        /// The URL.
        url: String,
        /// When it stops working, if ever.
        expires_at: Option<Timestamp>,
    },
}

/// A URL to which a client uploads an object directly: one `PUT` with exactly these headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedUpload {
    /// The URL. Anyone who has it can use it.
    pub url: String,
    /// Headers that the signature covers, by their names in lower case.
    pub headers: BTreeMap<&'static str, String>,
    /// When it stops working.
    pub expires_at: Timestamp,
}

/// Pictures by key.
///
/// Contract, tested by `tests/contract` for every backend: `put` makes the object durable and visible as a whole, or not
/// at all; a second `put` under a key is [`ErrorKind::AlreadyExists`] and changes nothing; a miss is `Ok(None)`;
/// deleting an absent object is `Ok`.
#[async_trait]
pub trait MediaStore: Send + Sync {
    /// Creates an object. The key must have the format's extension.
    async fn put(&self, key: &MediaKey, format: MediaFormat, bytes: Bytes) -> Result<()>;

    /// Reads an object, or a half-open range of it, which must be within its length.
    async fn get(&self, key: &MediaKey, range: Option<Range<u64>>) -> Result<Option<MediaRead>>;

    /// The metadata of an object.
    async fn head(&self, key: &MediaKey) -> Result<Option<MediaInfo>>;

    /// Creates an object with the content of another; `false` if the other does not exist.
    async fn copy(&self, from: &MediaKey, to: &MediaKey) -> Result<bool>;

    /// Deletes every object below `prefix` (which ends in `/`) that was written before a moment; returns their number.
    async fn expire(&self, prefix: &str, before: Timestamp) -> Result<usize>;

    /// The keys that begin with `prefix` (which ends in `/`), at most `limit`, in no particular order.
    async fn list(&self, prefix: &str, limit: usize) -> Result<Vec<MediaKey>>;

    /// Deletes an object.
    async fn delete(&self, key: &MediaKey) -> Result<()>;

    /// Deletes every object whose key begins with `prefix` (which ends in `/`), also those of lost attempts.
    async fn delete_prefix(&self, prefix: &str) -> Result<()>;

    /// The address at which a client fetches the object. Does not check that it exists.
    async fn url(&self, key: &MediaKey, now: Timestamp) -> Result<MediaUrl>;

    /// The address to which a client uploads an object of this type directly, with `max_bytes` at most; `None` for a store
    /// that takes uploads through the gateway.
    async fn upload_url(
        &self,
        key: &MediaKey,
        content_type: &'static str,
        max_bytes: u64,
        now: Timestamp,
    ) -> Result<Option<SignedUpload>>;

    /// Whether clients fetch objects through the gateway; then `url` always returns [`MediaUrl::Gateway`], else never.
    fn is_behind_the_gateway(&self) -> bool;

    /// Checks that the store works.
    async fn ping(&self) -> Result<()>;
}

intercept! {
    MediaStore
    calls {
        put "media.put" (key: &MediaKey, format: MediaFormat, bytes: Bytes) -> ();
        get "media.get" (key: &MediaKey, range: Option<Range<u64>>) -> Option<MediaRead>;
        head "media.head" (key: &MediaKey) -> Option<MediaInfo>;
        copy "media.copy" (from: &MediaKey, to: &MediaKey) -> bool;
        expire "media.expire" (prefix: &str, before: Timestamp) -> usize;
        list "media.list" (prefix: &str, limit: usize) -> Vec<MediaKey>;
        delete "media.delete" (key: &MediaKey) -> ();
        delete_prefix "media.delete_prefix" (prefix: &str) -> ();
        url "media.url" (key: &MediaKey, now: Timestamp) -> MediaUrl;
        upload_url "media.upload_url" (key: &MediaKey, content_type: &'static str, max_bytes: u64, now: Timestamp) -> Option<SignedUpload>;
        ping "media.ping" () -> ();
    }
    getters {
        is_behind_the_gateway() -> bool;
    }
}

/// Opens the store on disk, in `{data_dir}/media`. Blocks on the file system, so call it before the runtime is busy.
pub fn open_disk(data_dir: &Path) -> Result<Arc<dyn MediaStore>> {
    Ok(Arc::new(disk::DiskMedia::open(&data_dir.join("media"))?))
}

/// Opens a bucket of Google Cloud Storage. Connects at the first use.
#[cfg(feature = "google-cloud")]
pub fn open_gcs(config: &crate::config::GcsConfig) -> Result<Arc<dyn MediaStore>> {
    Ok(Arc::new(gcs::GcsMedia::open(config)?))
}

/// Checks that a key has the extension of a format.
fn check_extension(op: &'static str, key: &MediaKey, format: MediaFormat) -> Result<()> {
    if MediaFormat::of_key(key) == Some(format) {
        return Ok(());
    }
    let why = format!("the key {key} does not end in .{}", format.extension());
    Err(BackendError::new(ErrorKind::Internal, op).because(why))
}

/// The directory of a prefix. It must be a key itself: any other text could name a path outside the store.
fn directory_of(op: &'static str, prefix: &str) -> Result<MediaKey> {
    let directory = prefix.strip_suffix('/').and_then(|name| name.parse::<MediaKey>().ok());
    directory.ok_or_else(|| {
        let why = format!("{prefix:?} is not a prefix of keys that ends in a slash");
        BackendError::new(ErrorKind::Internal, op).because(why)
    })
}
