//! Redrive: run a failed job again, with credits held anew.

use std::error::Error as _;

use super::Control;
use crate::{
    domain::{
        credits::{Credits, CreditsError},
        ids::JobId,
        job::{Job, Status},
    },
    error::{BackendError, ErrorKind},
    jobs::trace_id,
    store::Versioned,
};

/// How often a redrive is repeated when the job changes at the same time.
const MAX_TRIES: u32 = 4;

/// The result of a redrive.
#[derive(Debug, Clone, PartialEq)]
pub enum RedriveResult {
    /// The job is queued again: attempts from zero, a new deadline, the same id.
    Queued(Box<Versioned<Job>>),
    /// There is no such job.
    Missing,
    /// The job has not failed; nothing was changed.
    NotFailed(Status),
    /// The account cannot pay for another run; nothing was changed.
    NoCredits {
        /// The price.
        needed: Credits,
        /// The credits that are neither held nor spent.
        available: Credits,
    },
}

impl Control {
    /// Runs a failed job again, whether or not it is among the dead letters. A repeat of the original request finds it.
    ///
    /// For operators: the owner of the job is not checked.
    pub async fn redrive(&self, id: &JobId) -> Result<RedriveResult, BackendError> {
        for _ in 0..MAX_TRIES {
            let Some(found) = self.writer.store.get(id).await? else { return Ok(RedriveResult::Missing) };
            let time_limit = self.deadlines.of(found.value.kind());
            let status = found.value.status();
            let dead_letter = found.value.dead_letter();
            let Ok(next) = found.value.redrive(self.now(), time_limit, &self.policy) else {
                return Ok(RedriveResult::NotFailed(status));
            };
            // The failed run still owes this dead letter. It is published first, so that it is not lost. If the commit
            // fails, the sweeper publishes it again under the same key, which leaves one.
            if let Some(dead_letter) = dead_letter {
                self.writer.queue.record_dead_letter(&dead_letter).await?;
            }
            let number = next.job.hold.number;
            match self.writer.commit(found.version, &next).await {
                Ok(version) => {
                    let trace_id = trace_id(&next.job);
                    tracing::info!(job.id = %id, attempt = 0, trace_id, hold = number, "job redriven");
                    return Ok(RedriveResult::Queued(Box::new(Versioned { version, value: next.job })));
                }
                Err(error) if error.kind == ErrorKind::Conflict => {}
                Err(error) if error.kind == ErrorKind::Refused => return refused_hold(error),
                // The commit may have been written, and a second try would find a job that has not failed.
                Err(error) if error.kind == ErrorKind::Timeout => {
                    let written = self.writer.store.get(id).await?.filter(|now| now.value.hold.number == number);
                    return written.map(|now| RedriveResult::Queued(Box::new(now))).ok_or(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(BackendError::new(ErrorKind::Unavailable, "jobs.redrive").because("the job keeps changing"))
    }
}

fn refused_hold(error: BackendError) -> Result<RedriveResult, BackendError> {
    match error.source().and_then(|source| source.downcast_ref::<CreditsError>()) {
        Some(&CreditsError::Insufficient { needed, available }) => Ok(RedriveResult::NoCredits { needed, available }),
        _ => Err(error),
    }
}
