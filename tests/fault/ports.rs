//! The embedded parts behind wrappers that misbehave on demand, and use cases over them.

use std::{
    ops::Range,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, stream::BoxStream};
use mediaforge::{
    config::{self, Environment, Flag, Sources},
    domain::{
        Timestamp,
        brand::BrandLimits,
        clock::{SystemClock, SystemRandom},
        credits::{Account, LedgerEntry},
        ids::{AccountId, JobId, TeamId, UserId, WorkerId},
        job::{Job, JobPolicy, Status, Transition},
        pricing::Prices,
        request::{GenerateRequest, RequestLimits},
        retry::RetryPolicy,
        upload::UploadLimits,
    },
    embedded::Embedded,
    engine,
    error::{BackendError, ErrorKind},
    jobs::{
        AttemptSettings, Claim, Claimed, Jobs, Ports, Rules, SubmitError, SubmitIllustration, Submitted, UploadRules,
    },
    media::{self, MediaFormat, MediaInfo, MediaKey, MediaRead, MediaStore, MediaUrl},
    queue,
    store::{self, Committed, Inserted, JobFilter, JobStore, Page, PageRequest, Result, Version, Versioned, Watch},
};
use tempfile::TempDir;
use tokio::sync::{Notify, RwLock};

/// Far more than anything takes.
const LONG: Duration = Duration::from_secs(30);

/// Failures to come, each for as many calls.
#[derive(Default)]
pub struct Plan {
    /// Commits that happen, and whose answer is lost.
    pub commit_unanswered: AtomicU32,
    /// Inserts of that sort.
    pub insert_unanswered: AtomicU32,
    /// Inserts that find nobody, once `insert_unanswered` has struck.
    pub insert_unavailable: AtomicU32,
    /// Commits that fail by a defect.
    pub commit_defect: AtomicU32,
    /// Reads of a job that find nobody, once `commit_unanswered` has struck.
    pub get_unavailable: AtomicU32,
    /// Deletions that find that somebody wrote in between.
    pub delete_conflicts: AtomicU32,
    /// Reads of a job that is deleted right after.
    pub get_then_deleted: AtomicU32,
    /// Watches that break after the first state.
    pub watch_broken: AtomicU32,
    /// Commits that are done, and answer only when `go_on` says so.
    pub commit_late: AtomicU32,
    pub committed: Notify,
    pub go_on: Notify,
}

fn strikes(left: &AtomicU32) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

pub struct FaultyStore {
    inner: Arc<dyn JobStore>,
    plan: Arc<Plan>,
}

#[async_trait]
impl JobStore for FaultyStore {
    async fn insert(&self, first: &Transition) -> Result<Inserted> {
        let is_waiting = self.plan.insert_unanswered.load(Ordering::SeqCst) > 0;
        if !is_waiting && strikes(&self.plan.insert_unavailable) {
            return Err(BackendError::new(ErrorKind::Unavailable, "store.insert"));
        }
        let inserted = self.inner.insert(first).await;
        if strikes(&self.plan.insert_unanswered) {
            return Err(BackendError::new(ErrorKind::Timeout, "store.insert"));
        }
        inserted
    }

    async fn get(&self, id: &JobId) -> Result<Option<Versioned<Job>>> {
        let is_waiting = self.plan.commit_unanswered.load(Ordering::SeqCst) > 0;
        if !is_waiting && strikes(&self.plan.get_unavailable) {
            return Err(BackendError::new(ErrorKind::Unavailable, "store.get"));
        }
        let found = self.inner.get(id).await?;
        if let Some(found) = found.as_ref().filter(|_| strikes(&self.plan.get_then_deleted)) {
            self.inner.delete(id, found.version).await?;
        }
        Ok(found)
    }

    async fn list(&self, filter: &JobFilter, page: &PageRequest) -> Result<Page<Versioned<Job>>> {
        self.inner.list(filter, page).await
    }

    async fn commit(&self, expected: Version, next: &Transition) -> Result<Committed> {
        if strikes(&self.plan.commit_defect) {
            return Err(BackendError::new(ErrorKind::Internal, "store.commit"));
        }
        let committed = self.inner.commit(expected, next).await;
        if strikes(&self.plan.commit_late) {
            self.plan.committed.notify_one();
            self.plan.go_on.notified().await;
        }
        if strikes(&self.plan.commit_unanswered) {
            return Err(BackendError::new(ErrorKind::Timeout, "store.commit"));
        }
        committed
    }

    async fn delete(&self, id: &JobId, expected: Version) -> Result<()> {
        if strikes(&self.plan.delete_conflicts) {
            return Err(BackendError::new(ErrorKind::Conflict, "store.delete"));
        }
        self.inner.delete(id, expected).await
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Versioned<Job>>> {
        self.inner.due(now, limit).await
    }

    async fn team_of(&self, user: &UserId) -> Result<Option<TeamId>> {
        self.inner.team_of(user).await
    }

    async fn set_team(&self, user: &UserId, team: Option<&TeamId>) -> Result<()> {
        self.inner.set_team(user, team).await
    }

    async fn account(&self, id: &AccountId) -> Result<Option<Account>> {
        self.inner.account(id).await
    }

    async fn adjust(&self, entry: &LedgerEntry) -> Result<Account> {
        self.inner.adjust(entry).await
    }

    async fn ledger(&self, account: &AccountId) -> Result<Vec<LedgerEntry>> {
        self.inner.ledger(account).await
    }

    fn watch(&self, what: Watch) -> BoxStream<'static, Result<Versioned<Job>>> {
        let changes = self.inner.watch(what);
        if !strikes(&self.plan.watch_broken) {
            return changes;
        }
        // As a backend's own stream: polled again after its end, it panics.
        let broken = futures::stream::unfold(0, |told| async move {
            (told == 0).then(|| (Err(BackendError::new(ErrorKind::Unavailable, "store.watch")), 1))
        });
        broken.boxed()
    }

    async fn ping(&self) -> Result<()> {
        self.inner.ping().await
    }
}

/// Pictures on disk, none of which is written while somebody holds the gate. Like the disk itself, a write goes on when nobody
/// waits for it any more.
pub struct SlowMedia {
    inner: Arc<dyn MediaStore>,
    pub begun: Notify,
    pub gate: Arc<RwLock<()>>,
}

#[async_trait]
impl MediaStore for SlowMedia {
    async fn put(&self, key: &MediaKey, format: MediaFormat, bytes: Bytes) -> Result<()> {
        let (inner, gate, key) = (Arc::clone(&self.inner), Arc::clone(&self.gate), key.clone());
        self.begun.notify_one();
        let write = async move {
            let _open = gate.read().await;
            inner.put(&key, format, bytes).await
        };
        tokio::spawn(write).await.expect("no panic")
    }

    async fn get(&self, key: &MediaKey, range: Option<Range<u64>>) -> Result<Option<MediaRead>> {
        self.inner.get(key, range).await
    }

    async fn head(&self, key: &MediaKey) -> Result<Option<MediaInfo>> {
        self.inner.head(key).await
    }

    async fn copy(&self, from: &MediaKey, to: &MediaKey) -> Result<bool> {
        self.inner.copy(from, to).await
    }

    async fn expire(&self, prefix: &str, before: Timestamp) -> Result<usize> {
        self.inner.expire(prefix, before).await
    }

    async fn delete(&self, key: &MediaKey) -> Result<()> {
        self.inner.delete(key).await
    }

    async fn delete_prefix(&self, prefix: &str) -> Result<()> {
        self.inner.delete_prefix(prefix).await
    }

    async fn url(&self, key: &MediaKey, now: Timestamp) -> Result<MediaUrl> {
        self.inner.url(key, now).await
    }

    async fn ping(&self) -> Result<()> {
        self.inner.ping().await
    }
}

/// Use cases over parts that misbehave.
pub struct Bench {
    pub jobs: Arc<Jobs>,
    pub plan: Arc<Plan>,
    pub media: Arc<SlowMedia>,
    worker: WorkerId,
    data: TempDir,
}

impl Bench {
    /// Everything works until it is told not to; the engine takes `latency`.
    pub fn new(latency: &str) -> Self {
        Self::with("LATENCY", latency)
    }

    /// The same with this knob of the engine turned.
    pub fn with(knob: &str, value: &str) -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let knob = format!("MEDIAFORGE_ENGINE__PREVIEW__{knob}");
        let environment = Environment::of([("MEDIAFORGE_PROFILE", "test"), (knob.as_str(), value)]);
        let directory = data.path().to_str().expect("Unicode").to_owned();
        let flags = vec![Flag { name: "--data-dir", key: "data_dir", value: directory }];
        let sources = Sources { environment, flags, ..Sources::default() };
        let config = config::load(&sources).expect("a configuration").config;
        let embedded = Embedded::open(data.path(), &[]).expect("a database");
        let plan = Arc::<Plan>::default();
        let media = Arc::new(SlowMedia {
            inner: media::open(&config.media, data.path()).expect("a media directory"),
            begun: Notify::new(),
            gate: Arc::default(),
        });
        let ports = Ports {
            store: Arc::new(FaultyStore { inner: store::open(&config.store, &embedded), plan: Arc::clone(&plan) }),
            queue: queue::open(&config.queue, &embedded),
            media: media.clone(),
            engine: engine::open(&config.engine, Arc::new(SystemRandom)),
            trainer: engine::open_trainer(&config.trainer, Arc::new(SystemRandom)),
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
        };
        let rules = Rules {
            policy: JobPolicy {
                retry: RetryPolicy { max_attempts: 2, base: Duration::ZERO, cap: Duration::ZERO },
                republish_after: Duration::ZERO,
                republish_cap: Duration::ZERO,
                cancel_grace: LONG,
            },
            prices: Prices { image: 1, image_large: 2, large_above_px: 1536, training: 25 },
            limits: RequestLimits { prompt_chars: 100, min_side: 64, max_side: 512, max_count: 4 },
            catalogue: config.catalogue().expect("a catalogue"),
            starting_grant: 100,
            illustration_deadline: Duration::from_mins(10),
            brand_limits: BrandLimits {
                min_images: 5,
                max_images: 50,
                max_colors: 5,
                name_chars: 80,
                min_side: 512,
                max_aspect: 3,
                min_difference: 6,
            },
            training_deadline: Duration::from_hours(2),
            training_estimate: "a while".to_owned(),
            uploads: UploadRules {
                limits: UploadLimits { max_bytes: 1 << 20, max_pixels: 1 << 24 },
                keep: Duration::from_hours(24),
            },
        };
        Self { jobs: Arc::new(Jobs::new(ports, rules)), plan, media, worker: worker(), data }
    }

    pub async fn try_submit(&self) -> std::result::Result<Submitted, SubmitError> {
        let request = GenerateRequest {
            prompt: Some("a cat".to_owned()),
            width: Some(64),
            height: Some(64),
            ..GenerateRequest::default()
        };
        let submit = SubmitIllustration { user: user(), request, idempotency_key: None, trace: None };
        self.jobs.submit_illustration(submit).await
    }

    pub async fn submit(&self) -> JobId {
        self.try_submit().await.expect("accepted").job.value.id.clone()
    }

    pub async fn claim(&self, id: &JobId) -> Claim {
        match self.jobs.claim(id, &self.worker, LONG).await {
            Ok(Claimed::Ours(claim)) => *claim,
            other => panic!("not claimed: {other:?}"),
        }
    }

    pub async fn status(&self, id: &JobId) -> Status {
        let found = self.jobs.get(&user(), id).await.expect("a store").expect("a job");
        found.value.status()
    }

    /// The job's end.
    pub async fn finished(&self, id: &JobId) -> Versioned<Job> {
        let mut changes = self.jobs.watch_job(&user(), id).await.expect("a store").expect("a job");
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

    /// The pictures on disk.
    pub fn pictures(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut open = vec![self.data.path().join("media/illustrations")];
        while let Some(directory) = open.pop() {
            for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                if entry.path().is_dir() { open.push(entry.path()) } else { found.push(entry.path()) }
            }
        }
        found
    }
}

pub fn user() -> UserId {
    "ada".parse().expect("a user id")
}

pub fn worker() -> WorkerId {
    WorkerId::new(1, &SystemRandom)
}

/// A lease that does not lapse in a test, and a heartbeat that beats often.
pub fn settings() -> AttemptSettings {
    AttemptSettings { lease: LONG, heartbeat: Duration::from_millis(20), timeout: LONG, poll_every: LONG }
}
