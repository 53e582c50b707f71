//! Credentials and errors of Google's client crates.

use std::borrow::Borrow;

use google_cloud_auth::credentials::{Builder, Credentials, anonymous};
use google_cloud_gax::error::{Error, rpc::Code};
use url::Url;

use super::is_emulator;
use crate::{
    error::{BackendError, ErrorKind},
    http,
};

/// The credentials for an endpoint: none for `http://`, which means an emulator, so that a token never travels in the
/// clear; else the application's default credentials. Reads a file at most; the first call fetches the first token.
///
/// It also installs the process's cryptography, because every client starts with its credentials, and creating a client
/// without cryptography panics.
pub fn credentials(endpoint: Option<&Url>) -> Result<Credentials, BackendError> {
    // An error means that an earlier call has installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    if is_emulator(endpoint) {
        return Ok(anonymous::Builder::new().build());
    }
    Builder::default().build().map_err(|error| BackendError::new(ErrorKind::Broken, "gcp.credentials").because(error))
}

/// An endpoint without a final slash, as the clients require.
pub fn base(endpoint: &Url) -> &str {
    endpoint.as_str().trim_end_matches('/')
}

/// A client's error as the error of a port. It can be a shared error, because messages of one batch fail together.
pub fn failed<E>(op: &'static str, error: E) -> BackendError
where
    E: Borrow<Error> + std::error::Error + Send + Sync + 'static,
{
    let kind = kind_of(error.borrow());
    let retry_after = error.borrow().http_headers().and_then(http::retry_after);
    let mut failed = BackendError::new(kind, op).because(error);
    failed.retry_after = retry_after;
    failed
}

fn kind_of(error: &Error) -> ErrorKind {
    match (error.status().map(|status| status.code), error.http_status_code()) {
        // An HTTP response without a gRPC code: its status is more specific.
        (Some(Code::Unknown) | None, Some(status)) => kind_of_http(status),
        (Some(code), _) => kind_of_code(code),
        _ if error.is_timeout() || error.is_exhausted() => ErrorKind::Timeout,
        _ if error.is_serialization() || error.is_binding() => ErrorKind::Internal,
        _ if error.is_connect() || error.is_transient_and_before_rpc() => ErrorKind::Unavailable,
        // The response was lost: the call may have taken effect.
        _ if error.is_io() || error.is_transport() => ErrorKind::Timeout,
        _ => ErrorKind::Broken,
    }
}

/// The kind of error of a gRPC code.
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

/// The kind of error of an HTTP status.
pub fn kind_of_http(status: u16) -> ErrorKind {
    match status {
        409 | 412 => ErrorKind::AlreadyExists,
        429 | 503 => ErrorKind::Unavailable,
        408 | 500 | 502 | 504 => ErrorKind::Timeout,
        400 | 413 | 416 => ErrorKind::Internal,
        _ => ErrorKind::Broken,
    }
}
