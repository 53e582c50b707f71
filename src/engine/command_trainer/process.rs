//! The program's process: begun in a group of its own, waited for, and ended with all of its children.

use std::{io, path::Path, process::Stdio, time::Duration};

use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, sleep_until},
};

use super::{
    blocking,
    run::{Exit, Process, Run, Stopped},
};

/// How often a log is looked at for its length while nobody asks for it.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How often a process that was told to end is looked at.
const SOON: Duration = Duration::from_millis(50);

/// How long a killed process takes at most, unless it hangs in the kernel.
const KILLED: Duration = Duration::from_secs(5);

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

    #[expect(clippy::unnecessary_wraps, reason = "there is a system that has no groups")]
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
            // It has ended meanwhile.
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

/// Begins the program; its output goes into the log, which outlives this process as the program does. Blocks, in a
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
        // How this program is configured, keys included, is none of the trainer's business.
        if name.to_string_lossy().starts_with("MEDIAFORGE_") {
            command.env_remove(name);
        }
    }
    system::own_group(&mut command)?;
    let child = command.spawn()?;
    // What this process has open of the log would look like a program that lives.
    drop(command);
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
    if let Err(error) = run.set_process(Process { began, pid }) {
        // Nobody could find it again.
        system::signal(pid, Signal::Kill)?;
        return Err(error);
    }
    tokio::spawn(supervise(run.clone(), child, supervisor, timeout, grace));
    Ok(())
}

/// Waits for the program to end and writes how it did.
async fn supervise(run: Run, mut child: Child, lock: std::fs::File, timeout: Duration, grace: Duration) {
    // So far away that a clock cannot count it, it is not at all.
    let deadline = Instant::now().checked_add(timeout);
    let mut late = false;
    let status = loop {
        let too_long = async {
            match deadline {
                Some(deadline) if !late => sleep_until(deadline).await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            status = child.wait() => break status,
            () = too_long => {
                late = true;
                stop(run.clone(), Stopped::TooLong, grace);
            }
            () = sleep(LOOK_EVERY) => {
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
            // Children that it left behind would hold the graphics card.
            signal(&ended, Signal::Kill)?;
        }
        written
    });
    if let Err(error) = written.await {
        tracing::error!(%error, job.id = %run.job, "how a training ended was not written");
    }
}

/// Ends the program with all of its children: asks, waits, kills. It goes on when nobody waits for it.
pub(super) fn stop(run: Run, why: Stopped, grace: Duration) -> tokio::task::JoinHandle<io::Result<()>> {
    tokio::spawn(async move {
        let stopped = stop_now(&run, why, grace).await;
        if let Err(error) = &stopped {
            tracing::error!(%error, job.id = %run.job, run = run.n, "a trainer's process was not ended");
        }
        stopped
    })
}

async fn stop_now(run: &Run, why: Stopped, grace: Duration) -> io::Result<()> {
    let asked = run.clone();
    let alive = blocking(move || {
        let alive = asked.is_alive()?;
        if alive {
            asked.set_stopped(why)?;
            signal(&asked, Signal::Terminate)?;
        }
        Ok(alive)
    });
    if !alive.await? || ended(run, grace).await? {
        return Ok(());
    }
    tracing::warn!(job.id = %run.job, run = run.n, ?grace, "the trainer does not end; killing it");
    let killed = run.clone();
    blocking(move || signal(&killed, Signal::Kill)).await?;
    if ended(run, KILLED).await? { Ok(()) } else { Err(io::Error::other("it lives on although it was killed")) }
}

/// Waits until nothing of it lives; `false` when it takes longer.
async fn ended(run: &Run, timeout: Duration) -> io::Result<bool> {
    let until = Instant::now() + timeout;
    loop {
        let looked = run.clone();
        if !blocking(move || looked.is_alive()).await? {
            return Ok(true);
        }
        if Instant::now() >= until {
            return Ok(false);
        }
        sleep(SOON).await;
    }
}

/// Only while something of it lives: its id may be another's afterwards.
fn signal(run: &Run, signal: Signal) -> io::Result<()> {
    match run.process()? {
        Some(process) if process.pid > 1 => system::signal(process.pid, signal),
        _ => Err(io::Error::other("the id of its process was not written; end it by hand")),
    }
}

/// Ends what was told to end by somebody who did not live to see it.
pub(super) async fn end_the_disobedient(directory: &Path) -> io::Result<()> {
    let directory = directory.to_owned();
    for run in blocking(move || Run::disobedient(&directory)).await? {
        tracing::warn!(job.id = %run.job, run = run.n, "killing a trainer that was to end before this start");
        stop(run, Stopped::Cancelled, Duration::ZERO);
    }
    Ok(())
}
