//! Whatever happens to a job, in whatever order and however often: its hold is settled once, final states stay,
//! the ledger balances, and it is never without a next step.

use std::{collections::BTreeSet, time::Duration};

use mediaforge::domain::{
    Timestamp,
    clock::after,
    credits::{Account, LedgerEntry, Verb},
    ids::{JobId, RequestHash},
    job::{
        AttemptFailure, Disposition, ErrorCode, Job, JobError, JobPolicy, Lease, Output, Pictures, Progress, State,
        StoredImage, Submission, Transition, TransitionError, Work,
    },
    pricing::Prices,
    request::IllustrationSpec,
    retry::RetryPolicy,
    style::Style,
};
use proptest::prelude::*;

const GRANT: u64 = 100;
const PRICES: Prices = Prices { image: 1, image_large: 2, large_above_px: 1536, training: 25 };
const POLICY: JobPolicy = JobPolicy {
    retry: RetryPolicy { max_attempts: 3, base: Duration::from_secs(10), cap: Duration::from_mins(10) },
    republish_after: Duration::from_secs(30),
    republish_cap: Duration::from_mins(10),
    cancel_grace: Duration::from_secs(10),
};
const TIME_LIMIT: Duration = Duration::from_mins(15);

#[derive(Debug, Clone)]
enum Command {
    Start { lease: u64 },
    Renew { fraction: f64 },
    Complete { delivered: usize },
    Fail { disposition: Disposition, jitter: f64 },
    RequestCancel,
    Cancel,
    HandBack,
    Overdue,
    DeadLettered,
    Redrive,
}

fn command() -> impl Strategy<Value = Command> {
    let after = proptest::option::of((0..1000_u64).prop_map(Duration::from_secs));
    let disposition = prop_oneof![
        after.clone().prop_map(|after| Disposition::Retry { after }),
        after.prop_map(|after| Disposition::Throttled { after }),
        Just(Disposition::Fail),
    ];
    prop_oneof![
        4 => (1..60_u64).prop_map(|lease| Command::Start { lease }),
        2 => prop_oneof![(-1.0..2.0_f64).boxed(), Just(f64::NAN).boxed()].prop_map(|fraction| Command::Renew { fraction }),
        1 => (0..6_usize).prop_map(|delivered| Command::Complete { delivered }),
        2 => (disposition, 0.0..1.0_f64).prop_map(|(disposition, jitter)| Command::Fail { disposition, jitter }),
        1 => Just(Command::RequestCancel),
        1 => Just(Command::Cancel),
        1 => Just(Command::HandBack),
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
        Command::Complete { delivered } => job.complete(now, output(*delivered)),
        Command::Fail { disposition, jitter } => {
            let error = JobError::new(ErrorCode::EngineUnavailable, "down");
            job.fail(now, AttemptFailure { error, disposition: *disposition }, &POLICY, *jitter)
        }
        Command::RequestCancel => job.request_cancel(now, &POLICY),
        Command::Cancel => job.cancel(now),
        Command::HandBack => job.hand_back(now, &POLICY),
        Command::Overdue => job.overdue(now, &POLICY),
        Command::DeadLettered => job.dead_lettered(),
        Command::Redrive => job.redrive(now, TIME_LIMIT, &POLICY),
    }
}

fn output(delivered: usize) -> Output {
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

fn submission(count: u32, side: u32) -> Submission {
    let style = Style {
        id: "flat".into(),
        name: "Flat".into(),
        description: String::new(),
        modifier: String::new(),
        palette: Vec::new(),
    };
    let prompt = "a cat".to_owned();
    let spec = IllustrationSpec { prompt, style, width: side, height: 512, count, seed: None };
    Submission {
        id: "ill_0123456789abcdefABCD".parse::<JobId>().expect("an id"),
        user: "ada".parse().expect("a user"),
        team: None,
        work: Work::Illustration(spec),
        request_hash: RequestHash::of(b"request"),
        trace: None,
        time_limit: TIME_LIMIT,
        starting_grant: GRANT,
    }
}

/// What a store does with the ledger of a transition: every id once, with its effect on the balance.
#[derive(Default)]
struct Books {
    account: Account,
    entries: Vec<LedgerEntry>,
    ids: BTreeSet<String>,
}

impl Books {
    fn post(&mut self, entries: &[LedgerEntry]) -> Result<(), TestCaseError> {
        for entry in entries {
            prop_assert!(entry.amount > 0, "an entry of nothing: {entry:?}");
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
    fn money_and_states_hold_under_any_sequence(
        count in 1..=4_u32,
        side in prop_oneof![Just(1024_u32), Just(2048_u32)],
        steps in proptest::collection::vec((command(), 0..120_u64), 1..60),
    ) {
        let mut now = Timestamp::from_second(1_800_000_000).expect("a time");
        let first = Job::submit(submission(count, side), now, &PRICES, &POLICY);
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
            // Nothing unfinished is without a moment at which somebody looks at it.
            prop_assert_eq!(job.due_at().is_none(), job.status().is_final() && job.dead_letter().is_none());
            if let Some(due) = job.due_at() {
                prop_assert!(due <= job.deadline.max(now));
            }
            // Whoever is put back into the queue has a message on its way.
            if !matches!(before.state, State::Queued { .. }) && matches!(job.state, State::Queued { .. }) {
                prop_assert!(next.dispatch.is_some());
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
                let delivered = u64::from(output.delivered().min(count));
                prop_assert!(delivered > 0);
                prop_assert_eq!(books.account.spent, delivered * job.hold.unit);
            } else {
                prop_assert_eq!(books.account.spent, 0);
            }
        }
    }

    #[test]
    fn an_untouched_job_ends_by_itself(lease in 1..60_u64, starts in proptest::collection::vec(any::<bool>(), 64)) {
        let mut now = Timestamp::from_second(1_800_000_000).expect("a time");
        let mut job = Job::submit(submission(1, 1024), now, &PRICES, &POLICY).job;
        let begin = now;
        for start in starts {
            if start && let Ok(next) = apply(job.clone(), &Command::Start { lease }, now) {
                job = next.job;
            }
            let Some(due) = job.due_at() else { break };
            now = due.max(now);
            match job.clone().overdue(now, &POLICY) {
                Ok(next) => job = next.job,
                Err(_) => job = job.dead_lettered().expect("owed").job,
            }
        }
        now = after(begin, TIME_LIMIT).max(now);
        if !job.status().is_final() {
            job = job.overdue(now, &POLICY).expect("overdue at its deadline").job;
        }
        prop_assert!(job.status().is_final());
    }
}

#[test]
fn a_cancel_that_was_written_first_wins_over_the_result() {
    let now = Timestamp::from_second(1_800_000_000).expect("a time");
    let job = Job::submit(submission(1, 1024), now, &PRICES, &POLICY).job;
    let job = apply(job, &Command::Start { lease: 30 }, now).expect("started").job;
    let job = job.request_cancel(now, &POLICY).expect("requested").job;
    assert_eq!(job.clone().complete(now, output(1)), Err(TransitionError::CancelRequested));
    let due = job.due_at().expect("due");
    assert_eq!(due, after(now, POLICY.cancel_grace), "the sweeper cancels when the worker does not");
    let again = job.clone().request_cancel(after(now, Duration::from_secs(5)), &POLICY).expect("requested twice").job;
    assert_eq!(again.due_at(), Some(due), "asking again does not postpone it");
    assert!(matches!(job.overdue(due, &POLICY).expect("overdue").job.state, State::Cancelled { .. }));
}

#[test]
fn three_of_four_pictures_cost_three() {
    let now = Timestamp::from_second(1_800_000_000).expect("a time");
    let job = Job::submit(submission(4, 2048), now, &PRICES, &POLICY).job;
    let job = apply(job, &Command::Start { lease: 30 }, now).expect("started").job;
    let done = job.complete(now, output(3)).expect("completed");
    let amounts: Vec<_> = done.ledger.iter().map(|entry| (entry.verb, entry.amount)).collect();
    assert_eq!(amounts, [(Verb::Capture, 6), (Verb::Release, 2)]);
}

#[test]
fn attempts_used_up_owe_one_dead_letter_and_a_filter_owes_none() {
    let now = Timestamp::from_second(1_800_000_000).expect("a time");
    let mut job = Job::submit(submission(1, 1024), now, &PRICES, &POLICY).job;
    for _ in 0..POLICY.retry.max_attempts {
        job = apply(job, &Command::Start { lease: 30 }, now).expect("started").job;
        let retry = Command::Fail { disposition: Disposition::Retry { after: None }, jitter: 0.0 };
        job = apply(job, &retry, now).expect("failed").job;
    }
    let letter = job.dead_letter().expect("a dead letter");
    assert_eq!((letter.attempts, letter.error.code), (3, ErrorCode::EngineUnavailable));
    assert_eq!(job.clone().dead_lettered().expect("published").job.dead_letter(), None);

    let again = job.redrive(now, TIME_LIMIT, &POLICY).expect("run again").job;
    assert_eq!((again.attempt(), again.hold.number), (0, 2));
    let again = apply(again, &Command::Start { lease: 30 }, now).expect("started").job;
    let filtered = apply(again, &Command::Complete { delivered: 0 }, now).expect("settled").job;
    assert!(matches!(&filtered.state, State::Failed { error, .. } if error.code == ErrorCode::ContentFiltered));
    assert_eq!(filtered.dead_letter(), None);
}

#[test]
fn a_rate_limited_attempt_and_one_handed_back_are_not_counted() {
    let now = Timestamp::from_second(1_800_000_000).expect("a time");
    let mut job = Job::submit(submission(1, 1024), now, &PRICES, &POLICY).job;
    for _ in 0..10 {
        job = apply(job, &Command::Start { lease: 30 }, now).expect("started").job;
        let throttled = Command::Fail { disposition: Disposition::Throttled { after: None }, jitter: 0.0 };
        job = apply(job, &throttled, now).expect("throttled").job;
        job = apply(job, &Command::Start { lease: 30 }, now).expect("started").job;
        job = apply(job, &Command::HandBack, now).expect("handed back").job;
        assert_eq!(job.attempt(), 0);
    }
}
