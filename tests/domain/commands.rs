//! Any sequence of commands on a job: its hold is settled once, final states absorb, the ledger balances, and an unfinished
//! job always has a next step.

mod examples;

use std::{collections::BTreeSet, time::Duration};

use mediaforge::domain::{
    Timestamp,
    brand::{BrandSpec, TrainedBrand},
    clock::after,
    credits::{Account, LedgerEntry, Verb},
    failure::{AttemptFailure, Disposition, ErrorCode, JobError},
    ids::{JobId, RequestHash},
    job::{Job, JobPolicy, Lease, NewJob, Output, Pictures, Progress, State, Transition, TransitionError, Work},
    kind::JobKind,
    pricing::Prices,
    request::IllustrationSpec,
    retry::RetryPolicy,
    stored_image::StoredImage,
    style::{Learnt, Style},
};
use proptest::prelude::*;

const GRANT: u64 = 100;
const PRICES: Prices = Prices { image: 1, image_large: 2, large_above_px: 1536, training: 25 };
const POLICY: JobPolicy = JobPolicy {
    retry: RetryPolicy { max_attempts: 3, base: Duration::from_secs(10), cap: Duration::from_mins(10) },
    republish_after: Duration::from_secs(30),
    republish_cap: Duration::from_mins(10),
    cancel_grace: Duration::from_secs(10),
    queue_delays: true,
};
const TIME_LIMIT: Duration = Duration::from_mins(15);

#[derive(Debug, Clone)]
enum Command {
    Start { lease: u64 },
    Renew { fraction: f64 },
    Attach { operation: u8 },
    Complete { delivered: usize },
    Fail { disposition: Disposition, jitter: f64 },
    RequestCancel,
    Cancel,
    HandBack,
    Postpone { seconds: u64 },
    Reschedule,
    ReleaseDeadLease,
    Overdue,
    DeadLettered,
    Redrive,
}

fn command() -> impl Strategy<Value = Command> {
    let after = proptest::option::of((0..1000_u64).prop_map(Duration::from_secs));
    let disposition = prop_oneof![
        after.clone().prop_map(|after| Disposition::Retry { after }),
        after.prop_map(|after| Disposition::Throttled { after }),
        Just(Disposition::Misconfigured),
        Just(Disposition::Fail),
    ];
    prop_oneof![
        4 => (1..60_u64).prop_map(|lease| Command::Start { lease }),
        2 => prop_oneof![(-1.0..2.0_f64).boxed(), Just(f64::NAN).boxed()].prop_map(|fraction| Command::Renew { fraction }),
        1 => any::<u8>().prop_map(|operation| Command::Attach { operation }),
        1 => (0..6_usize).prop_map(|delivered| Command::Complete { delivered }),
        2 => (disposition, 0.0..1.0_f64).prop_map(|(disposition, jitter)| Command::Fail { disposition, jitter }),
        1 => Just(Command::RequestCancel),
        1 => Just(Command::Cancel),
        1 => Just(Command::HandBack),
        2 => (0..2000_u64).prop_map(|seconds| Command::Postpone { seconds }),
        1 => Just(Command::Reschedule),
        1 => Just(Command::ReleaseDeadLease),
        3 => Just(Command::Overdue),
        1 => Just(Command::DeadLettered),
        1 => Just(Command::Redrive),
    ]
}

fn apply(job: Job, command: &Command, now: Timestamp) -> Result<Transition, TransitionError> {
    let worker = mediaforge::domain::ids::WorkerId::new(1, &mediaforge::domain::clock::SystemRandom);
    match command {
        Command::Start { lease } => {
            let lease = Lease { owner: worker, expires_at: after(now, Duration::from_secs(*lease)) };
            job.start(now, lease, &POLICY)
        }
        Command::Renew { fraction } => {
            let progress = Progress { fraction: *fraction, ..Progress::default() };
            job.renew(after(now, Duration::from_secs(30)), Some(progress))
        }
        Command::Attach { operation } => job.attach(format!("operations/{operation}")),
        Command::Complete { delivered } => {
            let output = output(job.kind(), *delivered);
            job.complete(now, output)
        }
        Command::Fail { disposition, jitter } => {
            let error = JobError::new(ErrorCode::EngineUnavailable, "down");
            job.fail(now, AttemptFailure { error, disposition: *disposition }, &POLICY, *jitter)
        }
        Command::RequestCancel => job.request_cancel(now, &POLICY),
        Command::Cancel => job.cancel(now),
        Command::HandBack => job.hand_back(now, &POLICY),
        Command::Postpone { seconds } => {
            let reason = JobError::new(ErrorCode::RateLimited, "busy");
            job.postpone(now, after(now, Duration::from_secs(*seconds)), reason, &POLICY)
        }
        Command::Reschedule => job.reschedule(now),
        Command::ReleaseDeadLease => job.release_dead_lease(now, &POLICY),
        Command::Overdue => job.overdue(now, &POLICY),
        Command::DeadLettered => job.mark_dead_lettered(),
        Command::Redrive => job.redrive(now, TIME_LIMIT, &POLICY),
    }
}

fn output(kind: JobKind, delivered: usize) -> Output {
    if kind == JobKind::Brand {
        return Output::Brand(TrainedBrand {
            palette: vec!["#ff6600".parse().expect("a colour")],
            model_path: None,
            samples: Vec::new(),
            cost_micro_usd: 0,
            training_ms: 1,
        });
    }
    let image = |n| StoredImage { key: format!("k/{n}.png"), width: 512, height: 512, bytes: 1, sha256: String::new() };
    Output::Pictures(Pictures {
        images: (0..delivered).map(image).collect(),
        thumbnail_key: None,
        filtered: 0,
        model: "test".to_owned(),
        final_prompt: "a cat".to_owned(),
        seed: None,
        cost_micro_usd: 0,
        generation_ms: 1,
    })
}

fn illustration(count: u32, side: u32) -> Work {
    let style = Style {
        id: "flat".into(),
        name: "Flat".into(),
        description: String::new(),
        modifier: String::new(),
        palette: Vec::new(),
        learnt: Learnt::default(),
    };
    let prompt = "a cat".to_owned();
    Work::Illustration(IllustrationSpec { prompt, style, width: side, height: 512, count, seed: None })
}

fn brand() -> Work {
    Work::Brand(BrandSpec { name: "Acme".to_owned(), colors: Vec::new(), images: Vec::new() })
}

fn work() -> impl Strategy<Value = Work> {
    let pictures = (1..=4_u32, prop_oneof![Just(1024_u32), Just(2048_u32)]);
    prop_oneof![2 => pictures.prop_map(|(count, side)| illustration(count, side)), 1 => Just(brand())]
}

fn new_job(work: Work) -> NewJob {
    let id = match &work {
        Work::Illustration(_) => "ill_0123456789abcdefABCD",
        Work::Brand(_) => "brd_0123456789abcdefABCD",
    };
    NewJob {
        id: id.parse::<JobId>().expect("an id"),
        user: "ada".parse().expect("a user"),
        team: None,
        work,
        request_hash: RequestHash::of(b"request"),
        trace: None,
        time_limit: TIME_LIMIT,
        starting_grant: GRANT,
    }
}

/// The provider's operation to which the next attempt re-attaches.
fn operation(job: &Job) -> Option<&str> {
    match &job.state {
        State::Queued { operation, .. } | State::Running { operation, .. } => operation.as_deref(),
        _ => None,
    }
}

/// Applies ledger entries as a store does: every id once, with its effect on the balance.
#[derive(Default)]
struct Books {
    account: Account,
    entries: Vec<LedgerEntry>,
    ids: BTreeSet<String>,
}

impl Books {
    fn post(&mut self, entries: &[LedgerEntry]) -> Result<(), TestCaseError> {
        for entry in entries {
            prop_assert!(entry.amount > 0, "an entry of zero credits: {entry:?}");
            if self.ids.insert(entry.id.clone()) {
                self.account = self.account.apply(entry).map_err(|error| TestCaseError::fail(error.to_string()))?;
                self.entries.push(entry.clone());
            }
        }
        Ok(())
    }

    fn sum(&self, hold: &str, verb: Verb) -> u64 {
        let mine = |entry: &&LedgerEntry| entry.id.starts_with(hold) && entry.verb == verb;
        self.entries.iter().filter(mine).map(|entry| entry.amount).sum()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn credits_and_states_are_consistent_after_any_sequence_of_commands(
        work in work(),
        steps in proptest::collection::vec((command(), 0..120_u64), 1..60),
    ) {
        let mut now = Timestamp::from_second(1_800_000_000).expect("a time");
        let first = Job::submit(new_job(work), now, &PRICES, &POLICY);
        prop_assert!(first.dispatch.is_some());
        let mut books = Books::default();
        books.post(&first.ledger)?;
        let mut job = first.job;
        for (command, seconds) in steps {
            now = after(now, Duration::from_secs(seconds));
            let before = job.clone();
            let Ok(next) = apply(job.clone(), &command, now) else { continue };
            books.post(&next.ledger)?;
            job = next.job;

            // Final states absorb; only a redrive of a failed job leads out of one.
            if before.status().is_final() && job.status() != before.status() {
                let redriven = matches!(command, Command::Redrive) && matches!(before.state, State::Failed { .. });
                prop_assert!(redriven, "{command:?} led out of {:?}", before.state);
            }
            // Every unfinished job has a moment at which the sweeper acts on it.
            prop_assert_eq!(job.due_at().is_none(), job.status().is_final() && job.dead_letter().is_none());
            if let Some(due) = job.due_at() {
                prop_assert!(due <= job.deadline.max(now));
            }
            // A job that returns to the queue has a message to publish.
            if !matches!(before.state, State::Queued { .. }) && matches!(job.state, State::Queued { .. }) {
                prop_assert!(next.dispatch.is_some());
            }
            // `attach` records an operation, which outlives the worker; only a failure or a final state drops it.
            match &command {
                Command::Attach { operation: begun } => {
                    let begun = format!("operations/{begun}");
                    prop_assert_eq!(operation(&job), Some(begun.as_str()));
                }
                Command::Fail { .. } => prop_assert_eq!(operation(&job), None),
                _ if job.status().is_final() || before.status().is_final() => prop_assert_eq!(operation(&job), None),
                _ => prop_assert_eq!(operation(&job), operation(&before), "{:?}", command),
            }
            // Waiting costs no attempt.
            if matches!(command, Command::Postpone { .. } | Command::Reschedule) {
                prop_assert_eq!(job.attempt(), before.attempt());
                prop_assert_eq!(job.status(), before.status());
            }
            prop_assert!(job.attempt() <= POLICY.retry.max_attempts);
            if let (State::Running { progress: Some(was), attempt: a, .. }, State::Running { progress: Some(is), attempt: b, .. }) =
                (&before.state, &job.state)
                && a == b
            {
                prop_assert!(is.fraction >= was.fraction && is.fraction <= 1.0);
            }

            prop_assert!(books.account.is_balanced(), "{:?}", books.account);
            prop_assert_eq!(books.account.granted, GRANT);
            for number in 1..=job.hold.number {
                let hold = format!("{}:{number}:", job.id);
                let held = books.sum(&hold, Verb::Hold);
                let captured = books.sum(&hold, Verb::Capture);
                let released = books.sum(&hold, Verb::Release);
                let open = number == job.hold.number && !job.status().is_final();
                prop_assert_eq!(held, job.hold.amount());
                prop_assert_eq!(captured + released, if open { 0 } else { held }, "hold {} of {:?}", number, job.state);
            }
            let captures = books.entries.iter().filter(|entry| entry.verb == Verb::Capture).count();
            prop_assert!(captures <= 1);
            if let State::Succeeded { output, .. } = &job.state {
                let delivered = u64::from(output.delivered().min(job.hold.units));
                prop_assert!(delivered > 0);
                prop_assert_eq!(books.account.spent, delivered * job.hold.unit);
            } else {
                prop_assert_eq!(books.account.spent, 0);
            }
        }
    }

    #[test]
    fn a_job_without_a_worker_ends_by_itself(work in work(), lease in 1..60_u64, starts in proptest::collection::vec(any::<bool>(), 64)) {
        let mut now = Timestamp::from_second(1_800_000_000).expect("a time");
        let mut job = Job::submit(new_job(work), now, &PRICES, &POLICY).job;
        let begin = now;
        for start in starts {
            if start && let Ok(next) = apply(job.clone(), &Command::Start { lease }, now) {
                job = next.job;
            }
            let Some(due) = job.due_at() else { break };
            now = due.max(now);
            match job.clone().overdue(now, &POLICY) {
                Ok(next) => job = next.job,
                Err(_) => job = job.mark_dead_lettered().expect("owed").job,
            }
        }
        now = after(begin, TIME_LIMIT).max(now);
        if !job.status().is_final() {
            job = job.overdue(now, &POLICY).expect("overdue at its deadline").job;
        }
        prop_assert!(job.status().is_final());
    }
}
