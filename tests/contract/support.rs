//! Jobs and waits for the cases.

use std::{future::Future, time::Duration};

use mediaforge::{
    config::{self, Config, Environment, Sources},
    domain::{
        Timestamp,
        clock::{SystemRandom, after},
        credits::{Account, LedgerEntry},
        ids::{AccountId, JobId, RequestHash, TeamId, UserId, WorkerId},
        job::{Job, JobPolicy, Lease, NewJob, Output, Pictures, Transition, Work},
        kind::JobKind,
        pricing::Prices,
        request::IllustrationSpec,
        retry::RetryPolicy,
        stored_image::StoredImage,
        style::{Learnt, Style},
        trace::TraceContext,
    },
    store::{Inserted, Stores, Versioned},
};

pub type Anything = Result<(), Box<dyn std::error::Error>>;

/// Much longer than any step takes: a case that waits this long has failed.
pub const LONG: Duration = Duration::from_secs(20);

/// The start time of the cases.
pub fn start() -> Timestamp {
    Timestamp::from_microsecond(1_767_225_600_123_456).expect("a moment in 2026")
}

/// `start()` and some seconds.
pub fn at(seconds: u64) -> Timestamp {
    after(start(), Duration::from_secs(seconds))
}

/// Waits for an event that must happen.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future).await.unwrap_or_else(|_| panic!("timed out waiting for {what}"))
}

/// The default configuration.
pub fn defaults() -> Config {
    let environment = Environment::of([]).with_user_data_dir("/nowhere");
    config::load(&Sources { environment, ..Sources::default() }).expect("the defaults").config
}

pub fn user(name: &str) -> UserId {
    name.parse().expect("a user id")
}

pub fn team(name: &str) -> TeamId {
    name.parse().expect("a team id")
}

pub fn account(name: &str) -> AccountId {
    AccountId::User(user(name))
}

pub fn policy() -> JobPolicy {
    JobPolicy {
        retry: RetryPolicy { max_attempts: 5, base: Duration::from_secs(1), cap: Duration::from_mins(1) },
        republish_after: Duration::from_secs(30),
        republish_cap: Duration::from_mins(10),
        cancel_grace: Duration::from_secs(10),
        queue_delays: true,
    }
}

/// The parameters of a new job; everything else is the same in all cases.
pub struct New<'a> {
    pub user: &'a str,
    pub team: Option<&'a str>,
    pub price: u64,
    pub grant: u64,
    pub now: Timestamp,
}

impl Default for New<'_> {
    fn default() -> Self {
        Self { user: "ada", team: None, price: 1, grant: 1_000_000, now: start() }
    }
}

impl New<'_> {
    /// The first transition of a job with a fresh id.
    pub fn submit(&self) -> Transition {
        self.submit_as(JobId::random(JobKind::Illustration, &SystemRandom))
    }

    pub fn submit_as(&self, id: JobId) -> Transition {
        let style = Style {
            id: "ink".to_owned(),
            name: "Ink".to_owned(),
            description: "black on white".to_owned(),
            modifier: "ink drawing".to_owned(),
            palette: Vec::new(),
            learnt: Learnt::default(),
        };
        let spec = IllustrationSpec {
            prompt: "a lighthouse \u{1f30a}".to_owned(),
            style,
            width: 64,
            height: 64,
            count: 1,
            seed: Some(7),
        };
        let new_job = NewJob {
            id,
            user: user(self.user),
            team: self.team.map(team),
            work: Work::Illustration(spec),
            request_hash: RequestHash::of(b"case"),
            trace: Some(TraceContext::root(&SystemRandom)),
            time_limit: Duration::from_hours(1),
            starting_grant: self.grant,
        };
        let prices = Prices { image: self.price, image_large: self.price, large_above_px: 4096, training: 25 };
        Job::submit(new_job, self.now, &prices, &policy())
    }
}

/// Puts the user into the job's team and inserts the job, which must be accepted.
pub async fn inserted(store: &Stores, new: New<'_>) -> Versioned<Job> {
    let first = new.submit();
    store.accounts.set_team(&first.job.user, first.job.team.as_ref()).await.expect("a member");
    match store.jobs.insert(&first).await {
        Ok(Inserted::New { version, .. }) => Versioned { version, value: first.job },
        other => panic!("not accepted: {other:?}"),
    }
}

/// A lease until `until`.
pub fn lease(until: Timestamp) -> Lease {
    Lease { owner: WorkerId::new(1, &SystemRandom), expires_at: until }
}

pub fn output() -> Output {
    let image = StoredImage {
        key: "illustrations/ada/x/1-0.png".to_owned(),
        width: 64,
        height: 64,
        bytes: 10,
        sha256: "00".repeat(32),
    };
    Output::Pictures(Pictures {
        images: vec![image],
        thumbnail_key: None,
        filtered: 0,
        model: "preview".to_owned(),
        final_prompt: "a lighthouse, ink drawing".to_owned(),
        seed: Some(7),
        cost_micro_usd: 1,
        generation_ms: 2,
    })
}

/// Commits a transition that must be accepted.
pub async fn commit(store: &Stores, job: &Versioned<Job>, next: Transition) -> Versioned<Job> {
    let committed = store.jobs.commit(job.version, &next).await.expect("a commit");
    Versioned { version: committed.version, value: next.job }
}

/// Runs a job to its end.
pub async fn finish(store: &Stores, job: &Versioned<Job>) -> Versioned<Job> {
    let now = job.value.created_at;
    let started = job.value.clone().start(now, lease(after(now, Duration::from_mins(1))), &policy());
    let running = commit(store, job, started.expect("a start")).await;
    let completed = running.value.clone().complete(now, output()).expect("a completion");
    commit(store, &running, completed).await
}

/// The balance: the sum of a ledger.
pub fn sum(entries: &[LedgerEntry]) -> Account {
    entries.iter().fold(Account::default(), |account, entry| account.apply(entry).expect("a ledger that adds up"))
}
