//! `mediaforge bench`

mod args;
mod client;
mod context;
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

use std::time::Duration;

use anyhow::Context as _;
use tempfile::TempDir;

pub(super) use self::args::BenchArgs;
use self::{progress::Progress, report::Report};
use super::{Exit, Failure, Invocation, output};
use crate::lifecycle;

pub(super) async fn run(args: BenchArgs, invocation: &Invocation) -> anyhow::Result<Exit> {
    if args.floor {
        return floors::serve().await;
    }
    let global = &invocation.global;
    if global.data_dir.is_some() || global.profile.is_some() || global.config.is_some() {
        let message =
            "`bench` starts a system with its own settings, so --data-dir, --profile and --config have no effect";
        let hint = "choose the disk with --dir, or measure a system with your own configuration with --url";
        return Err(Failure::new(Exit::Usage, message).hint(hint).into());
    }
    let signal = lifecycle::next_signal().context("cannot listen for signals")?;
    let directory = match &args.url {
        Some(_) => None,
        None => Some(temporary(&args)?),
    };
    // Before the first process starts, because processes inherit the limit.
    system::raise_file_limit(args.watchers);
    let progress = Progress::new();
    let measured = tokio::select! {
        measured = measure(&args, &progress, directory.as_ref()) => measured,
        // Drops the measurement, which kills its processes.
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
        output::note(format!("the log of the measured system ends with:\n{log}"));
    }
    Ok(Exit::Failed)
}

async fn measure(
    args: &BenchArgs,
    progress: &Progress,
    directory: Option<&TempDir>,
) -> anyhow::Result<(Report, String)> {
    match (&args.url, directory) {
        (Some(url), _) => Ok((run::measure_remote(args, progress, url).await?, String::new())),
        (None, Some(directory)) => run::measure_own(args, progress, directory.path()).await,
        (None, None) => anyhow::bail!("neither a URL nor a directory is given"),
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
    let created = tempfile::Builder::new().prefix("mediaforge-bench-").tempdir_in(&parent);
    created.with_context(|| format!("cannot create a temporary directory in {}", parent.display()))
}

/// Removes the directory. Retries, because a process that has just been killed may still be writing.
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
