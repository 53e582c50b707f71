//! Use cases over the embedded backends behind wrappers.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::StreamExt as _;
use mediaforge::{
    config::{self, Environment, Flag, Sources},
    domain::{
        brand::{BrandLimits, BrandSpec},
        breaker::BreakerPolicy,
        clock::{Clock as _, SystemClock, SystemRandom},
        credits::Account,
        ids::{AccountId, JobId, RequestHash, UserId, WorkerId},
        job::{Job, JobPolicy, NewJob, Status, Work},
        kind::JobKind,
        pricing::Prices,
        request::{GenerateRequest, RequestLimits},
        retry::RetryPolicy,
        upload::UploadLimits,
    },
    embedded::Embedded,
    engine::{self, ImageEngine, TrainerAccess},
    intercept::Intercepted,
    jobs::{
        AttemptOutcome, AttemptSettings, Claim, ClaimResult, Deadlines, JobsConfig, Ports, SubmissionSettings,
        SubmitError, Submitted, Submitter, Timeouts, UploadSettings, UseCases,
    },
    media::{self, MediaStore},
    queue,
    store::{self, AccountStore, JobStore, Stores, Versioned},
    worker::{Worker, WorkerSettings},
};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::ports::{LatePictures, Plan, PlannedFaults, files_below};

/// Longer than every step of a test.
const LONG: Duration = Duration::from_secs(30);

/// Use cases over backends that fail on demand.
pub struct Bench {
    pub jobs: UseCases,
    config: JobsConfig,
    pub plan: Arc<Plan>,
    pub media: Arc<dyn MediaStore>,
    pub late_pictures: Arc<LatePictures>,
    pub store: Arc<dyn JobStore>,
    pub accounts: Arc<dyn AccountStore>,
    worker: WorkerId,
    data: TempDir,
}

impl Bench {
    /// Everything works until the plan says otherwise; the engine takes `latency`.
    pub fn new(latency: &str) -> Self {
        Self::with("LATENCY", latency)
    }

    /// The same with another setting of the preview engine.
    pub fn with(knob: &str, value: &str) -> Self {
        Self::made(knob, value, None, |_| {})
    }

    /// With the test's own engine and settings.
    pub fn over(engine: Arc<dyn ImageEngine>, change: impl FnOnce(&mut JobsConfig)) -> Self {
        Self::made("LATENCY", "0s", Some(engine), change)
    }

    fn made(knob: &str, value: &str, own: Option<Arc<dyn ImageEngine>>, change: impl FnOnce(&mut JobsConfig)) -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let knob = format!("MEDIAFORGE_ENGINE__PREVIEW__{knob}");
        let environment = Environment::of([
            ("MEDIAFORGE_PROFILE", "test"),
            ("MEDIAFORGE_TRAINER__MOCK__DURATION", "300ms"),
            (knob.as_str(), value),
        ]);
        let directory = data.path().to_str().expect("Unicode").to_owned();
        let flags = vec![Flag { name: "--data-dir", key: "data_dir", value: directory }];
        let sources = Sources { environment, flags, ..Sources::default() };
        let config = config::load(&sources).expect("a configuration").config;
        let embedded = Embedded::open(data.path(), &[]).expect("a database");
        let plan = Arc::<Plan>::default();
        let late_pictures = Arc::new(LatePictures {
            directory: data.path().join("media/illustrations"),
            begun: Notify::new(),
            gate: Arc::default(),
        });
        let Stores { jobs, accounts } = store::open_sqlite(&embedded);
        let faults = PlannedFaults { plan: Arc::clone(&plan), store: Arc::clone(&jobs) };
        let media = media::open_disk(data.path()).expect("a media directory");
        let ports = Ports {
            store: Arc::new(Intercepted::new(jobs, faults.clone())),
            accounts: Arc::new(Intercepted::new(accounts, faults.clone())),
            queue: Arc::new(Intercepted::new(queue::open_embedded(&embedded), faults)),
            media: Arc::new(Intercepted::new(media, Arc::clone(&late_pictures))),
            engine: own.unwrap_or_else(|| {
                engine::open(&config, &(Arc::new(SystemRandom) as Arc<dyn mediaforge::domain::clock::Random>))
                    .expect("an engine")
            }),
            trainer: engine::open_trainer(&config, TrainerAccess { random: Arc::new(SystemRandom), tokens: None })
                .expect("the mock trainer"),
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
        };
        let mut config = JobsConfig {
            policy: JobPolicy {
                retry: RetryPolicy { max_attempts: 2, base: Duration::ZERO, cap: Duration::ZERO },
                republish_after: Duration::ZERO,
                republish_cap: Duration::ZERO,
                cancel_grace: LONG,
                queue_delays: true,
            },
            deadlines: Deadlines { illustration: Duration::from_mins(10), training: Duration::from_hours(2) },
            starting_grant: 100,
            submission: SubmissionSettings {
                prices: Prices { image: 1, image_large: 2, large_above_px: 1536, training: 25 },
                limits: RequestLimits { prompt_chars: 100, min_side: 64, max_side: 512, max_count: 4 },
                catalogue: config.catalogue().expect("a catalogue"),
                jobs_in_flight: None,
                brand_limits: BrandLimits {
                    min_images: 5,
                    max_images: 50,
                    max_colors: 5,
                    name_chars: 80,
                    min_side: 512,
                    max_aspect: 3,
                    min_difference: 6,
                },
                training_estimate: "a while".to_owned(),
                uploads: UploadSettings {
                    limits: UploadLimits { max_bytes: 1 << 20, max_pixels: 1 << 24, max_archive_bytes: 1 << 20 },
                    keep: Duration::from_hours(24),
                },
            },
            retention: None,
            breaker: BreakerPolicy { failures: 3, cooldown: LONG, cap: 10 * LONG },
            timeouts: Timeouts { backend: LONG, media: LONG },
        };
        change(&mut config);
        let (store, accounts, media) =
            (Arc::clone(&ports.store), Arc::clone(&ports.accounts), Arc::clone(&ports.media));
        let jobs = UseCases::new(ports, config.clone());
        Self { jobs, config, plan, media, late_pictures, store, accounts, worker: worker(), data }
    }

    /// A worker with one slot.
    pub fn worker(&self) -> Worker {
        self.worker_with(worker_settings())
    }

    pub fn worker_with(&self, settings: WorkerSettings) -> Worker {
        let (draining, stop) = (CancellationToken::new(), CancellationToken::new());
        Worker::new(&self.jobs, settings, worker(), draining, stop)
    }

    pub async fn try_submit(&self) -> std::result::Result<Submitted, SubmitError> {
        self.try_submit_many(1).await
    }

    pub async fn submit_many(&self, count: u32) -> JobId {
        self.try_submit_many(count).await.expect("accepted").job.value.id.clone()
    }

    async fn try_submit_many(&self, count: u32) -> std::result::Result<Submitted, SubmitError> {
        let request = GenerateRequest {
            count: Some(count.into()),
            prompt: Some("a cat".to_owned()),
            width: Some(64),
            height: Some(64),
            ..GenerateRequest::default()
        };
        let submitter = Submitter { user: user(), idempotency_key: None, trace: None };
        self.jobs.submission.submit_illustration(&request, submitter).await
    }

    pub async fn submit(&self) -> JobId {
        self.try_submit().await.expect("accepted").job.value.id.clone()
    }

    /// A training without images, which learns the given colour.
    pub async fn submit_brand(&self) -> JobId {
        let colors = vec!["#ff6600".parse().expect("a colour")];
        let new_job = NewJob {
            id: JobId::random(JobKind::Brand, &SystemRandom),
            user: user(),
            team: None,
            work: Work::Brand(BrandSpec { name: "Acme".to_owned(), colors, images: Vec::new() }),
            request_hash: RequestHash::of(b"acme"),
            trace: None,
            time_limit: self.config.deadlines.training,
            starting_grant: self.config.starting_grant,
        };
        let first = Job::submit(new_job, SystemClock.now(), &self.config.submission.prices, &self.config.policy);
        self.store.insert(&first).await.expect("a store");
        first.job.id.clone()
    }

    pub async fn claim(&self, id: &JobId) -> Claim {
        match self.jobs.execution.claim(id, &self.worker, LONG).await {
            Ok(ClaimResult::Claimed(claim)) => *claim,
            other => panic!("not claimed: {other:?}"),
        }
    }

    /// Claims the job and works until it is settled.
    pub async fn attempt(&self, id: &JobId) -> AttemptOutcome {
        let claim = self.claim(id).await;
        self.jobs.execution.run_attempt(claim, &settings(), &CancellationToken::new()).await.expect("a store")
    }

    /// Tries to claim the job.
    pub async fn try_claim(&self, id: &JobId) -> ClaimResult {
        self.jobs.execution.claim(id, &self.worker, LONG).await.expect("a store")
    }

    pub async fn job(&self, id: &JobId) -> Versioned<Job> {
        self.store.get(id).await.expect("a store").expect("a job")
    }

    /// The number of dead letters.
    pub fn dead_letters(&self) -> i64 {
        let db = rusqlite::Connection::open(self.data.path().join("mediaforge.db")).expect("the database");
        db.query_row("SELECT count(*) FROM dead_letters", [], |row| row.get(0)).expect("a count")
    }

    /// The balance. Asserts that it equals the sum of the ledger and that each hold is captured at most once.
    pub async fn books(&self) -> Account {
        let account = AccountId::User(user());
        let mut sum = Account::default();
        let mut settled = std::collections::BTreeMap::<String, u32>::new();
        for entry in self.accounts.ledger(&account, 1_000_000).await.expect("a ledger") {
            sum = sum.apply(&entry).expect("an entry that fits");
            if let Some((hold, verb)) = entry.id.rsplit_once(':')
                && verb == "capture"
            {
                *settled.entry(hold.to_owned()).or_default() += 1;
            }
        }
        assert!(settled.values().all(|count| *count == 1), "{settled:?}");
        assert!(sum.is_balanced());
        assert_eq!(self.accounts.account(&account).await.expect("a read"), Some(sum));
        sum
    }

    pub async fn status(&self, id: &JobId) -> Status {
        let found = self.jobs.queries.get(&user(), id).await.expect("a store").expect("a job");
        found.value.status()
    }

    /// Waits for the final state of the job.
    pub async fn finished(&self, id: &JobId) -> Versioned<Job> {
        let mut changes = self.jobs.queries.watch_job(&user(), id).await.expect("a store").expect("a job");
        let end = async {
            loop {
                let job = changes.next().await.expect("an end").expect("a store");
                if job.value.status().is_final() {
                    return job;
                }
            }
        };
        tokio::time::timeout(LONG, end).await.expect("an end in time")
    }

    /// Makes the job's document unreadable.
    pub fn damage(&self, id: &JobId) {
        let db = rusqlite::Connection::open(self.data.path().join("mediaforge.db")).expect("the database");
        let changed = db.execute("UPDATE jobs SET document = '{}' WHERE id = ?", [id.as_str()]);
        assert_eq!(changed.expect("a write"), 1);
    }

    pub fn data_dir(&self) -> &Path {
        self.data.path()
    }

    /// The pictures on disk.
    pub fn pictures(&self) -> Vec<PathBuf> {
        files_below(&self.late_pictures.directory)
    }
}

pub fn user() -> UserId {
    "ada".parse().expect("a user id")
}

pub fn worker() -> WorkerId {
    WorkerId::new(1, &SystemRandom)
}

/// One slot and generous timeouts.
pub fn worker_settings() -> WorkerSettings {
    WorkerSettings {
        slots: 1,
        attempt: settings(),
        ack_on_claim: true,
        slot_wait: LONG,
        sweep_every: LONG,
        body_timeout: LONG,
        requests: None,
    }
}

/// A lease that does not lapse in a test, and frequent heartbeats.
pub fn settings() -> AttemptSettings {
    AttemptSettings { lease: LONG, heartbeat: Duration::from_millis(20), timeout: LONG, poll_every: LONG }
}
