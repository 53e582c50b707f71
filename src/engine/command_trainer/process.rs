//! The program's process: started in its own group, waited for, and stopped with all of its children.

use std::{io, path::Path, process::Stdio, time::Duration};

use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, sleep_until},
};

use super::{
    blocking,
    run::{Exit, Process, Run, StopReason},
};

/// How often the length of a log is checked, besides every poll.
const LOG_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// How often a process that should end is checked.
const EXIT_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// A killed process ends within this time, unless it hangs in the kernel.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// Signals that are sent to a group.
#[derive(Debug, Clone, Copy)]
enum Signal {
    Terminate,
    Kill,
}

#[cfg(unix)]
mod system {
    use std::{io, os::unix::process::ExitStatusExt as _, process::ExitStatus};

    use nix::{errno::Errno, sys::signal, unistd::Pid};

    use super::{Exit, Signal};

    #[expect(clippy::unnecessary_wraps, reason = "fails on systems without process groups")]
    pub(super) fn own_group(command: &mut tokio::process::Command) -> io::Result<()> {
        command.process_group(0);
        Ok(())
    }

    pub(super) fn exit(status: ExitStatus) -> Exit {
        Exit { code: status.code(), signal: status.signal() }
    }

    pub(super) fn signal(group: i32, signal: Signal) -> io::Result<()> {
        let signal = match signal {
            Signal::Terminate => signal::Signal::SIGTERM,
            Signal::Kill => signal::Signal::SIGKILL,
        };
        match signal::killpg(Pid::from_raw(group), signal) {
            // ESRCH: it has already ended.
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(not(unix))]
mod system {
    use std::{io, process::ExitStatus};

    use super::{Exit, Signal};

    fn unsupported() -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "trainer.default = \"command\" needs Unix: process groups"))
    }

    pub(super) fn own_group(_: &mut tokio::process::Command) -> io::Result<()> {
        unsupported()
    }

    pub(super) fn exit(status: ExitStatus) -> Exit {
        Exit { code: status.code(), signal: None }
    }

    pub(super) fn signal(_: i32, _: Signal) -> io::Result<()> {
        unsupported()
    }
}

/// Starts the program. Its output goes to the log, which survives this process as the program does. Blocks; needs a
/// runtime.
pub(super) fn begin(run: &Run, argv: &[String], began: i64, timeout: Duration, grace: Duration) -> io::Result<()> {
    let Some((program, arguments)) = argv.split_first() else {
        return Err(io::Error::new(io::ErrorKind::NotFound, "trainer.command.argv is empty"));
    };
    let (log, supervisor) = (run.lock_log()?, run.lock_supervisor()?);
    let mut command = Command::new(program);
    command.args(arguments);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.env("PYTHONUNBUFFERED", "1").env("MF_JOB", run.job.as_str()).env("MF_ATTEMPT", run.n.to_string());
    for (name, _) in std::env::vars_os() {
        // The trainer must not see this process's configuration, which includes keys.
        if name.to_string_lossy().starts_with("MEDIAFORGE_") {
            command.env_remove(name);
        }
    }
    system::own_group(&mut command)?;
    let child = command.spawn()?;
    // An open log in this process would look like a running program.
    drop(command);
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
    if let Err(error) = run.set_process(Process { began, pid }) {
        // No process could find it again.
        system::signal(pid, Signal::Kill)?;
        return Err(error);
    }
    tokio::spawn(supervise(run.clone(), child, supervisor, timeout, grace));
    Ok(())
}

/// Waits for the program to end and writes its exit status.
async fn supervise(run: Run, mut child: Child, lock: std::fs::File, timeout: Duration, grace: Duration) {
    // `None` for a deadline beyond what a clock can count.
    let deadline = Instant::now().checked_add(timeout);
    let mut is_late = false;
    let status = loop {
        let too_long = async {
            match deadline {
                Some(deadline) if !is_late => sleep_until(deadline).await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            status = child.wait() => break status,
            () = too_long => {
                is_late = true;
                stop(run.clone(), StopReason::TooLong, grace);
            }
            () = sleep(LOG_CHECK_INTERVAL) => {
                let run = run.clone();
                let _ = blocking(move || run.tail()).await;
            }
        }
    };
    let exit = status.map(system::exit).unwrap_or_default();
    tracing::info!(job.id = %run.job, run = run.n, ?exit, "the trainer's process has ended");
    let ended = run.clone();
    let written = blocking(move || {
        let written = ended.set_exit(exit).and_then(|()| ended.drop_dataset());
        drop(lock);
        if ended.is_alive()? {
            // Children that it left would occupy the graphics card.
            signal(&ended, Signal::Kill)?;
        }
        written
    });
    if let Err(error) = written.await {
        tracing::error!(%error, job.id = %run.job, "cannot write how a training ended");
    }
}

/// Stops the program with all of its children: SIGTERM, the grace period, SIGKILL. It continues if the caller stops
/// waiting.
pub(super) fn stop(run: Run, why: StopReason, grace: Duration) -> tokio::task::JoinHandle<io::Result<()>> {
    tokio::spawn(async move {
        let stopped = stop_now(&run, why, grace).await;
        if let Err(error) = &stopped {
            tracing::error!(%error, job.id = %run.job, run = run.n, "a trainer's process could not be stopped");
        }
        stopped
    })
}

async fn stop_now(run: &Run, why: StopReason, grace: Duration) -> io::Result<()> {
    let target = run.clone();
    let alive = blocking(move || {
        let alive = target.is_alive()?;
        if alive {
            target.set_stopped(why)?;
            signal(&target, Signal::Terminate)?;
        }
        Ok(alive)
    });
    if !alive.await? || ended(run, grace).await? {
        return Ok(());
    }
    tracing::warn!(job.id = %run.job, run = run.n, ?grace, "the trainer does not end; killing it");
    let killed = run.clone();
    blocking(move || signal(&killed, Signal::Kill)).await?;
    if ended(run, KILL_TIMEOUT).await? { Ok(()) } else { Err(io::Error::other("it still runs after SIGKILL")) }
}

/// Waits until no process of the run is left; `false` if that takes longer than `timeout`.
async fn ended(run: &Run, timeout: Duration) -> io::Result<bool> {
    let until = Instant::now() + timeout;
    loop {
        let checked = run.clone();
        if !blocking(move || checked.is_alive()).await? {
            return Ok(true);
        }
        if Instant::now() >= until {
            return Ok(false);
        }
        sleep(EXIT_CHECK_INTERVAL).await;
    }
}

/// Signals the group. Call it only while a process of the run is alive: later its id may belong to another program.
fn signal(run: &Run, signal: Signal) -> io::Result<()> {
    match run.process()? {
        Some(process) if process.pid > 1 => system::signal(process.pid, signal),
        _ => Err(io::Error::other("the id of its process was not written; stop it by hand")),
    }
}

/// Stops runs that a process told to stop before it died.
pub(super) async fn stop_leftover_runs(directory: &Path) -> io::Result<()> {
    let directory = directory.to_owned();
    for run in blocking(move || Run::leftover(&directory)).await? {
        tracing::warn!(job.id = %run.job, run = run.n, "killing a trainer that should have ended before this start");
        stop(run, StopReason::Cancelled, Duration::ZERO);
    }
    Ok(())
}
