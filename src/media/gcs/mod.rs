//! [`MediaStore`] on Cloud Storage: one object per key, created only where there is none.
//!
//! Google's client writes and reads objects, both by JSON over HTTP. Its administration is gRPC, which needs another
//! endpoint and which no emulator serves, so everything else calls the JSON API directly ([`api`]).

mod api;
mod urls;

use std::{io, ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use google_cloud_auth::credentials::Credentials;
use google_cloud_gax::{
    exponential_backoff::{ExponentialBackoff, ExponentialBackoffBuilder},
    retry_policy::RetryPolicyExt as _,
};
use google_cloud_storage::{
    client::Storage, model_ext::ReadRange, read_object::ReadObjectResponse, retry_policy::RetryableErrors,
};
use tokio::sync::OnceCell;

use self::{
    api::{Api, Deleted, Object, ObjectPage},
    urls::UrlSigner,
};
use super::{
    BackendError, ErrorKind, MediaFormat, MediaInfo, MediaKey, MediaRead, MediaStore, MediaUrl, Result, SignedUpload,
    check_extension, directory_of,
};
use crate::{
    config::{GcsConfig, GcsUrls},
    domain::Timestamp,
    google::{
        self,
        rest::RestClient,
        token::{GoogleTokens, TokenSource},
    },
};

/// Tries of a call, including the first.
const MAX_TRIES: u32 = 3;
/// The time after which a call is not tried again.
const RETRY_TIME_LIMIT: Duration = Duration::from_secs(20);
/// Bytes of a chunk of a read.
const CHUNK: usize = 64 * 1024;
/// Concurrent deletions.
const CONCURRENT_DELETES: usize = 16;

/// Objects of one bucket.
pub(super) struct GcsMedia {
    bucket: String,
    /// The bucket's resource name, for Google's client.
    resource: String,
    endpoint: Option<url::Url>,
    credentials: Credentials,
    cache_control: &'static str,
    storage: OnceCell<Storage>,
    api: Api,
    urls: UrlSigner,
}

impl GcsMedia {
    /// Opens a bucket. It reads files at most; the first call connects and fetches a token.
    pub(super) fn open(config: &GcsConfig) -> Result<Self> {
        const OP: &str = "media.open";
        let bucket = config.bucket.clone().unwrap_or_default();
        let endpoint = config.endpoint.clone();
        let base = endpoint.clone().map_or_else(|| api::GOOGLE.parse(), Ok);
        let base = base.map_err(|error| BackendError::new(ErrorKind::Internal, OP).because(error))?;
        let credentials = google::credentials(endpoint.as_ref())?;
        let tokens = (!google::is_emulator(endpoint.as_ref()))
            .then(|| Arc::new(GoogleTokens::application_default()) as Arc<dyn TokenSource>);
        let client = crate::http::client().map_err(|error| BackendError::new(ErrorKind::Broken, OP).because(error))?;
        Ok(Self {
            resource: format!("projects/_/buckets/{bucket}"),
            api: Api::new(RestClient::new(client, tokens), base, &bucket),
            urls: UrlSigner::new(config)?,
            // A signed URL belongs to one user, and an entry in a shared cache would outlive it.
            cache_control: match config.urls {
                GcsUrls::Signed => "private, max-age=31536000, immutable",
                GcsUrls::Public => "public, max-age=31536000, immutable",
            },
            storage: OnceCell::new(),
            bucket,
            endpoint,
            credentials,
        })
    }

    async fn storage(&self, op: &'static str) -> Result<&Storage> {
        let build = async || {
            let mut builder = Storage::builder()
                .with_credentials(self.credentials.clone())
                .with_retry_policy(RetryableErrors.with_time_limit(RETRY_TIME_LIMIT).with_attempt_limit(MAX_TRIES))
                .with_backoff_policy(backoff())
                // Pictures have a few megabytes and are in memory, so each takes one request and no resumable session.
                .with_resumable_upload_threshold(usize::MAX);
            if let Some(endpoint) = &self.endpoint {
                builder = builder.with_endpoint(google::base(endpoint));
            }
            builder.build().await
        };
        let client = self.storage.get_or_try_init(build).await;
        client.map_err(|error| BackendError::new(ErrorKind::Broken, op).because(error))
    }

    async fn create(&self, op: &'static str, key: &MediaKey, format: MediaFormat, bytes: Bytes) -> Result<()> {
        let cache_control = match format {
            // New facts replace those of an expired upload.
            MediaFormat::Json => "no-store",
            MediaFormat::Png | MediaFormat::Jpeg | MediaFormat::Webp => self.cache_control,
        };
        let name = key.as_str().rsplit('/').next().unwrap_or_default();
        let write = self
            .storage(op)
            .await?
            .write_object(&self.resource, key.as_str(), bytes)
            .set_content_type(format.content_type())
            .set_cache_control(cache_control)
            // Keys have neither quotes nor control characters, so no escaping is necessary.
            .set_content_disposition(format!("inline; filename=\"{name}\""))
            // Create, never overwrite. This also makes a retry after a lost response safe.
            .set_if_generation_match(0_i64);
        // The future has dozens of kilobytes, which every caller's future would contain.
        Box::pin(write.send_buffered()).await.map(drop).map_err(|error| self.failed(op, error))
    }

    /// The client's error, with advice for the operator if there is one.
    fn failed(&self, op: &'static str, error: google_cloud_gax::error::Error) -> BackendError {
        match error.http_status_code().and_then(|status| api::advice(status, &self.bucket)) {
            Some(advice) => BackendError::new(ErrorKind::Broken, op).because(format!("{advice} ({error})")),
            None => google::failed(op, error),
        }
    }

    /// Every object below a prefix, page by page.
    fn pages(&self, op: &'static str, prefix: &str, size: usize) -> impl futures::Stream<Item = Result<Vec<Object>>> {
        let prefix = prefix.to_owned();
        stream::try_unfold(Some(None), move |next: Option<Option<String>>| {
            let prefix = prefix.clone();
            async move {
                let Some(token) = next else { return Ok(None) };
                let ObjectPage { items, next_page_token } = self.api.page(op, &prefix, token.as_deref(), size).await?;
                Ok(Some((items, next_page_token.map(Some))))
            }
        })
    }

    /// Deletes the listed objects that match; returns their number.
    async fn delete_all(&self, op: &'static str, prefix: &str, wanted: impl Fn(&Object) -> bool) -> Result<usize> {
        let mut pages = Box::pin(self.pages(op, prefix, api::PAGE));
        let mut count = 0;
        while let Some(page) = pages.try_next().await? {
            // Only this generation: a newer one is another object.
            let calls = page.iter().filter(|object| wanted(object)).map(|object| self.api.delete(op, object));
            let calls: Vec<_> = calls.collect();
            let mut outcomes = stream::iter(calls).buffer_unordered(CONCURRENT_DELETES);
            while let Some(outcome) = outcomes.try_next().await? {
                count += usize::from(outcome == Deleted::Gone);
            }
        }
        Ok(count)
    }
}

#[async_trait]
impl MediaStore for GcsMedia {
    async fn put(&self, key: &MediaKey, format: MediaFormat, bytes: Bytes) -> Result<()> {
        const OP: &str = "media.put";
        check_extension(OP, key, format)?;
        self.create(OP, key, format, bytes).await
    }

    async fn get(&self, key: &MediaKey, range: Option<Range<u64>>) -> Result<Option<MediaRead>> {
        const OP: &str = "media.get";
        // The response of a read has no time in microseconds, and an empty range has no response.
        let Some(object) = self.api.stat(OP, key).await? else { return Ok(None) };
        let info = object.info(key);
        let range = range.unwrap_or(0..info.length);
        if range.start > range.end || range.end > info.length {
            let why = format!("bytes {}..{} of {} that there are", range.start, range.end, info.length);
            return Err(BackendError::new(ErrorKind::Internal, OP).because(why));
        }
        if range.is_empty() {
            return Ok(Some(MediaRead { info, body: stream::empty().boxed() }));
        }
        let wanted = ReadRange::segment(range.start, range.end - range.start);
        let read = self.storage(OP).await?.read_object(&self.resource, key.as_str());
        match read.set_generation(object.generation()).set_read_range(wanted).send().await {
            Ok(response) => Ok(Some(MediaRead { info, body: chunks(response).boxed() })),
            // Deleted since the stat.
            Err(error) if error.http_status_code() == Some(404) => Ok(None),
            Err(error) => Err(self.failed(OP, error)),
        }
    }

    async fn head(&self, key: &MediaKey) -> Result<Option<MediaInfo>> {
        Ok(self.api.stat("media.head", key).await?.map(|object| object.info(key)))
    }

    async fn copy(&self, from: &MediaKey, to: &MediaKey) -> Result<bool> {
        self.api.copy("media.copy", from, to).await
    }

    async fn expire(&self, prefix: &str, before: Timestamp) -> Result<usize> {
        const OP: &str = "media.expire";
        directory_of(OP, prefix)?;
        self.delete_all(OP, prefix, |object| object.created() < before).await
    }

    async fn list(&self, prefix: &str, limit: usize) -> Result<Vec<MediaKey>> {
        const OP: &str = "media.list";
        directory_of(OP, prefix)?;
        let mut found = Vec::new();
        let mut pages = Box::pin(self.pages(OP, prefix, limit.clamp(1, api::PAGE)));
        while found.len() < limit {
            let Some(page) = pages.try_next().await? else { break };
            // An object whose name is not a key is foreign.
            let keys = page.iter().filter_map(|object| object.name().parse().ok());
            found.extend(keys.take(limit - found.len()));
        }
        Ok(found)
    }

    async fn delete(&self, key: &MediaKey) -> Result<()> {
        self.api.delete_any("media.delete", key.as_str()).await.map(drop)
    }

    async fn delete_prefix(&self, prefix: &str) -> Result<()> {
        const OP: &str = "media.delete_prefix";
        directory_of(OP, prefix)?;
        self.delete_all(OP, prefix, |_| true).await.map(drop)
    }

    async fn url(&self, key: &MediaKey, now: Timestamp) -> Result<MediaUrl> {
        self.urls.to_fetch(key, now).await
    }

    async fn upload_url(
        &self,
        key: &MediaKey,
        content_type: &'static str,
        max_bytes: u64,
        now: Timestamp,
    ) -> Result<Option<SignedUpload>> {
        self.urls.to_put(key, content_type, max_bytes, now).await.map(Some)
    }

    fn is_behind_the_gateway(&self) -> bool {
        false
    }

    async fn ping(&self) -> Result<()> {
        self.api.page("media.ping", "", None, 1).await.map(drop)
    }
}

/// The pause before a retry, with jitter.
fn backoff() -> ExponentialBackoff {
    let builder = ExponentialBackoffBuilder::new()
        .with_initial_delay(Duration::from_millis(100))
        .with_maximum_delay(Duration::from_secs(2));
    builder.clamp()
}

/// The body of a read, in chunks of [`CHUNK`] at most.
fn chunks(response: ReadObjectResponse) -> impl futures::Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::unfold(Some((response, Bytes::new())), async |state| {
        let (mut response, mut rest) = state?;
        while rest.is_empty() {
            match response.next().await? {
                Ok(more) => rest = more,
                Err(error) => return Some((Err(io::Error::other(error)), None)),
            }
        }
        let chunk = rest.split_to(rest.len().min(CHUNK));
        Some((Ok(chunk), Some((response, rest))))
    })
}
