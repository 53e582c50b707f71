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

/// The credentials for an endpoint: none for an emulator, which is what `http://` stands for, so that no token ever
/// travels in the clear; else the application's default ones. Reads a file at most; the first token is fetched with the
/// first call.
///
/// Every client begins with its credentials, so this is also where the process gets its cryptography: without it a client
/// panics when it is made, an emulator's too.
pub fn credentials(endpoint: Option<&Url>) -> Result<Credentials, BackendError> {
    // A second call finds it chosen: that is no error.
    let _ = rustls::crypto::ring::default_provider().install_default();
    if is_emulator(endpoint) {
        return Ok(anonymous::Builder::new().build());
    }
    Builder::default().build().map_err(|error| BackendError::new(ErrorKind::Broken, "gcp.credentials").because(error))
}

/// An endpoint as the clients want it: without a slash at its end.
pub fn base(endpoint: &Url) -> &str {
    endpoint.as_str().trim_end_matches('/')
}

/// What a client's error means to a caller of the port. It may be shared: those whose messages travelled together fail
/// together.
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
        // An answer over HTTP that names no code of gRPC: its status says more.
        (Some(Code::Unknown) | None, Some(status)) => kind_of_http(status),
        (Some(code), _) => kind_of_code(code),
        _ if error.is_timeout() || error.is_exhausted() => ErrorKind::Timeout,
        _ if error.is_serialization() || error.is_binding() => ErrorKind::Internal,
        _ if error.is_connect() || error.is_transient_and_before_rpc() => ErrorKind::Unavailable,
        // The answer was lost: what was asked for may have happened.
        _ if error.is_io() || error.is_transport() => ErrorKind::Timeout,
        _ => ErrorKind::Broken,
    }
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

/// What a status of HTTP means.
pub fn kind_of_http(status: u16) -> ErrorKind {
    match status {
        409 | 412 => ErrorKind::AlreadyExists,
        429 | 503 => ErrorKind::Unavailable,
        408 | 500 | 502 | 504 => ErrorKind::Timeout,
        400 | 413 | 416 => ErrorKind::Internal,
        _ => ErrorKind::Broken,
    }
}
