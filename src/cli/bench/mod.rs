//! `mediaforge bench`

mod client;
mod document;
mod drain;
mod floors;
mod gentle;
mod load;
mod machine;
mod progress;
mod report;
mod run;
mod seed;
mod stats;
mod steady;
mod system;
mod table;
mod watchers;

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use tempfile::TempDir;

use self::{progress::Progress, report::Report};
use super::{Exit, Failure, Invocation, output};
use crate::{config::duration, lifecycle};

/// Measure how fast the system is on this machine
///
/// Starts a system of its own (this program, an engine that draws nothing, a temporary data directory) and measures it
/// from outside, over HTTP: how fast jobs are accepted, how long they wait, how soon their events arrive, what a watcher
/// costs, how quickly a process starts. In the same run it measures the floors: a bare HTTP handler that parses the same
/// JSON and answers an id, and fdatasync of the disk. The ratio of the two is what the system adds.
///
/// Submits at --connections are a closed loop: each connection sends again once it is answered. The gentle load is an
/// open loop at --rate: latencies count from the moment a request was to be sent, so that a stall hides nothing. Queue
/// time and end-to-end time are differences of the job's own timestamps. An event's time counts from the timestamp taken
/// just before the commit to the arrival of the event, so the commit is in it. --json explains every figure.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mediaforge bench                                    a minute and a half, everything
  mediaforge bench --seed-jobs 100000                 the same on a store with 100,000 finished jobs
  mediaforge bench --only submit,gentle --duration 10s
  mediaforge bench --dir /var/lib --json > bench.json the disk below /var/lib, for machines
  mediaforge bench --url http://127.0.0.1:8080        a running system; its jobs are real and cost what they cost

Exit codes: 0 measured, 1 failed or the system gave errors, 2 wrong usage, 130 or 143 interrupted.")]
pub(super) struct BenchArgs {
    /// Measure the system whose gateway is there instead of one of its own
    #[arg(long, value_name = "URL", conflicts_with_all = ["seed_jobs", "dir"])]
    url: Option<url::Url>,
    /// Numbers of connections to submit over
    #[arg(long, value_name = "N,N,...", value_delimiter = ',', default_value = "1,16,64", value_parser = connections)]
    connections: Vec<usize>,
    /// How long each load lasts (the gentle one twice, the floors half)
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = time)]
    duration: Duration,
    /// Jobs a second of the gentle load
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Jobs to submit as fast as possible and to wait for
    #[arg(long, value_name = "N", default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    jobs: u64,
    /// Streams of events to hold open at once
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=50_000))]
    watchers: usize,
    /// Fill the store with that many finished jobs before anything is measured; a million takes some minutes
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=100_000_000))]
    seed_jobs: u64,
    /// Measure only these parts
    #[arg(long, value_name = "PART,...", value_delimiter = ',')]
    only: Vec<Part>,
    /// Where to make the temporary data directory: its disk is measured [default: the system's temporary directory]
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    dir: Option<PathBuf>,
    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,
    /// Be the bare handler, until standard input ends
    #[arg(long, hide = true)]
    floor: bool,
}

/// A part of the measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Part {
    /// The bare handler and fdatasync; without them there are no ratios
    Floors,
    /// Start and idle memory
    Start,
    /// A page of the list, a sweep
    Pages,
    /// Memory per watcher
    Watchers,
    /// Even load: submit, queue time, end to end, events
    Gentle,
    /// Many jobs at once, until the last has ended
    Drain,
    /// Submits as fast as possible
    Submit,
}

impl BenchArgs {
    fn measures(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

fn connections(text: &str) -> Result<usize, String> {
    let number = text.trim().parse().ok().filter(|number| (1..=1024).contains(number));
    number.ok_or_else(|| "each must be a number from 1 to 1024".to_owned())
}

fn time(text: &str) -> Result<Duration, String> {
    let range = Duration::from_millis(100)..=Duration::from_hours(1);
    let time = duration::from_text(text)?;
    if range.contains(&time) { Ok(time) } else { Err("must be from 100ms to 1h".to_owned()) }
}

pub(super) async fn run(args: BenchArgs, invocation: &Invocation) -> anyhow::Result<Exit> {
    if args.floor {
        return floors::serve().await;
    }
    let global = &invocation.global;
    if global.data_dir.is_some() || global.profile.is_some() || global.config.is_some() {
        let message =
            "`bench` measures a system with settings of its own: --data-dir, --profile and --config mean nothing";
        let hint = "--dir says on which disk, --url measures a system that is configured as you like";
        return Err(Failure::new(Exit::Usage, message).hint(hint).into());
    }
    let signal = lifecycle::next_signal().context("cannot listen for signals")?;
    let directory = match &args.url {
        Some(_) => None,
        None => Some(temporary(&args)?),
    };
    // Before the first process is started, for they inherit it.
    system::room_for(args.watchers);
    let progress = Progress::new();
    let measured = tokio::select! {
        measured = measure(&args, &progress, directory.as_ref()) => measured,
        // What was being measured is dropped, and its processes are killed with it.
        signal = signal => {
            progress.finish();
            if let Some(directory) = directory {
                remove(directory).await?;
            }
            return Ok(Exit::Signal(signal.exit_code()));
        }
    };
    progress.finish();
    if let Some(directory) = directory {
        remove(directory).await?;
    }
    let (report, log) = measured?;
    show(&args, &report)?;
    if report.errors.is_empty() {
        return Ok(Exit::Done);
    }
    if !log.is_empty() {
        output::note(format!("the last that the measured system said:\n{log}"));
    }
    Ok(Exit::Failed)
}

async fn measure(
    args: &BenchArgs,
    progress: &Progress,
    directory: Option<&TempDir>,
) -> anyhow::Result<(Report, String)> {
    match (&args.url, directory) {
        (Some(url), _) => Ok((run::at(args, progress, url).await?, String::new())),
        (None, Some(directory)) => run::own(args, progress, directory.path()).await,
        (None, None) => anyhow::bail!("there is neither a URL nor a directory"),
    }
}

fn show(args: &BenchArgs, report: &Report) -> anyhow::Result<()> {
    if args.json {
        for warning in report.machine.warnings() {
            output::note(format!("warning: {warning}"));
        }
        output::line(serde_json::to_string_pretty(report)?)?;
    } else {
        output::line(table::text(report, None))?;
    }
    Ok(())
}

fn temporary(args: &BenchArgs) -> anyhow::Result<TempDir> {
    let parent = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let made = tempfile::Builder::new().prefix("mediaforge-bench-").tempdir_in(&parent);
    made.with_context(|| format!("cannot make a temporary directory in {}", parent.display()))
}

/// Removes everything. A process that has just been killed may still be writing for a moment.
async fn remove(directory: TempDir) -> anyhow::Result<()> {
    let path = directory.keep();
    for _ in 0..50 {
        match tokio::fs::remove_dir_all(&path).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            _ => return Ok(()),
        }
    }
    tokio::fs::remove_dir_all(&path).await.with_context(|| format!("cannot remove {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_and_durations_are_held_to_what_can_be_measured() {
        assert_eq!(connections("64"), Ok(64));
        assert!(connections("0").is_err() && connections("many").is_err() && connections("5000").is_err());
        assert_eq!(time("300ms"), Ok(Duration::from_millis(300)));
        assert!(time("1ms").is_err() && time("2h").is_err());
    }
}
