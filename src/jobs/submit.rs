//! Submit: validate, hold the credits, store the job, publish its message.

use std::num::NonZeroU32;

use super::{
    Jobs, JobsConfig,
    query::{is_visible, style_of},
    train::ImageChecks,
};
use crate::{
    domain::{
        credits::{Credits, CreditsError},
        field_error::FieldError,
        ids::{JobId, RequestHash, TeamId, UserId},
        job::{Job, Submission, Transition, Work},
        kind::JobKind,
        request::{GenerateRequest, IllustrationSpec},
        trace::TraceContext,
    },
    error::{BackendError, ErrorKind},
    failpoint::failpoint,
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
    /// Training images are unfit; there is a verdict on each.
    #[error("{} of the training images are unfit", .errors.len())]
    Unfit {
        /// The unfit ones.
        errors: Vec<FieldError>,
        /// On all of them.
        verdicts: ImageChecks,
    },
    /// The style is a brand that does not exist, or is not theirs.
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
        /// What the account has free.
        available: Credits,
    },
    /// The user has as many unfinished jobs as anybody may have.
    #[error("there are {0} unfinished jobs already")]
    TooManyJobs(NonZeroU32),
    /// A backend failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

/// What came of an insert that was not refused.
enum Accepted {
    As(Box<Submitted>),
    /// The user is in this team.
    OtherTeam(Option<TeamId>),
}

/// How often a submission follows its user from team to team.
const TEAM_TRIES: usize = 4;

impl Submitted {
    /// The answer to a request whose id is taken: the job there, when it was made by the same request.
    pub(super) fn again(job: Versioned<Job>, request_hash: &RequestHash) -> Result<Self, SubmitError> {
        if job.value.request_hash == *request_hash {
            Ok(Self { job, replayed: true })
        } else {
            Err(SubmitError::KeyReused)
        }
    }
}

impl Jobs {
    /// Accepts a request for pictures: when this returns `Ok`, the job and its hold are durable.
    pub async fn submit_illustration(&self, submit: SubmitIllustration) -> Result<Submitted, SubmitError> {
        let SubmitIllustration { user, request, idempotency_key, trace } = submit;
        let spec = self.drawable(&user, &request).await?;
        let team = self.teams.presumed(&user);
        let config = &self.config;
        let submission = Submission {
            id: self.job_id(JobKind::Illustration, &user, idempotency_key.as_deref()),
            request_hash: spec.hash(&user),
            user,
            team,
            work: Work::Illustration(spec),
            trace,
            time_limit: config.illustration_deadline,
            starting_grant: config.starting_grant,
        };
        self.accept(submission).await
    }

    /// A fresh id, or the one that belongs to the user's key.
    pub(super) fn job_id(&self, kind: JobKind, user: &UserId, key: Option<&str>) -> JobId {
        match key {
            Some(key) => JobId::derived(kind, user, key),
            None => JobId::random(kind, &*self.ports.random),
        }
    }

    /// Stores a new job with its hold and publishes its message; an id that is taken is a repeat, or a mistake. The
    /// submission's team is a presumption: the store knows better, and says so.
    pub(super) async fn accept(&self, mut submission: Submission) -> Result<Submitted, SubmitError> {
        let now = self.now();
        for _ in 0..TEAM_TRIES {
            let first = Job::submit(submission.clone(), now, &self.config.prices, &self.config.policy)
                .with_max_in_flight(self.config.jobs_in_flight);
            match self.insert(first).await? {
                Accepted::As(submitted) => return Ok(*submitted),
                Accepted::OtherTeam(team) => {
                    self.teams.learn(&submission.user, team.as_ref());
                    submission.team = team;
                }
            }
        }
        Err(BackendError::new(ErrorKind::Unavailable, "jobs.submit").because("the user moves between teams").into())
    }

    async fn insert(&self, first: Transition) -> Result<Accepted, SubmitError> {
        let mut inserted = self.ports.store.insert(&first).await;
        let is_unknown = matches!(&inserted, Err(error) if error.kind == ErrorKind::Timeout);
        if is_unknown {
            // Asked again under the same id: to answer "try again" for a job that is there would make it two.
            inserted = self.ports.store.insert(&first).await;
            if let Err(error) = &mut inserted {
                // Whatever this one says of itself, the job may be there by the first.
                error.kind = ErrorKind::Timeout;
            }
        }
        match inserted? {
            Inserted::Existing(job) if is_unknown && is_same(&job.value, &first.job) => {
                self.accepted(&first, false).await;
                Ok(Accepted::As(Box::new(Submitted { job: *job, replayed: false })))
            }
            Inserted::New { version, dispatched } => {
                self.accepted(&first, dispatched).await;
                let job = Versioned { version, value: first.job };
                self.claim_cache.remember(&job);
                Ok(Accepted::As(Box::new(Submitted { job, replayed: false })))
            }
            Inserted::Existing(job) => {
                Submitted::again(*job, &first.job.request_hash).map(|again| Accepted::As(Box::new(again)))
            }
            Inserted::OtherTeam(team) => Ok(Accepted::OtherTeam(team)),
            Inserted::Deleted => Err(SubmitError::KeySpent),
            // The first may still be written, when there is room for it again.
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

    async fn accepted(&self, first: &Transition, dispatched: bool) {
        failpoint("after_insert");
        self.publish_unless(dispatched, first.dispatch.as_ref()).await;
        failpoint("after_publish");
        let job = &first.job;
        let (attempt, credits) = (job.attempt(), job.hold.amount());
        tracing::info!(job.id = %job.id, attempt, user = %job.user, credits, "job accepted");
    }

    /// What to draw. Nothing is read, but to draw in a brand.
    async fn drawable(&self, user: &UserId, request: &GenerateRequest) -> Result<IllustrationSpec, SubmitError> {
        let JobsConfig { limits, catalogue, .. } = &self.config;
        let named = request.style_id.as_deref().filter(|id| catalogue.find(id).is_none());
        let Some(brand) = named.filter(|id| id.starts_with(JobKind::Brand.id_prefix())) else {
            return request.validate(limits, catalogue, None).map_err(SubmitError::Invalid);
        };
        let team = self.ports.accounts.team_of(user).await?;
        let id = brand.parse::<JobId>().map_err(|_| SubmitError::NoSuchBrand)?;
        let job = self.ports.store.get(&id).await?.map(|job| job.value);
        let job = job.filter(|job| is_visible(job, user, team.as_ref())).ok_or(SubmitError::NoSuchBrand)?;
        let style = style_of(&job);
        match (request.validate(limits, catalogue, style.as_ref()), style) {
            (Ok(spec), Some(_)) => Ok(spec),
            (Err(errors), Some(_)) => Err(SubmitError::Invalid(errors)),
            (checked, None) => {
                let mut errors = checked.err().unwrap_or_default();
                errors.retain(|error| error.pointer != "/styleId");
                let status = job.status().shown_as(job.kind());
                errors
                    .push(FieldError::new("styleId", format!("this brand is {status}; only a ready one can be used")));
                Err(SubmitError::Invalid(errors))
            }
        }
    }
}

/// Whether what is stored is what was to be inserted, whatever has become of it since.
fn is_same(stored: &Job, first: &Job) -> bool {
    stored.request_hash == first.request_hash && stored.created_at == first.created_at
}
