//! The use cases: what the gateway and the worker do with jobs, over the ports and by the rules of the domain.

mod archives;
pub mod attempt;
mod backends;
mod breakers;
mod cancel;
mod checks;
mod claim;
mod claim_cache;
mod delete;
mod intake;
mod orphans;
mod query;
mod redrive;
mod retention;
mod run_work;
mod settle;
mod submit;
mod sweep;
mod teams;
mod train;
mod training;
mod uploads;
mod with_timeout;

use std::{num::NonZeroU32, sync::Arc, time::Duration};

pub use archives::{Spool, Unpacked};
pub use attempt::{AttemptSettings, Outcome};
pub use breakers::BreakerStatus;
pub use claim::{Claim, Claimed};
pub use delete::Deletion;
pub use query::BrandStyle;
pub use redrive::Redriven;
pub use submit::{SubmitError, SubmitIllustration, Submitted};
pub use sweep::Swept;
pub use train::{Examined, ImageChecks, SubmitBrand};
pub use uploads::{UploadError, UploadRules, UploadTarget, Uploaded};

use crate::{
    domain::{
        Timestamp,
        brand::BrandLimits,
        breaker::BreakerPolicy,
        clock::{Clock, Random},
        credits::Credits,
        job::{Dispatch, Job, JobPolicy, Transition},
        pricing::Prices,
        request::RequestLimits,
        style::Catalogue,
        trace::TraceContext,
    },
    engine::{BrandTrainer, ImageEngine},
    error::{BackendError, ErrorKind},
    failpoint::failpoint,
    media::MediaStore,
    queue::JobQueue,
    store::{AccountStore, Committed, JobStore, Version},
};

/// The rules of the house, from the configuration.
#[derive(Debug, Clone)]
pub struct JobsConfig {
    /// Attempts, backoff and the other numbers of a job's life.
    pub policy: JobPolicy,
    /// The price list.
    pub prices: Prices,
    /// What a request may ask for.
    pub limits: RequestLimits,
    /// The styles on offer.
    pub catalogue: Catalogue,
    /// What a new account begins with.
    pub starting_grant: Credits,
    /// Unfinished jobs that a user may have at once; `None`: any number.
    pub jobs_in_flight: Option<NonZeroU32>,
    /// How long an illustration may take in all.
    pub illustration_deadline: Duration,
    /// What a training may be made of.
    pub brand_limits: BrandLimits,
    /// How long a training may take in all.
    pub training_deadline: Duration,
    /// How long people are told that a training takes, in words.
    pub training_estimate: String,
    /// What may be uploaded, and for how long it is kept.
    pub uploads: UploadRules,
    /// How long a finished job is kept with its pictures; absent: for ever.
    pub retention: Option<Duration>,
    /// When an engine is left alone.
    pub breaker: BreakerPolicy,
    /// How long backends may take.
    pub timeouts: Timeouts,
}

/// How long a backend may take to answer one call before it counts as silent; [`Duration::MAX`] sets no limit and no timer,
/// for tests whose time is paused: it would jump to the limit while a real backend works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// The store and the queue.
    pub backend: Duration,
    /// The media store.
    pub media: Duration,
}

/// What the use cases work with.
pub struct Ports {
    /// Jobs.
    pub store: Arc<dyn JobStore>,
    /// Accounts, the ledger and teams.
    pub accounts: Arc<dyn AccountStore>,
    /// Messages to workers.
    pub queue: Arc<dyn JobQueue>,
    /// Pictures.
    pub media: Arc<dyn MediaStore>,
    /// What draws.
    pub engine: Arc<dyn ImageEngine>,
    /// What trains brands.
    pub trainer: Arc<dyn BrandTrainer>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
}

/// The use cases.
pub struct Jobs {
    ports: Ports,
    config: JobsConfig,
    uploads: uploads::Uploads,
    teams: teams::Teams,
    claim_cache: claim_cache::ClaimCache,
    breakers: Arc<breakers::Breakers>,
    checks: checks::Checks,
}

impl Jobs {
    /// The use cases over these ports, by these rules.
    pub fn new(ports: Ports, config: JobsConfig) -> Self {
        let breakers = Arc::new(breakers::Breakers::new(config.breaker, Arc::clone(&ports.clock)));
        let ports = with_timeout::with_timeouts(ports, config.timeouts);
        Self {
            ports,
            config,
            uploads: uploads::Uploads::default(),
            teams: teams::Teams::default(),
            claim_cache: claim_cache::ClaimCache::default(),
            breakers,
            checks: checks::Checks::default(),
        }
    }

    /// The rules they go by.
    pub fn config(&self) -> &JobsConfig {
        &self.config
    }

    /// The ports they use, each call within the rules' timeouts.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    fn now(&self) -> Timestamp {
        self.ports.clock.now()
    }

    /// Commits a transition and, where the store has not done so, publishes its message.
    async fn commit(&self, expected: Version, next: &Transition) -> Result<Version, BackendError> {
        let Committed { version, dispatched } = self.ports.store.commit(expected, next).await?;
        self.publish_unless(dispatched, next.dispatch.as_ref()).await;
        Ok(version)
    }

    /// As [`Jobs::commit`], for whoever has more to do once it is written: when the answer is lost, the job tells.
    async fn commit_or_find(&self, expected: Version, next: &Transition) -> Result<Version, BackendError> {
        let error = match self.commit(expected, next).await {
            Err(error) if error.kind == ErrorKind::Timeout => error,
            known => return known,
        };
        let now = self.ports.store.get(&next.job.id).await?;
        let Some(now) = now.filter(|now| now.version.0 == expected.0 + 1 && now.value == next.job) else {
            return Err(error);
        };
        self.publish_unless(false, next.dispatch.as_ref()).await;
        Ok(now.version)
    }

    /// Store first, then publish: when this publish is lost the job's `due_at` brings the sweeper, so the failure is
    /// logged and not passed on.
    async fn publish_unless(&self, dispatched: bool, dispatch: Option<&Dispatch>) {
        failpoint("before_publish");
        let Some(dispatch) = dispatch.filter(|_| !dispatched) else { return };
        if let Err(error) = self.ports.queue.publish(dispatch).await {
            tracing::warn!(job.id = %dispatch.message.job_id, %error, "publish failed; the sweeper will publish again");
        }
    }
}

/// What ties the sweeper's lines about a job to the others.
fn span(job: &Job) -> tracing::Span {
    tracing::info_span!("sweep", job.id = %job.id, attempt = job.attempt(), trace_id = trace_id(job))
}

fn trace_id(job: &Job) -> Option<String> {
    job.trace.as_ref().map(TraceContext::trace_id)
}
