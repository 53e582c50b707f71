//! Trying again: so often, so long, and what to say when it was for nothing.

use std::{sync::Arc, time::Duration};

use gcloud_sdk::tonic::{Code, Status};
use google_cloud_gax::error::rpc;
use tokio::time::Instant;

use crate::{
    domain::clock::Random,
    error::{BackendError, ErrorKind},
    google,
};

/// How often a write is tried. A race for one account is lost to one winner at a time.
const WRITES: u32 = 12;
/// How often a read is tried.
const READS: u32 = 4;
/// No further try begins after that long.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Waits are drawn from zero to this, doubled each time.
const BASE: Duration = Duration::from_millis(20);
/// The longest wait.
const CAP: Duration = Duration::from_secs(1);

/// Why a try came to nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// Trying again does not help.
    Final(BackendError),
    /// Nothing was written, and nothing was read that counts.
    Again(BackendError),
    /// It may have been written: the next try finds out.
    Unsure(BackendError),
}

impl From<BackendError> for Failure {
    fn from(error: BackendError) -> Self {
        Self::Final(error)
    }
}

/// The wait before the next try: anything up to the double of the longest before.
pub(super) fn jittered(random: &dyn Random, failures: u32) -> Duration {
    let ceiling = BASE.saturating_mul(1 << failures.min(16)).min(CAP);
    ceiling.mul_f64(random.unit())
}

/// The tries of one call.
pub(super) struct Tries {
    random: Arc<dyn Random>,
    failures: u32,
    most: u32,
    until: Instant,
    /// Whether a write without an answer may have happened.
    pub is_unsure: bool,
}

impl Tries {
    pub(super) fn to_write(random: &Arc<dyn Random>) -> Self {
        let random = Arc::clone(random);
        Self { random, failures: 0, most: WRITES, until: Instant::now() + TIMEOUT, is_unsure: false }
    }

    pub(super) fn to_read(random: &Arc<dyn Random>) -> Self {
        Self { most: READS, ..Self::to_write(random) }
    }

    /// Waits for the next try; the error when there is none.
    pub(super) async fn again(&mut self, failure: Failure) -> Result<(), BackendError> {
        self.failures += 1;
        let mut error = match failure {
            Failure::Final(mut error) => {
                // These two were decided by what is there now; any other error leaves open what an earlier try did.
                if self.is_unsure && !matches!(error.kind, ErrorKind::Conflict | ErrorKind::Refused) {
                    error.kind = ErrorKind::Timeout;
                }
                return Err(error);
            }
            Failure::Again(error) => error,
            Failure::Unsure(error) => {
                self.is_unsure = true;
                error
            }
        };
        let wait = jittered(&*self.random, self.failures);
        if self.failures < self.most && Instant::now() + wait < self.until {
            tokio::time::sleep(wait).await;
            return Ok(());
        }
        if self.is_unsure {
            error.kind = ErrorKind::Timeout;
        }
        Err(error)
    }
}

/// What a refused read means.
pub(super) fn read(op: &'static str, status: &Status) -> Failure {
    let error = failed(op, status);
    if error.is_transient() || status.code() == Code::Aborted { Failure::Again(error) } else { Failure::Final(error) }
}

/// What a refused write means.
pub(super) fn write(op: &'static str, status: &Status) -> Failure {
    let mut error = failed(op, status);
    match status.code() {
        // Somebody else was first: what is there now decides.
        Code::Aborted | Code::FailedPrecondition | Code::AlreadyExists | Code::NotFound => {
            error.kind = ErrorKind::Unavailable;
            Failure::Again(error)
        }
        _ if error.is_transient() => Failure::Unsure(error),
        _ => Failure::Final(error),
    }
}

/// What a status means to a caller of the port.
pub(super) fn failed(op: &'static str, status: &Status) -> BackendError {
    let kind = match status.code() {
        // A query without its index, a database in another mode: nothing that a second look can change.
        Code::FailedPrecondition => ErrorKind::Broken,
        Code::Aborted => ErrorKind::Unavailable,
        code => google::kind_of_code(rpc::Code::from(i32::from(code))),
    };
    // The status itself would print the headers of the answer, too.
    BackendError::new(kind, op).because(format!("{:?}: {}", status.code(), status.message()))
}
