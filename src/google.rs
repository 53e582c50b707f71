//! What every client of Google Cloud here has in common: credentials, and what an error means.

pub mod token;

use std::time::Duration;

use google_cloud_auth::credentials::{Builder, Credentials, anonymous};
use google_cloud_gax::error::{Error, rpc::Code};
use url::Url;

use crate::error::{BackendError, ErrorKind};

/// The credentials for an endpoint: none for an emulator, which is what `http://` stands for, so that no token ever
/// travels in the clear; else the application's default ones. Reads a file at most; the first token is fetched with the
/// first call.
pub fn credentials(endpoint: Option<&Url>) -> Result<Credentials, BackendError> {
    if is_emulator(endpoint) {
        return Ok(anonymous::Builder::new().build());
    }
    Builder::default().build().map_err(|error| BackendError::new(ErrorKind::Broken, "gcp.credentials").because(error))
}

/// Whether an endpoint is an emulator's.
pub fn is_emulator(endpoint: Option<&Url>) -> bool {
    endpoint.is_some_and(|url| url.scheme() == "http")
}

/// An endpoint as the clients want it: without a slash at its end.
pub fn base(endpoint: &Url) -> &str {
    endpoint.as_str().trim_end_matches('/')
}

/// What a client's error means to a caller of the port.
pub fn failed(op: &'static str, error: Error) -> BackendError {
    let kind = match (error.status().map(|status| status.code), error.http_status_code()) {
        (Some(code), _) => kind_of_code(code),
        (None, Some(status)) => kind_of_http(status),
        _ if error.is_timeout() || error.is_exhausted() => ErrorKind::Timeout,
        _ if error.is_serialization() || error.is_binding() => ErrorKind::Internal,
        _ if error.is_connect() || error.is_transient_and_before_rpc() => ErrorKind::Unavailable,
        // The answer was lost: what was asked for may have happened.
        _ if error.is_io() || error.is_transport() => ErrorKind::Timeout,
        _ => ErrorKind::Broken,
    };
    let retry_after = retry_after(&error);
    let mut failed = BackendError::new(kind, op).because(error);
    failed.retry_after = retry_after;
    failed
}

/// What a code of gRPC means.
pub fn kind_of_code(code: Code) -> ErrorKind {
    match code {
        Code::Aborted | Code::FailedPrecondition => ErrorKind::Conflict,
        Code::AlreadyExists => ErrorKind::AlreadyExists,
        Code::Unavailable | Code::ResourceExhausted => ErrorKind::Unavailable,
        Code::DeadlineExceeded | Code::Cancelled | Code::Unknown | Code::Internal => ErrorKind::Timeout,
        Code::InvalidArgument | Code::OutOfRange => ErrorKind::Internal,
        // No such database, topic or bucket; no permission; no such method.
        _ => ErrorKind::Broken,
    }
}

fn kind_of_http(status: u16) -> ErrorKind {
    match status {
        409 | 412 => ErrorKind::AlreadyExists,
        429 | 503 => ErrorKind::Unavailable,
        408 | 500 | 502 | 504 => ErrorKind::Timeout,
        400 | 413 | 416 => ErrorKind::Internal,
        _ => ErrorKind::Broken,
    }
}

fn retry_after(error: &Error) -> Option<Duration> {
    let seconds = error.http_headers()?.get("retry-after")?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}
