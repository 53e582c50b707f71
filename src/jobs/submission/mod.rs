//! Submission: validate, hold the credits, store the job, publish its message.

mod brand;
mod dataset;
mod illustration;
mod team_cache;
mod uploads;

use std::{num::NonZeroU32, sync::Arc};

pub(super) use self::team_cache::TeamCache;
pub use self::{
    dataset::{DatasetCheck, ImageChecks},
    uploads::{Spool, UploadError, UploadSettings, UploadTarget, UploadedArchive, UploadedPicture, Uploads},
};
use super::{Deadlines, claim_cache::ClaimCache, writer::JobWriter};
use crate::{
    domain::{
        Timestamp,
        brand::BrandLimits,
        clock::{Clock, Random},
        credits::{Credits, CreditsError},
        field_error::FieldError,
        ids::{JobId, RequestHash, TeamId, UserId},
        job::{self, Job, JobPolicy, Transition, Work},
        kind::JobKind,
        pricing::Prices,
        request::RequestLimits,
        style::Catalogue,
        trace::TraceContext,
    },
    error::{BackendError, ErrorKind},
    failpoint::failpoint,
    media::MediaStore,
    store::{AccountStore, Inserted, Versioned},
};

/// What clients may submit, and what it costs.
#[derive(Debug, Clone)]
pub struct SubmissionSettings {
    /// The price list.
    pub prices: Prices,
    /// The limits of a request for images.
    pub limits: RequestLimits,
    /// The styles on offer.
    pub catalogue: Catalogue,
    /// How many unfinished jobs a user may have; `None`: any number.
    pub jobs_in_flight: Option<NonZeroU32>,
    /// The limits of a training.
    pub brand_limits: BrandLimits,
    /// How long a training takes, in words for people.
    pub training_estimate: String,
    /// What may be uploaded, and how long it is kept.
    pub uploads: UploadSettings,
}

/// Accepts jobs and uploads.
pub struct Submission {
    pub(super) writer: JobWriter,
    pub(super) accounts: Arc<dyn AccountStore>,
    pub(super) media: Arc<dyn MediaStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Arc<dyn Random>,
    pub(super) claim_cache: Arc<ClaimCache>,
    pub(super) teams: TeamCache,
    pub(super) uploads: Uploads,
    pub(super) settings: SubmissionSettings,
    pub(super) policy: JobPolicy,
    pub(super) deadlines: Deadlines,
    pub(super) starting_grant: Credits,
}

/// Who submits a job, and how the request is recognised when it is repeated.
#[derive(Debug, Clone)]
pub struct Submitter {
    /// The caller, already identified.
    pub user: UserId,
    /// The caller's `Idempotency-Key`, without quotes.
    pub idempotency_key: Option<String>,
    /// The trace of the request.
    pub trace: Option<TraceContext>,
}

/// An accepted job.
#[derive(Debug, Clone)]
pub struct Submitted {
    /// The job: as accepted, or as it is by now when the request is a repeat.
    pub job: Versioned<Job>,
    /// Whether the key had been used for the same request before.
    pub replayed: bool,
}

/// Why a request was not accepted. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// Some fields are wrong; all of them are listed.
    #[error("the request has {} invalid field(s)", .0.len())]
    Invalid(Vec<FieldError>),
    /// Some training images cannot be used.
    #[error("{} of the training images are unfit", .errors.len())]
    Unfit {
        /// The unfit images.
        errors: Vec<FieldError>,
        /// The checks of all images.
        verdicts: ImageChecks,
    },
    /// The style is a brand that does not exist or that the user may not see.
    #[error("no such brand")]
    NoSuchBrand,
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
        /// The credits that are neither held nor spent.
        available: Credits,
    },
    /// The user has as many unfinished jobs as allowed.
    #[error("there are {0} unfinished jobs already")]
    TooManyJobs(NonZeroU32),
    /// A backend failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

/// The result of an insert that was not refused.
enum InsertOutcome {
    Accepted(Box<Submitted>),
    /// The user belongs to this team and not to the one that was assumed.
    OtherTeam(Option<TeamId>),
}

/// How often a submission is repeated when its user changes teams meanwhile.
const TEAM_TRIES: usize = 4;

impl Submitted {
    /// The result of a request whose id is taken: the existing job, if the same request made it.
    fn replay(job: Versioned<Job>, request_hash: &RequestHash) -> Result<Self, SubmitError> {
        if job.value.request_hash == *request_hash {
            Ok(Self { job, replayed: true })
        } else {
            Err(SubmitError::KeyReused)
        }
    }
}

impl Submission {
    /// What clients may submit.
    pub fn settings(&self) -> &SubmissionSettings {
        &self.settings
    }

    /// The files that clients upload to train a brand.
    pub fn uploads(&self) -> &Uploads {
        &self.uploads
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The id of a new job: the one that belongs to the user's key, or a random one.
    fn job_id(&self, kind: JobKind, caller: &Submitter) -> JobId {
        match &caller.idempotency_key {
            Some(key) => JobId::derived(kind, &caller.user, key),
            None => JobId::random(kind, &*self.random),
        }
    }

    /// Stores a new job with its hold and publishes its message. An id that is taken is a repeat or a mistake. `team` is an
    /// assumption, which the store corrects.
    async fn accept(
        &self,
        caller: Submitter,
        id: JobId,
        team: Option<TeamId>,
        work: Work,
        request_hash: RequestHash,
    ) -> Result<Submitted, SubmitError> {
        let now = self.now();
        let Submitter { user, trace, .. } = caller;
        let time_limit = self.deadlines.of(id.kind());
        let starting_grant = self.starting_grant;
        let mut new_job = job::NewJob { id, user, team, work, request_hash, trace, time_limit, starting_grant };
        for _ in 0..TEAM_TRIES {
            let first = Job::submit(new_job.clone(), now, &self.settings.prices, &self.policy)
                .with_max_in_flight(self.settings.jobs_in_flight);
            match self.insert(first).await? {
                InsertOutcome::Accepted(submitted) => return Ok(*submitted),
                InsertOutcome::OtherTeam(team) => {
                    self.teams.remember(&new_job.user, team.as_ref());
                    new_job.team = team;
                }
            }
        }
        Err(BackendError::new(ErrorKind::Unavailable, "jobs.submit").because("the user moves between teams").into())
    }

    async fn insert(&self, first: Transition) -> Result<InsertOutcome, SubmitError> {
        let mut inserted = self.writer.store.insert(&first).await;
        let is_unknown = matches!(&inserted, Err(error) if error.kind == ErrorKind::Timeout);
        if is_unknown {
            // Repeat under the same id. The first insert may have been written, and then "try again" would make the client
            // submit a second job.
            inserted = self.writer.store.insert(&first).await;
            if let Err(error) = &mut inserted {
                // Whatever happened to the second insert, the first may have been written.
                error.kind = ErrorKind::Timeout;
            }
        }
        let accepted = |job, replayed| InsertOutcome::Accepted(Box::new(Submitted { job, replayed }));
        match inserted? {
            Inserted::Existing(job) if is_unknown && is_same_submission(&job.value, &first.job) => {
                self.after_insert(&first, false).await;
                Ok(accepted(*job, false))
            }
            Inserted::New { version, dispatched } => {
                self.after_insert(&first, dispatched).await;
                let job = Versioned { version, value: first.job };
                self.claim_cache.insert(&job);
                Ok(accepted(job, false))
            }
            Inserted::Existing(job) => Submitted::replay(*job, &first.job.request_hash)
                .map(|submitted| InsertOutcome::Accepted(Box::new(submitted))),
            Inserted::OtherTeam(team) => Ok(InsertOutcome::OtherTeam(team)),
            Inserted::Deleted => Err(SubmitError::KeySpent),
            // The first insert may still be written, once there is room or credit again.
            Inserted::TooManyJobs | Inserted::Refused(CreditsError::Insufficient { .. }) if is_unknown => {
                Err(BackendError::new(ErrorKind::Timeout, "jobs.submit").into())
            }
            Inserted::TooManyJobs => Err(match first.max_in_flight {
                Some(max) => SubmitError::TooManyJobs(max),
                None => BackendError::new(ErrorKind::Internal, "jobs.submit").into(),
            }),
            Inserted::Refused(CreditsError::Insufficient { needed, available }) => {
                Err(SubmitError::NoCredits { needed, available })
            }
            Inserted::Refused(defect) => {
                Err(BackendError::new(ErrorKind::Internal, "jobs.submit").because(defect).into())
            }
        }
    }

    async fn after_insert(&self, first: &Transition, is_dispatched: bool) {
        failpoint("after_insert");
        self.writer.publish(first.dispatch.as_ref(), is_dispatched).await;
        failpoint("after_publish");
        let job = &first.job;
        let (attempt, credits) = (job.attempt(), job.hold.amount());
        tracing::info!(job.id = %job.id, attempt, user = %job.user, credits, "job accepted");
    }
}

/// Whether the stored job comes from this very insert, whatever has happened to it since.
fn is_same_submission(stored: &Job, first: &Job) -> bool {
    stored.request_hash == first.request_hash && stored.created_at == first.created_at
}
