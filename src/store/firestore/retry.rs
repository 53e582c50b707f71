//! Retries of a call: how often, how long, and the error when they fail.

use std::{sync::Arc, time::Duration};

use gcloud_sdk::tonic::{Code, Status};
use google_cloud_gax::error::rpc;
use tokio::time::Instant;

use crate::{
    domain::clock::Random,
    error::{BackendError, ErrorKind},
    google,
};

/// Attempts of a write. In a race for one account, each round has one winner.
const WRITE_ATTEMPTS: u32 = 12;
/// Attempts of a read.
const READ_ATTEMPTS: u32 = 4;
/// No further attempt starts after this time.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The bound of the first wait; it doubles with each attempt.
const BASE: Duration = Duration::from_millis(20);
/// The longest wait.
const CAP: Duration = Duration::from_secs(1);

/// Why an attempt failed.
#[derive(Debug)]
pub(super) enum AttemptError {
    /// A retry does not help.
    Final(BackendError),
    /// Nothing was written: retry.
    Retry(BackendError),
    /// The write may have happened: the next attempt finds out.
    Uncertain(BackendError),
}

impl From<BackendError> for AttemptError {
    fn from(error: BackendError) -> Self {
        Self::Final(error)
    }
}

/// The wait before the next attempt: random, up to a bound that doubles with each failure.
pub(super) fn jittered(random: &dyn Random, failures: u32) -> Duration {
    let ceiling = BASE.saturating_mul(1 << failures.min(16)).min(CAP);
    ceiling.mul_f64(random.unit())
}

/// The attempts of one call.
pub(super) struct Retries {
    random: Arc<dyn Random>,
    failures: u32,
    max_attempts: u32,
    until: Instant,
    /// Whether a write without an answer may have happened.
    pub is_uncertain: bool,
}

impl Retries {
    pub(super) fn for_write(random: &Arc<dyn Random>) -> Self {
        let random = Arc::clone(random);
        Self { random, failures: 0, max_attempts: WRITE_ATTEMPTS, until: Instant::now() + TIMEOUT, is_uncertain: false }
    }

    pub(super) fn for_read(random: &Arc<dyn Random>) -> Self {
        Self { max_attempts: READ_ATTEMPTS, ..Self::for_write(random) }
    }

    /// Waits before the next attempt; returns the error when there is none.
    pub(super) async fn retry(&mut self, failure: AttemptError) -> Result<(), BackendError> {
        self.failures += 1;
        let mut error = match failure {
            AttemptError::Final(mut error) => {
                // The current state decides these two kinds; any other error leaves open what an earlier attempt did.
                if self.is_uncertain && !matches!(error.kind, ErrorKind::Conflict | ErrorKind::Refused) {
                    error.kind = ErrorKind::Timeout;
                }
                return Err(error);
            }
            AttemptError::Retry(error) => error,
            AttemptError::Uncertain(error) => {
                self.is_uncertain = true;
                error
            }
        };
        let wait = jittered(&*self.random, self.failures);
        if self.failures < self.max_attempts && Instant::now() + wait < self.until {
            tokio::time::sleep(wait).await;
            return Ok(());
        }
        if self.is_uncertain {
            error.kind = ErrorKind::Timeout;
        }
        Err(error)
    }
}

/// The error of a read that the server refused.
pub(super) fn read(op: &'static str, status: &Status) -> AttemptError {
    let error = failed(op, status);
    if error.is_transient() || status.code() == Code::Aborted {
        AttemptError::Retry(error)
    } else {
        AttemptError::Final(error)
    }
}

/// The error of a write that the server refused.
pub(super) fn write(op: &'static str, status: &Status) -> AttemptError {
    let mut error = failed(op, status);
    match status.code() {
        // Another writer was first: the next attempt reads the current state.
        Code::Aborted | Code::FailedPrecondition | Code::AlreadyExists | Code::NotFound => {
            error.kind = ErrorKind::Unavailable;
            AttemptError::Retry(error)
        }
        _ if error.is_transient() => AttemptError::Uncertain(error),
        _ => AttemptError::Final(error),
    }
}

/// The error of the port for a status.
pub(super) fn failed(op: &'static str, status: &Status) -> BackendError {
    let kind = match status.code() {
        // A query without its index, or a database in another mode: a retry cannot help.
        Code::FailedPrecondition => ErrorKind::Broken,
        Code::Aborted => ErrorKind::Unavailable,
        code => google::kind_of_code(rpc::Code::from(i32::from(code))),
    };
    // The status itself would also print the response headers.
    BackendError::new(kind, op).because(format!("{:?}: {}", status.code(), status.message()))
}
