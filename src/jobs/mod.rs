//! The use cases: everything that clients, workers and operators do with jobs, on top of the ports and the domain.
//!
//! | type | does | used by |
//! |---|---|---|
//! | [`Submission`] | accepts jobs and uploads | gateway |
//! | [`Queries`] | reads jobs, styles and accounts | gateway |
//! | [`Control`] | cancels, deletes and redrives | gateway, operators |
//! | [`Execution`] | claims and runs jobs | worker |
//! | [`Maintenance`] | sweeps overdue and expired things | worker |

mod breakers;
mod claim_cache;
mod cleanup;
mod control;
mod execution;
mod maintenance;
mod queries;
mod readiness;
mod submission;
mod visibility;
mod with_timeout;
mod writer;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

pub use breakers::BreakerStatus;
pub use control::{Control, DeleteResult, RedriveResult};
pub use execution::{AttemptOutcome, AttemptSettings, Claim, ClaimResult, Execution};
pub use maintenance::{Maintenance, SweepReport};
pub use queries::{BrandStyle, Queries};
pub use readiness::Readiness;
pub use submission::{
    DatasetCheck, ImageChecks, Spool, Submission, SubmissionSettings, SubmitError, Submitted, Submitter, UploadError,
    UploadSettings, UploadTarget, UploadedArchive, UploadedPicture, Uploads,
};

use self::{
    breakers::Breakers, claim_cache::ClaimCache, cleanup::Cleanup, execution::EngineChecks, submission::TeamCache,
    visibility::VisibleJobs, writer::JobWriter,
};
use crate::{
    domain::{
        Timestamp,
        breaker::BreakerPolicy,
        clock::{Clock, Random},
        credits::Credits,
        job::{Job, JobPolicy},
        kind::JobKind,
        trace::TraceContext,
    },
    engine::{BrandTrainer, ImageEngine},
    media::MediaStore,
    queue::JobQueue,
    store::{AccountStore, JobStore},
};

/// The settings of all use cases.
#[derive(Debug, Clone)]
pub struct JobsConfig {
    /// Attempts, backoff and the other numbers of a job's life.
    pub policy: JobPolicy,
    /// How long a job may take in all.
    pub deadlines: Deadlines,
    /// The credits of a new account.
    pub starting_grant: Credits,
    /// What clients may submit.
    pub submission: SubmissionSettings,
    /// How long a finished job is kept with its pictures; `None`: for ever.
    pub retention: Option<Duration>,
    /// When calls to a failing engine are paused.
    pub breaker: BreakerPolicy,
    /// How long backends may take.
    pub timeouts: Timeouts,
}

/// How long a job of each kind may take, from its submission to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// An illustration.
    pub illustration: Duration,
    /// The training of a brand.
    pub training: Duration,
}

impl Deadlines {
    fn of(self, kind: JobKind) -> Duration {
        match kind {
            JobKind::Illustration => self.illustration,
            JobKind::Brand => self.training,
        }
    }
}

/// How long a backend may take to answer one call before the call fails with `Timeout`. [`Duration::MAX`] sets no limit and
/// no timer, for tests with paused time: paused time would jump to the limit while a real backend works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// The store and the queue.
    pub backend: Duration,
    /// The media store.
    pub media: Duration,
}

/// The ports that the use cases work with.
pub struct Ports {
    /// Jobs.
    pub store: Arc<dyn JobStore>,
    /// Accounts, the ledger and teams.
    pub accounts: Arc<dyn AccountStore>,
    /// Messages to workers.
    pub queue: Arc<dyn JobQueue>,
    /// Pictures.
    pub media: Arc<dyn MediaStore>,
    /// Generates images.
    pub engine: Arc<dyn ImageEngine>,
    /// Trains brands.
    pub trainer: Arc<dyn BrandTrainer>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
}

/// All use cases of a process. Cloning is cheap.
#[derive(Clone)]
pub struct UseCases {
    /// Accepts jobs and uploads.
    pub submission: Arc<Submission>,
    /// Reads jobs, styles and accounts.
    pub queries: Arc<Queries>,
    /// Claims and runs jobs.
    pub execution: Arc<Execution>,
    /// Cancels, deletes and redrives jobs.
    pub control: Arc<Control>,
    /// Sweeps overdue and expired things.
    pub maintenance: Arc<Maintenance>,
    /// Tells whether the backends answer.
    pub readiness: Arc<Readiness>,
    /// The time that the use cases go by.
    pub clock: Arc<dyn Clock>,
    /// The randomness that the use cases draw from.
    pub random: Arc<dyn Random>,
}

impl UseCases {
    /// Builds the use cases; each gets only the ports and settings that it needs.
    pub fn new(ports: Ports, config: JobsConfig) -> Self {
        let JobsConfig { policy, deadlines, starting_grant, submission, retention, breaker, timeouts } = config;
        let breakers = Arc::new(Breakers::new(breaker, Arc::clone(&ports.clock), Arc::clone(&ports.random)));
        let Ports { store, accounts, queue, media, engine, trainer, clock, random } =
            with_timeout::with_timeouts(ports, timeouts);
        let writer = JobWriter { store: Arc::clone(&store), queue: Arc::clone(&queue) };
        let cleanup = Cleanup {
            store: Arc::clone(&store),
            media: Arc::clone(&media),
            trainer: Arc::clone(&trainer),
            breakers: Arc::clone(&breakers),
        };
        let visible_jobs = VisibleJobs { store: Arc::clone(&store), accounts: Arc::clone(&accounts) };
        let claim_cache = Arc::<ClaimCache>::default();
        let maintenance = Maintenance {
            writer: writer.clone(),
            cleanup: cleanup.clone(),
            media: Arc::clone(&media),
            clock: Arc::clone(&clock),
            policy,
            retention,
            upload_keep: submission.uploads.keep,
            next_expiry: Mutex::new(Timestamp::MIN),
        };
        let uploads = Uploads::new(
            Arc::clone(&media),
            Arc::clone(&clock),
            Arc::clone(&random),
            submission.uploads,
            submission.brand_limits.max_images,
        );
        let submission = Submission {
            writer: writer.clone(),
            accounts: Arc::clone(&accounts),
            media: Arc::clone(&media),
            clock: Arc::clone(&clock),
            random: Arc::clone(&random),
            claim_cache: Arc::clone(&claim_cache),
            teams: TeamCache::default(),
            uploads,
            settings: submission,
            policy,
            deadlines,
            starting_grant,
        };
        let queries = Queries {
            store: Arc::clone(&store),
            accounts,
            visible_jobs: visible_jobs.clone(),
            media: Arc::clone(&media),
            clock: Arc::clone(&clock),
            starting_grant,
        };
        let control = Control {
            writer: writer.clone(),
            visible_jobs,
            cleanup: cleanup.clone(),
            clock: Arc::clone(&clock),
            policy,
            deadlines,
        };
        let execution = Execution {
            writer,
            cleanup,
            media: Arc::clone(&media),
            engine,
            trainer,
            clock: Arc::clone(&clock),
            random: Arc::clone(&random),
            policy,
            breakers,
            claim_cache,
            engine_checks: EngineChecks::default(),
        };
        Self {
            submission: Arc::new(submission),
            queries: Arc::new(queries),
            execution: Arc::new(execution),
            control: Arc::new(control),
            maintenance: Arc::new(maintenance),
            readiness: Arc::new(Readiness { store, queue, media }),
            clock,
            random,
        }
    }
}

/// The span of everything that maintenance logs about a job.
fn span(job: &Job) -> tracing::Span {
    tracing::info_span!("sweep", job.id = %job.id, attempt = job.attempt(), trace_id = trace_id(job))
}

fn trace_id(job: &Job) -> Option<String> {
    job.trace.as_ref().map(TraceContext::trace_id)
}
