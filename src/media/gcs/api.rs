//! The calls of Cloud Storage's JSON API that Google's client does not have: stat, list, copy, delete.

use std::{fmt::Display, str::FromStr, time::Duration};

use bytes::Bytes;
use google_cloud_gax::{backoff_policy::BackoffPolicy as _, retry_state::RetryState};
use reqwest::{Client, RequestBuilder};
use serde::{Deserialize, Deserializer};
use url::Url;

use super::{MAX_TRIES, backoff};
use crate::{
    domain::Timestamp,
    google::{
        self,
        rest::{ApiError, RestClient, RestError},
    },
    http::{ExchangeError, Limits, excerpt},
    media::{BackendError, ErrorKind, MediaFormat, MediaInfo, MediaKey, Result},
};

/// Google's own address.
pub(super) const GOOGLE: &str = "https://storage.googleapis.com";
/// Objects of a page, at most: what the API allows.
pub(super) const PAGE: usize = 1000;
/// The limits of one try. A page of a list has at most some 1.5 MB.
const TRY_LIMITS: Limits = Limits { timeout: Duration::from_secs(15), max_bytes: 8 << 20 };
/// Calls of a copy, at most: one within a location, more between locations.
const COPY_CALLS: usize = 100;

/// A client of one bucket.
pub(super) struct Api {
    rest: RestClient,
    base: Url,
    bucket: String,
}

/// An object as it is listed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Object {
    name: String,
    #[serde(deserialize_with = "number")]
    size: u64,
    #[serde(deserialize_with = "number")]
    generation: i64,
    time_created: Timestamp,
}

/// A page of a list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ObjectPage {
    #[serde(default)]
    pub(super) items: Vec<Object>,
    pub(super) next_page_token: Option<String>,
}

/// Numbers of 64 bits are text in JSON.
fn number<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(json: D) -> std::result::Result<T, D::Error> {
    String::deserialize(json)?.parse().map_err(serde::de::Error::custom)
}

/// The result of a delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deleted {
    /// This call deleted the object.
    Gone,
    /// There was no such object, or a newer one has its name.
    Absent,
}

enum ObjectResponse {
    Done(Bytes),
    Missing,
    /// A precondition failed.
    PreconditionFailed,
}

impl Object {
    /// Its name in the bucket.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Distinguishes the object from earlier ones of the same name.
    pub(super) fn generation(&self) -> i64 {
        self.generation
    }

    /// When it was written.
    pub(super) fn created(&self) -> Timestamp {
        self.time_created
    }

    /// The metadata for the port.
    pub(super) fn info(&self, key: &MediaKey) -> MediaInfo {
        MediaInfo {
            length: self.size,
            content_type: MediaFormat::of_key(key).map_or("application/octet-stream", MediaFormat::content_type),
            etag: format!("{:x}", self.generation),
            modified: self.time_created,
        }
    }
}

impl Api {
    pub(super) fn new(rest: RestClient, base: Url, bucket: &str) -> Self {
        Self { rest, base, bucket: bucket.to_owned() }
    }

    pub(super) async fn stat(&self, op: &'static str, key: &MediaKey) -> Result<Option<Object>> {
        let url = self.object(key.as_str());
        let fields = [("fields", "name,size,generation,timeCreated")];
        match self.call(op, |client| client.get(url.as_str()).query(&fields)).await? {
            ObjectResponse::Done(body) => parsed(op, &body).map(Some),
            ObjectResponse::Missing => Ok(None),
            ObjectResponse::PreconditionFailed => Err(unexpected(op)),
        }
    }

    /// A page of the objects whose names begin with `prefix`.
    pub(super) async fn page(
        &self,
        op: &'static str,
        prefix: &str,
        token: Option<&str>,
        size: usize,
    ) -> Result<ObjectPage> {
        let url = self.below(&["o"]);
        let size = size.to_string();
        let fields = "nextPageToken,items(name,size,generation,timeCreated)";
        let query = [("prefix", prefix), ("maxResults", &size), ("fields", fields)];
        let token = token.map(|token| ("pageToken", token));
        match self.call(op, |client| client.get(url.as_str()).query(&query).query(token.as_slice())).await? {
            ObjectResponse::Done(body) => parsed(op, &body),
            // The bucket itself is missing.
            ObjectResponse::Missing => {
                let advice = advice(404, &self.bucket).unwrap_or_default();
                Err(BackendError::new(ErrorKind::Broken, op).because(advice))
            }
            ObjectResponse::PreconditionFailed => Err(unexpected(op)),
        }
    }

    /// Deletes the object of this name, whatever its generation.
    pub(super) async fn delete_any(&self, op: &'static str, name: &str) -> Result<Deleted> {
        self.remove(op, name, None).await
    }

    /// Deletes this object, unless a newer one has replaced it.
    pub(super) async fn delete(&self, op: &'static str, object: &Object) -> Result<Deleted> {
        self.remove(op, &object.name, Some(object.generation)).await
    }

    async fn remove(&self, op: &'static str, name: &str, generation: Option<i64>) -> Result<Deleted> {
        let url = self.object(name);
        let condition = generation.map(|generation| ("ifGenerationMatch", generation));
        let request = |client: &Client| client.delete(url.as_str()).query(condition.as_slice());
        Ok(match self.call(op, request).await? {
            ObjectResponse::Done(_) => Deleted::Gone,
            ObjectResponse::Missing | ObjectResponse::PreconditionFailed => Deleted::Absent,
        })
    }

    /// Copies an object with its metadata to a free name in the bucket; `false` if there is no such object.
    pub(super) async fn copy(&self, op: &'static str, from: &MediaKey, to: &MediaKey) -> Result<bool> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Rewritten {
            done: bool,
            rewrite_token: Option<String>,
        }
        let url = self.below(&["o", from.as_str(), "rewriteTo", "b", &self.bucket, "o", to.as_str()]);
        let query = [("ifGenerationMatch", "0"), ("fields", "done,rewriteToken")];
        let mut token: Option<String> = None;
        for _ in 0..COPY_CALLS {
            let token_query = token.as_deref().map(|token| ("rewriteToken", token));
            // The service requires a length, which a request without a body does not have.
            let request = |client: &Client| {
                client.post(url.as_str()).query(&query).query(token_query.as_slice()).body(Bytes::new())
            };
            match self.call(op, request).await? {
                ObjectResponse::Missing => return Ok(false),
                ObjectResponse::PreconditionFailed => {
                    return Err(BackendError::new(ErrorKind::AlreadyExists, op).because(to.to_string()));
                }
                ObjectResponse::Done(body) => {
                    let rewritten: Rewritten = parsed(op, &body)?;
                    if rewritten.done {
                        return Ok(true);
                    }
                    token = rewritten.rewrite_token;
                }
            }
        }
        Err(BackendError::new(ErrorKind::Timeout, op).because(format!("{from} is still being copied")))
    }

    fn object(&self, name: &str) -> Url {
        self.below(&["o", name])
    }

    /// An address below the bucket's; a name's own slashes are encoded.
    fn below(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        // The validation of the configuration refuses an address without a path, such as `mailto:`.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["storage", "v1", "b", &self.bucket]).extend(segments);
        }
        url
    }

    /// One call with retries; every call here is safe to repeat.
    async fn call(&self, op: &'static str, request: impl Fn(&Client) -> RequestBuilder) -> Result<ObjectResponse> {
        let mut state = RetryState::new(true);
        loop {
            state = state.clone().set_attempt_count(state.attempt_count + 1);
            let error = match self.once(op, &request).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if !error.is_transient() || state.attempt_count >= MAX_TRIES {
                return Err(error);
            }
            tokio::time::sleep(backoff().on_failure(&state)).await;
        }
    }

    async fn once(&self, op: &'static str, request: impl Fn(&Client) -> RequestBuilder) -> Result<ObjectResponse> {
        let response = self.rest.send(TRY_LIMITS, request).await.map_err(|error| unanswered(op, error))?;
        match response.status {
            200..=299 => Ok(ObjectResponse::Done(response.body)),
            404 if !is_about_the_bucket(&response.body) => Ok(ObjectResponse::Missing),
            412 => Ok(ObjectResponse::PreconditionFailed),
            status => {
                let mut error = self.refused(op, status, &response.body);
                error.retry_after = ApiError::read(&response.body).retry_after(&response);
                Err(error)
            }
        }
    }

    fn refused(&self, op: &'static str, status: u16, body: &[u8]) -> BackendError {
        let message = message(body);
        if let Some(advice) = advice(status, &self.bucket) {
            return BackendError::new(ErrorKind::Broken, op).because(format!("{advice} ({message})"));
        }
        BackendError::new(google::kind_of_http(status), op)
            .because(format!("Cloud Storage answers {status}: {message}"))
    }
}

/// Advice for the operator about a status that only an operator can change.
pub(super) fn advice(status: u16, bucket: &str) -> Option<String> {
    match status {
        401 => Some("Cloud Storage does not know this process; check its service account's credentials".to_owned()),
        403 => Some(format!("grant this process's service account roles/storage.objectUser on the bucket {bucket}")),
        404 => Some(format!("there is no bucket {bucket}; create it, or correct media.gcs.bucket")),
        _ => None,
    }
}

/// A request without a response.
fn unanswered(op: &'static str, error: RestError) -> BackendError {
    let kind = match &error {
        RestError::Token(error) => {
            let kind = if error.is_transient { ErrorKind::Unavailable } else { ErrorKind::Broken };
            let why = format!("no token for Cloud Storage; check this process's service account: {error}");
            return BackendError::new(kind, op).because(why);
        }
        RestError::Exchange(ExchangeError::Unreachable { .. }) => ErrorKind::Unavailable,
        // The request may have been carried out.
        RestError::Exchange(ExchangeError::Interrupted { .. } | ExchangeError::Timeout { .. }) => ErrorKind::Timeout,
        RestError::Exchange(ExchangeError::TooLong { .. }) => ErrorKind::Broken,
        RestError::Request(_) => ErrorKind::Internal,
    };
    BackendError::new(kind, op).because(error)
}

fn parsed<T: for<'de> Deserialize<'de>>(op: &'static str, body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| {
        BackendError::new(ErrorKind::Broken, op).because(format!("a response that is not from Cloud Storage: {error}"))
    })
}

fn unexpected(op: &'static str) -> BackendError {
    BackendError::new(ErrorKind::Broken, op).because("an unexpected response")
}

/// The message of a refusal, or its text when it is not JSON.
fn message(body: &[u8]) -> String {
    let error = ApiError::read(body);
    if error.message.is_empty() { excerpt(&String::from_utf8_lossy(body)) } else { excerpt(&error.message) }
}

/// Whether the missing thing is the bucket; the status is the same.
fn is_about_the_bucket(body: &[u8]) -> bool {
    message(body).contains("bucket does not exist")
}
