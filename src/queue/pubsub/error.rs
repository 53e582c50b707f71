//! What Pub/Sub's errors mean, and what an operator can do about them.

use std::borrow::Borrow;

use google_cloud_gax::{
    client_builder,
    error::{Error, rpc::Code},
};

use crate::{
    error::{BackendError, ErrorKind},
    google,
};

/// Why a topic or subscription could not be looked at or changed.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// The account that runs this may not.
    #[error("{what}: permission denied: {source}")]
    Denied {
        /// What was tried, for example `cannot create topic projects/p/topics/t`.
        what: String,
        /// The role that would allow it, on the project.
        role: &'static str,
        /// What the service said.
        source: Box<Error>,
    },
    /// Something else.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

/// What a failed call means; of one that lacks its topic, its subscription or a permission it says what to do.
pub(super) fn explained<E>(op: &'static str, what: &str, role: &str, error: E) -> BackendError
where
    E: Borrow<Error> + std::error::Error + Send + Sync + 'static,
{
    match code(error.borrow()) {
        Some(Code::NotFound) => broken(op, missing(what)),
        Some(Code::PermissionDenied) => broken(op, denied(what, role, &error)),
        _ => google::failed(op, error),
    }
}

/// The same of a call by the other client.
pub(super) fn explained_status(op: &'static str, what: &str, role: &str, status: tonic::Status) -> BackendError {
    match status.code() {
        tonic::Code::NotFound => broken(op, missing(what)),
        tonic::Code::PermissionDenied => broken(op, denied(what, role, &status)),
        code => BackendError::new(google::kind_of_code(Code::from(i32::from(code))), op).because(status),
    }
}

/// The code, also of an answer that has an HTTP status alone.
pub(super) fn code(error: &Error) -> Option<Code> {
    match (error.status(), error.http_status_code()) {
        (Some(status), _) => Some(status.code),
        (None, Some(404)) => Some(Code::NotFound),
        (None, Some(403)) => Some(Code::PermissionDenied),
        (None, Some(409)) => Some(Code::AlreadyExists),
        _ => None,
    }
}

/// A client that could not be made.
pub(super) fn unbuilt(op: &'static str, error: client_builder::Error) -> BackendError {
    BackendError::new(ErrorKind::Broken, op).because(error)
}

fn missing(what: &str) -> String {
    format!("{what} does not exist; `mediaforge provision` creates it")
}

fn denied(what: &str, role: &str, error: &dyn std::error::Error) -> String {
    format!("{what}: permission denied; grant {role} to the service account of this process: {error}")
}

fn broken(op: &'static str, why: String) -> BackendError {
    BackendError::new(ErrorKind::Broken, op).because(why)
}
