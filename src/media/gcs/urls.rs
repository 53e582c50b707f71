//! Plain and signed URLs, at which clients fetch and upload objects.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use google_cloud_auth::{
    credentials::{Builder, service_account},
    signer::{self, Signer, SigningProvider},
};
use google_cloud_storage::{builder::storage::SignedUrlBuilder, error::SigningError};
use hashlink::LruCache;
use sha2::{Digest as _, Sha256};
use tokio::sync::{OnceCell, Semaphore};

use super::api::GOOGLE;
use crate::{
    config::{GcsConfig, GcsUrls},
    domain::{Timestamp, clock::after},
    google,
    media::{BackendError, ErrorKind, MediaKey, MediaUrl, Result, SignedUpload},
};

/// URLs in the cache; each takes a few kilobytes.
const REMEMBERED: usize = 4096;
/// Concurrent signatures: without a signing key each is a call of IAM.
const CONCURRENT_SIGNATURES: usize = 16;

/// Makes the URLs of one bucket's objects.
pub(super) struct UrlSigner {
    bucket: String,
    base: String,
    urls: GcsUrls,
    lifetime: Duration,
    /// Found at its first use, because a worker never signs.
    signer: OnceCell<Signer>,
    permits: Semaphore,
    signed: Mutex<LruCache<MediaKey, (String, Timestamp)>>,
}

impl UrlSigner {
    pub(super) fn new(config: &GcsConfig) -> Result<Self> {
        let signer = match config.signing_key.value() {
            Some(key) => Some(signer_of(key.reveal())?),
            None if google::is_emulator(config.endpoint.as_ref()) => Some(Signer::from(EmulatorSigner)),
            None => None,
        };
        Ok(Self {
            bucket: config.bucket.clone().unwrap_or_default(),
            base: config.endpoint.as_ref().map_or(GOOGLE, google::base).to_owned(),
            urls: config.urls,
            lifetime: config.url_expires,
            signer: OnceCell::new_with(signer),
            permits: Semaphore::new(CONCURRENT_SIGNATURES),
            signed: Mutex::new(LruCache::new(REMEMBERED)),
        })
    }

    /// The URL at which an object is fetched. A signed URL is valid for at least half its lifetime.
    pub(super) async fn to_fetch(&self, key: &MediaKey, now: Timestamp) -> Result<MediaUrl> {
        if self.urls == GcsUrls::Public {
            return Ok(MediaUrl::Absolute { url: self.plain(key), expires_at: None });
        }
        if let Some((url, expires_at)) = self.cached(key, now) {
            return Ok(MediaUrl::Absolute { url, expires_at: Some(expires_at) });
        }
        let url = self.sign("media.url", key, http::Method::GET, &BTreeMap::new()).await?;
        let expires_at = self.expiry(now);
        self.signed.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), (url.clone(), expires_at));
        Ok(MediaUrl::Absolute { url, expires_at: Some(expires_at) })
    }

    /// The URL for one upload of an object of this type, with `max_bytes` at most.
    pub(super) async fn to_put(
        &self,
        key: &MediaKey,
        content_type: &'static str,
        max_bytes: u64,
        now: Timestamp,
    ) -> Result<SignedUpload> {
        let headers = BTreeMap::from([
            ("content-type", content_type.to_owned()),
            ("x-goog-content-length-range", format!("0,{max_bytes}")),
            ("x-goog-if-generation-match", "0".to_owned()),
        ]);
        let url = self.sign("media.upload_url", key, http::Method::PUT, &headers).await?;
        Ok(SignedUpload { url, headers, expires_at: self.expiry(now) })
    }

    fn plain(&self, key: &MediaKey) -> String {
        // Of all characters in keys, only these two have another meaning in a URL.
        let path = key.as_str().replace('+', "%2B").replace('@', "%40");
        format!("{}/{}/{path}", self.base, self.bucket)
    }

    fn cached(&self, key: &MediaKey, now: Timestamp) -> Option<(String, Timestamp)> {
        let mut signed = self.signed.lock().unwrap_or_else(PoisonError::into_inner);
        let (url, expires_at) = signed.get(key)?;
        (after(now, self.lifetime / 2) <= *expires_at).then(|| (url.clone(), *expires_at))
    }

    /// A signature has a time in whole seconds.
    fn expiry(&self, now: Timestamp) -> Timestamp {
        let whole = Timestamp::from_second(now.as_second()).unwrap_or(now);
        after(whole, self.lifetime)
    }

    async fn sign(
        &self,
        op: &'static str,
        key: &MediaKey,
        method: http::Method,
        headers: &BTreeMap<&'static str, String>,
    ) -> Result<String> {
        let signer =
            self.signer.get_or_try_init(async || Builder::default().build_signer()).await.map_err(|error| {
                BackendError::new(ErrorKind::Broken, op).because(format!("{}: {error}", unable("no way to sign URLs")))
            })?;
        let resource = format!("projects/_/buckets/{}", self.bucket);
        let mut builder = SignedUrlBuilder::for_object(resource, key.as_str())
            .with_endpoint(&self.base)
            .with_method(method)
            .with_expiration(self.lifetime);
        for (name, value) in headers {
            builder = builder.with_header(*name, value);
        }
        let permit = self.permits.acquire().await;
        let url = builder.sign_with(signer).await.map_err(|error| unsigned(op, &error));
        drop(permit);
        url
    }
}

fn signer_of(key: &str) -> Result<Signer> {
    let broken = |why: &dyn std::fmt::Display| {
        let why = format!("media.gcs.signing_key is not the JSON key of a service account: {why}");
        BackendError::new(ErrorKind::Broken, "media.open").because(why)
    };
    // The parser's message could quote the key.
    let json = serde_json::from_str(key).map_err(|_| broken(&"it is not JSON"))?;
    service_account::Builder::new(json).build_signer().map_err(|error| broken(&error))
}

fn unsigned(op: &'static str, error: &SigningError) -> BackendError {
    let cause = std::error::Error::source(error).and_then(|source| source.downcast_ref::<signer::SigningError>());
    let kind =
        if cause.is_some_and(signer::SigningError::is_transport) { ErrorKind::Unavailable } else { ErrorKind::Broken };
    BackendError::new(kind, op).because(format!("{}: {}", unable("no signature for a URL"), crate::error::chain(error)))
}

fn unable(what: &str) -> String {
    format!(
        "{what}; set media.gcs.signing_key, or let this process's service account sign in its own name \
         (roles/iam.serviceAccountTokenCreator on itself)"
    )
}

/// Signs for emulators, which do not check signatures.
#[derive(Debug)]
struct EmulatorSigner;

impl SigningProvider for EmulatorSigner {
    async fn client_email(&self) -> signer::Result<String> {
        Ok("nobody@emulator.invalid".to_owned())
    }

    async fn sign(&self, content: &[u8]) -> signer::Result<bytes::Bytes> {
        Ok(bytes::Bytes::copy_from_slice(&Sha256::digest(content)))
    }
}
