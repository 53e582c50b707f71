//! The arguments of `mediaforge bench`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use crate::config::duration;

/// Measure how fast the system is on this machine
///
/// Starts its own system (this program, an engine that draws nothing, a temporary data directory) and measures it over
/// HTTP: how fast it accepts jobs, how long they wait, how soon their events arrive, how much memory a watcher takes, how
/// quickly a process starts. In the same run it measures the floors, which are what this machine can do: a bare HTTP
/// handler that parses the same JSON and answers an id, and fdatasync of the disk. The ratio is what the system adds.
///
/// Submits at --connections are a closed loop: each connection sends again as soon as it has its response. The gentle
/// load is an open loop at --rate: latencies count from the moment a request was due, so that a stall hides nothing.
/// Queue time and end-to-end time are differences of the timestamps of the job. The time of an event counts from the
/// timestamp just before the commit to the arrival of the event, so it includes the commit. --json explains every figure.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mediaforge bench                                    measure everything, in a minute and a half
  mediaforge bench --seed-jobs 100000                 on a store with 100,000 finished jobs
  mediaforge bench --only submit,gentle --duration 10s
  mediaforge bench --dir /var/lib --json > bench.json on the disk of /var/lib, as JSON
  mediaforge bench --url http://127.0.0.1:8080        a running system; its jobs cost credits

Exit codes: 0 success, 1 failure or errors of the system, 2 wrong usage, 130 or 143 interrupted.")]
pub(in crate::cli) struct BenchArgs {
    /// Measure the running system with this gateway instead of starting one
    #[arg(long, value_name = "URL", conflicts_with_all = ["seed_jobs", "dir"])]
    pub(super) url: Option<url::Url>,
    /// Numbers of concurrent connections for the submits
    #[arg(long, value_name = "N,N,...", value_delimiter = ',', default_value = "1,16,64", value_parser = connections)]
    pub(super) connections: Vec<usize>,
    /// Duration of each load (the gentle load takes twice as long, the floors half)
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = time)]
    pub(super) duration: Duration,
    /// Jobs per second of the gentle load
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) rate: u32,
    /// Number of jobs of the drain: submitted as fast as possible, then waited for
    #[arg(long, value_name = "N", default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(super) jobs: u64,
    /// Number of event streams to hold open at once
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=50_000))]
    pub(super) watchers: usize,
    /// Fill the store with this many finished jobs first; a million takes some minutes
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=100_000_000))]
    pub(super) seed_jobs: u64,
    /// Measure only these parts
    #[arg(long, value_name = "PART,...", value_delimiter = ',')]
    pub(super) only: Vec<Part>,
    /// Where to create the temporary data directory, whose disk is measured [default: the system's temporary directory]
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(super) dir: Option<PathBuf>,
    /// Print one JSON object instead of the table
    #[arg(long)]
    pub(super) json: bool,
    /// Run the bare handler until standard input ends
    #[arg(long, hide = true)]
    pub(super) floor: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Part {
    /// The bare handler and fdatasync, needed for the ratios
    Floors,
    /// Cold start and idle memory
    Start,
    /// A page of the list and a sweep
    Pages,
    /// Memory per watcher
    Watchers,
    /// An even load: submit, queue time, end to end, events
    Gentle,
    /// Many jobs at once, until the last one has ended
    Drain,
    /// Submits as fast as possible
    Submit,
}

impl BenchArgs {
    pub(super) fn measures(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

fn connections(text: &str) -> Result<usize, String> {
    let number = text.trim().parse().ok().filter(|number| (1..=1024).contains(number));
    number.ok_or_else(|| "each number must be from 1 to 1024".to_owned())
}

fn time(text: &str) -> Result<Duration, String> {
    let range = Duration::from_millis(100)..=Duration::from_hours(1);
    let time = duration::from_text(text)?;
    if range.contains(&time) { Ok(time) } else { Err("must be from 100ms to 1h".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_and_durations_outside_their_range_are_refused() {
        assert_eq!(connections("64"), Ok(64));
        assert!(connections("0").is_err() && connections("many").is_err() && connections("5000").is_err());
        assert_eq!(time("300ms"), Ok(Duration::from_millis(300)));
        assert!(time("1ms").is_err() && time("2h").is_err());
    }
}
