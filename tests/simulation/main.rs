//! The whole system in one thread on simulated time: the real domain, use cases and push endpoints over ports that lose,
//! repeat, delay and refuse, in processes that crash, freeze and disagree about the time.
//!
//! One number decides everything, so every failure can be replayed:
//!
//! ```text
//! MEDIAFORGE_SIM_SEED=4711 cargo test --test simulation every_seed -- --nocapture    # one run, logged line by line
//! MEDIAFORGE_SIM_SEEDS=200000 cargo test --release --test simulation every_seed -- --nocapture
//! MEDIAFORGE_SIM_FIRST=200000 …                                                      # the first seed of many
//! ```

mod audit;
mod checks;
mod client;
mod dice;
mod engine;
mod media;
mod nemesis;
mod plan;
mod process;
mod queue;
mod records;
mod scenario;
mod serving;
mod store;
mod trainer;
mod watcher;
mod world;

use std::{
    fmt::Write as _,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use plan::{Broken, Fault};
use scenario::run;
use world::{Coverage, Report};

/// Seeds of an ordinary test run.
const SEEDS: u64 = 2_000;
const THREADS: usize = 2;

/// Events that must occur in that many runs, in addition to every fault.
const EXPECTED: &[&str] = &[
    "attempt after the first",
    "attempt failed, job requeued",
    "attempt throttled",
    "change watched",
    "commit conflicts",
    "dead letter recorded",
    "dead letter settled",
    "job accepted",
    "job cancelled",
    "job claimed",
    "job completed",
    "job deleted",
    "job failed",
    "job failed, dead letter owed",
    "job handed back",
    "job published again",
    "job redriven",
    "key reuse refused",
    "lease renewed",
    "message delivered again",
    "message given up by the queue",
    "stranger sent away",
    "submit refused: no credits",
    "submit replayed",
    "training begun",
    "training found again",
    "training re-attached",
    "training stopped",
    "watch ended with the final state",
];

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a whole number, not {text:?}")))
}

/// The log of a run, for people.
fn story(seed: u64, report: &Report) -> String {
    let mut text = format!("seed {seed}:\n{}\n", report.lines.join("\n"));
    for violation in &report.violations {
        let _ = writeln!(text, "VIOLATION of {violation}");
    }
    let _ = writeln!(
        text,
        "replay it with\n  MEDIAFORGE_SIM_SEED={seed} cargo test --test simulation every_seed -- --nocapture"
    );
    text
}

#[test]
fn every_seed_keeps_every_promise() {
    if let Some(seed) = number("MEDIAFORGE_SIM_SEED") {
        let report = run(seed, None, true);
        println!("{}", story(seed, &report));
        assert!(report.violations.is_empty(), "seed {seed} breaks a promise");
        return;
    }
    let first = number("MEDIAFORGE_SIM_FIRST").unwrap_or(0);
    let seeds = number("MEDIAFORGE_SIM_SEEDS").unwrap_or(SEEDS);
    let (next, failed, coverage) = (AtomicU64::new(0), Mutex::new(Vec::new()), Mutex::new(Coverage::new()));
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::SeqCst);
            if at >= seeds || failed.lock().expect("a lock").len() >= 10 {
                return;
            }
            let report = run(first + at, None, false);
            for (what, times) in report.coverage {
                *coverage.lock().expect("a lock").entry(what).or_default() += times;
            }
            if let Some(violation) = report.violations.into_iter().next() {
                failed.lock().expect("a lock").push((first + at, violation));
            }
        }
    };
    thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(work))));
    let (mut failed, coverage) = (failed.into_inner().expect("a lock"), coverage.into_inner().expect("a lock"));
    for (what, times) in &coverage {
        println!("{times:>10}  {what}");
    }
    failed.sort_unstable();
    if let Some((seed, _)) = failed.first() {
        let all: Vec<_> = failed.iter().map(|(seed, violation)| format!("  seed {seed}: {violation}")).collect();
        panic!(
            "{} of {seeds} seeds break a promise:\n{}\n\n{}",
            failed.len(),
            all.join("\n"),
            story(*seed, &run(*seed, None, true))
        );
    }
    if seeds >= SEEDS {
        let names = Fault::ALL.iter().map(|fault| fault.name()).chain(EXPECTED.iter().copied());
        let missing: Vec<_> = names.filter(|name| !coverage.contains_key(name)).collect();
        assert!(missing.is_empty(), "in {seeds} seeds this never happened: {missing:?}");
    }
}

#[test]
fn a_seed_is_the_same_run_every_time() {
    for seed in 0..number("MEDIAFORGE_SIM_SEEDS").unwrap_or(SEEDS) / 50 {
        let (one, two) = (run(seed, None, false), run(seed, None, true));
        assert_eq!(one.fingerprint, two.fingerprint, "seed {seed} is not the same run twice");
        assert_eq!(one.coverage, two.coverage);
    }
}

/// Proves that the checks detect a defect.
fn is_found_within_100_seeds(broken: Broken, rule: &str) {
    let is_found = |seed: &u64| run(*seed, Some(broken), false).violations.iter().any(|found| found.starts_with(rule));
    assert!((0..100).any(|seed| is_found(&seed)), "{broken:?} was not found by {rule}");
}

#[test]
fn a_broken_fence_is_found_within_100_seeds() {
    is_found_within_100_seeds(Broken::Fencing, "I6");
}

#[test]
fn a_forgotten_settlement_is_found_within_100_seeds() {
    is_found_within_100_seeds(Broken::Settlement, "I2");
}

#[test]
fn a_repeated_ledger_entry_is_found_within_100_seeds() {
    is_found_within_100_seeds(Broken::Repetition, "I3");
}

#[test]
fn a_dead_sweeper_is_found_within_100_seeds() {
    is_found_within_100_seeds(Broken::Sweeper, "I1");
}
