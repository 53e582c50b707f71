//! Submit: validate, hold the credits, store the job, publish its message.

use super::Jobs;
use crate::{
    domain::{
        credits::{Credits, CreditsError},
        ids::{JobId, UserId},
        job::{Job, JobKind, Submission, Transition, Work},
        request::{FieldError, GenerateRequest},
        trace::TraceContext,
    },
    error::{BackendError, ErrorKind},
    store::{Inserted, Versioned},
};

/// A request for pictures.
#[derive(Debug, Clone)]
pub struct SubmitIllustration {
    /// Who asks; already identified.
    pub user: UserId,
    /// What they ask for.
    pub request: GenerateRequest,
    /// The caller's `Idempotency-Key`, without quotes.
    pub idempotency_key: Option<String>,
    /// The trace of the request.
    pub trace: Option<TraceContext>,
}

/// An accepted job.
#[derive(Debug, Clone)]
pub struct Submitted {
    /// The job, as first accepted or as it is by now.
    pub job: Versioned<Job>,
    /// Whether the key had been used for the same request before.
    pub replayed: bool,
}

/// Why a request was not accepted. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// Fields are wrong; all of them are named.
    #[error("the request has {} invalid field(s)", .0.len())]
    Invalid(Vec<FieldError>),
    /// The key was used for another request.
    #[error("this Idempotency-Key was used for another request")]
    KeyReused,
    /// The key's job was deleted.
    #[error("the job made with this Idempotency-Key was deleted")]
    KeySpent,
    /// The account cannot pay.
    #[error("{needed} credits needed, {available} available")]
    NoCredits {
        /// The price.
        needed: Credits,
        /// What the account has free.
        available: Credits,
    },
    /// A backend failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

impl Jobs {
    /// Accepts a request for pictures: when this returns `Ok`, the job and its hold are durable.
    pub async fn submit_illustration(&self, submit: SubmitIllustration) -> Result<Submitted, SubmitError> {
        let SubmitIllustration { user, request, idempotency_key, trace } = submit;
        let rules = &self.rules;
        let spec = request.validate(&rules.limits, &rules.catalogue, None).map_err(SubmitError::Invalid)?;
        let id = match &idempotency_key {
            Some(key) => JobId::derived(JobKind::Illustration, &user, key),
            None => JobId::random(JobKind::Illustration, &*self.ports.random),
        };
        let request_hash = spec.hash(&user);
        let submission = Submission {
            id,
            user,
            team: None,
            work: Work::Illustration(spec),
            request_hash: request_hash.clone(),
            trace,
            time_limit: rules.illustration_deadline,
            starting_grant: rules.starting_grant,
        };
        let first = Job::submit(submission, self.now(), &rules.prices, &rules.policy);
        let mut inserted = self.ports.store.insert(&first).await;
        let is_unknown = matches!(&inserted, Err(error) if error.kind == ErrorKind::Timeout);
        if is_unknown {
            // Asked again under the same id: to answer "try again" for a job that is there would make it two.
            inserted = self.ports.store.insert(&first).await;
        }
        match inserted? {
            Inserted::Existing(job) if is_unknown && is_same(&job.value, &first.job) => {
                self.accepted(&first, false).await;
                Ok(Submitted { job: *job, replayed: false })
            }
            Inserted::New { version, dispatched } => {
                self.accepted(&first, dispatched).await;
                Ok(Submitted { job: Versioned { version, value: first.job }, replayed: false })
            }
            Inserted::Existing(job) if job.value.request_hash == request_hash => {
                Ok(Submitted { job: *job, replayed: true })
            }
            Inserted::Existing(_) => Err(SubmitError::KeyReused),
            Inserted::Deleted => Err(SubmitError::KeySpent),
            Inserted::Refused(CreditsError::Insufficient { needed, available }) => {
                Err(SubmitError::NoCredits { needed, available })
            }
            Inserted::Refused(defect) => {
                Err(BackendError::new(ErrorKind::Internal, "jobs.submit").because(defect).into())
            }
        }
    }

    async fn accepted(&self, first: &Transition, dispatched: bool) {
        self.publish_unless(dispatched, first.dispatch.as_ref()).await;
        let job = &first.job;
        let (attempt, credits) = (job.attempt(), job.hold.amount());
        tracing::info!(job.id = %job.id, attempt, user = %job.user, credits, "job accepted");
    }
}

/// Whether what is stored is what was to be inserted, whatever has become of it since.
fn is_same(stored: &Job, first: &Job) -> bool {
    stored.request_hash == first.request_hash && stored.created_at == first.created_at
}
