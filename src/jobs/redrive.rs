//! Redrive: run a failed job again, with credits held anew.

use std::error::Error as _;

use super::Jobs;
use crate::{
    domain::{
        credits::{Credits, CreditsError},
        ids::JobId,
        job::{Job, Status},
        kind::JobKind,
    },
    error::{BackendError, ErrorKind},
    store::Versioned,
};

/// How often a redrive races with other writes before it gives up.
const ROUNDS: u32 = 4;

/// What came of a redrive.
#[derive(Debug, Clone, PartialEq)]
pub enum Redriven {
    /// It is queued again: attempts from zero, a new deadline, the same id.
    Queued(Box<Versioned<Job>>),
    /// There is no such job.
    Missing,
    /// It has not failed; nothing was changed.
    NotFailed(Status),
    /// The account cannot pay for another run; nothing was changed.
    NoCredits {
        /// The price.
        needed: Credits,
        /// What the account has free.
        available: Credits,
    },
}

impl Jobs {
    /// Runs a failed job again, whether or not it is among the dead letters. A repeat of the request that made it finds it.
    ///
    /// For operators: nobody is asked whose job it is.
    pub async fn redrive(&self, id: &JobId) -> Result<Redriven, BackendError> {
        for _ in 0..ROUNDS {
            let Some(found) = self.ports.store.get(id).await? else { return Ok(Redriven::Missing) };
            let time_limit = match found.value.kind() {
                JobKind::Illustration => self.config.illustration_deadline,
                JobKind::Brand => self.config.training_deadline,
            };
            let status = found.value.status();
            let dead_letter = found.value.dead_letter();
            let Ok(next) = found.value.redrive(self.now(), time_limit, &self.config.policy) else {
                return Ok(Redriven::NotFailed(status));
            };
            // Owed for the run that failed. Published first, so that it is not lost; should the rest come to nothing, the
            // sweeper publishes it again under the same key, which leaves one.
            if let Some(dead_letter) = dead_letter {
                self.ports.queue.dead_letter(&dead_letter).await?;
            }
            let number = next.job.hold.number;
            match self.commit(found.version, &next).await {
                Ok(version) => {
                    let trace_id = super::trace_id(&next.job);
                    tracing::info!(job.id = %id, attempt = 0, trace_id, hold = number, "job redriven");
                    return Ok(Redriven::Queued(Box::new(Versioned { version, value: next.job })));
                }
                Err(error) if error.kind == ErrorKind::Conflict => {}
                Err(error) if error.kind == ErrorKind::Refused => return unpaid(error),
                // It may have been written all the same: a second try would find a job that has not failed.
                Err(error) if error.kind == ErrorKind::Timeout => {
                    let written = self.ports.store.get(id).await?.filter(|now| now.value.hold.number == number);
                    return written.map(|now| Redriven::Queued(Box::new(now))).ok_or(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(BackendError::new(ErrorKind::Unavailable, "jobs.redrive").because("the job keeps changing"))
    }
}

fn unpaid(error: BackendError) -> Result<Redriven, BackendError> {
    match error.source().and_then(|source| source.downcast_ref::<CreditsError>()) {
        Some(&CreditsError::Insufficient { needed, available }) => Ok(Redriven::NoCredits { needed, available }),
        _ => Err(error),
    }
}
