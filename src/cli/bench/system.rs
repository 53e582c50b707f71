//! The measured system: a process of this same program, so that its start and its memory are its own.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

use super::client::{Client, Target};
use crate::config::{Config, ConfigError, Environment, Flag, Sources, load};

/// The environment of the measured system: everything in which it differs from `mediaforge serve`.
///
/// Limits that protect a service from one greedy client are lifted here, for the load generator is one.
pub(super) const SETTINGS: &[(&str, &str)] = &[
    ("MEDIAFORGE_PROFILE", "local"),
    // The system is measured, not what draws.
    ("MEDIAFORGE_ENGINE__DEFAULT", "noop"),
    ("MEDIAFORGE_WORKER__SLOTS", "64"),
    // Nobody runs out of credits.
    ("MEDIAFORGE_CREDITS__STARTING_GRANT", "1000000000"),
    // A few users stand for many.
    ("MEDIAFORGE_LIMITS__JOBS_IN_FLIGHT", "0"),
    ("MEDIAFORGE_GATEWAY__STREAMS_PER_USER", "0"),
    // What goes wrong is kept for the report; a line for every job would be measured with it.
    ("MEDIAFORGE_TELEMETRY__FILTER", "warn"),
    ("MEDIAFORGE_TELEMETRY__FORMAT", "json"),
];

/// How long a process may take to start or to end.
const TIMEOUT: Duration = Duration::from_mins(1);
/// How often the ready file is looked for: the start is known this exactly.
const LOOK: Duration = Duration::from_micros(200);

/// The configuration that the measured system will have, for what is done to its data before it starts.
pub(super) fn config(data: &Path) -> Result<Config, ConfigError> {
    let value = data.to_string_lossy().into_owned();
    let flags = vec![Flag { name: "--data-dir", key: "data_dir", value }];
    let environment = Environment::of(SETTINGS.iter().copied());
    Ok(load(&Sources { environment, flags, ..Sources::default() })?.config)
}

/// A running system. It is killed when it is dropped.
pub(super) struct System {
    child: Child,
    pub gateway: Target,
    /// Absent when only the gateway runs.
    pub worker: Option<Target>,
    /// From the start of the process to its first answer.
    pub started_in: Duration,
    log: PathBuf,
}

/// `serve --ready-file`
#[derive(Deserialize)]
struct Ready {
    gateway: url::Url,
    #[serde(default)]
    worker: Option<url::Url>,
}

impl System {
    /// Starts one on this data directory and waits for the first answer of `/health`. Its files beside the data are
    /// named after it.
    pub(super) async fn start(data: &Path) -> anyhow::Result<Self> {
        Self::serving(data, &["serve", "--gateway-listen", "127.0.0.1:0", "--worker-listen", "127.0.0.1:0"]).await
    }

    /// The gateway without its worker.
    pub(super) async fn start_gateway(data: &Path) -> anyhow::Result<Self> {
        Self::serving(data, &["serve", "gateway", "--gateway-listen", "127.0.0.1:0"]).await
    }

    async fn serving(data: &Path, role: &[&str]) -> anyhow::Result<Self> {
        let (ready, log) = (data.with_extension("ready.json"), data.with_extension("log"));
        let mut command = program()?;
        command.args(role).arg("--data-dir").arg(data).arg("--ready-file").arg(&ready);
        command.envs(SETTINGS.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
        let begun = Instant::now();
        let mut child = command.spawn().context("cannot start the system to measure")?;
        let place = appearing(ready);
        let text = tokio::select! {
            text = timeout(TIMEOUT, place) => text.context("the system to measure does not get ready")??,
            status = child.wait() => anyhow::bail!("the system to measure ended with {}: {}", status?, tail(&log)),
        };
        let Ready { gateway, worker } = serde_json::from_str(&text).context("the ready file says something else")?;
        let (gateway, worker) = (Target::of(&gateway)?, worker.as_ref().map(Target::of).transpose()?);
        let _: serde_json::Value = Client::new(&gateway).json(&gateway.get("/health")?).await?;
        Ok(Self { child, gateway, worker, started_in: begun.elapsed(), log })
    }

    /// What the process holds now, and the most it has held; `None` where the system does not tell.
    pub(super) fn memory(&self) -> Option<Memory> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        Memory::of(&status)
    }

    /// The last it said, warnings and errors only.
    pub(super) fn log(&self) -> String {
        tail(&self.log)
    }

    /// Ends it as a service manager would, and waits until it is gone.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        end(&mut self.child).await?;
        Ok(())
    }
}

/// Bytes of memory of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memory {
    pub resident: u64,
    pub peak: u64,
}

impl Memory {
    /// From the text of `/proc/<pid>/status`.
    fn of(status: &str) -> Option<Self> {
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
        };
        Some(Self { resident: 1024 * kib("VmRSS:")?, peak: 1024 * kib("VmHWM:")? })
    }
}

/// The floor's own process: this program, started as `bench --floor`.
pub(super) struct Floor {
    child: Child,
    pub target: Target,
}

impl Floor {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let mut command = program()?;
        // It ends when its input does: it cannot outlive who started it.
        command.args(["bench", "--floor"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start the bare handler")?;
        let output = child.stdout.take().context("the bare handler has no output")?;
        let line = timeout(TIMEOUT, BufReader::new(output).lines().next_line()).await??;
        let url = line.context("the bare handler says nothing")?.parse::<url::Url>()?;
        Ok(Self { child, target: Target::of(&url)? })
    }

    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        self.child.kill().await?;
        Ok(())
    }
}

/// This program again, without what the person's shell says about another system.
fn program() -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("MEDIAFORGE_") || ["PORT", "K_SERVICE", "RUST_LOG"].contains(&&*text) {
            command.env_remove(&name);
        }
    }
    command.kill_on_drop(true);
    Ok(command)
}

/// The text of a file that somebody is about to put in place.
async fn appearing(file: PathBuf) -> anyhow::Result<String> {
    /// Lets the thread end with the future that waits for it.
    struct Given(Arc<AtomicBool>);
    impl Drop for Given {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let given_up = Arc::new(AtomicBool::new(false));
    let _given = Given(Arc::clone(&given_up));
    // A thread, because the runtime's timers are coarser than what is measured.
    let look = move || {
        loop {
            match fs::read_to_string(&file) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && !given_up.load(Ordering::Relaxed) => {
                    std::thread::sleep(LOOK);
                }
                found => return found,
            }
        }
    };
    Ok(tokio::task::spawn_blocking(look).await??)
}

async fn end(child: &mut Child) -> anyhow::Result<()> {
    #[cfg(unix)]
    if let Some(id) = child.id().and_then(|id| i32::try_from(id).ok()) {
        use nix::{sys::signal, unistd::Pid};
        signal::kill(Pid::from_raw(id), signal::Signal::SIGTERM)?;
        if timeout(TIMEOUT, child.wait()).await.is_ok() {
            return Ok(());
        }
    }
    child.kill().await?;
    Ok(())
}

/// The end of a log, for an error.
fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// Lets this process and those it starts open that many files more than usual, and says how many connections fit.
pub(super) fn room_for(connections: usize) -> usize {
    /// What a process needs beside its watchers.
    const OTHERS: u64 = 512;
    #[cfg(unix)]
    {
        use nix::sys::resource::{Resource, getrlimit, setrlimit};
        let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(OTHERS);
        let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return connections };
        let open = if soft < wanted { wanted.min(hard) } else { soft };
        let open = if setrlimit(Resource::RLIMIT_NOFILE, open, hard).is_ok() { open } else { soft };
        connections.min(usize::try_from(open.saturating_sub(OTHERS)).unwrap_or(usize::MAX))
    }
    #[cfg(not(unix))]
    connections
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_measured_system_has_a_valid_configuration_with_a_noop_engine() {
        let config = config(Path::new("/data")).unwrap();
        assert_eq!(config.engine.default, "noop");
        assert_eq!(config.data_dir, Path::new("/data"));
    }

    #[test]
    fn memory_is_what_the_system_says() {
        let status = "Name:\tmediaforge\nVmHWM:\t   20480 kB\nVmRSS:\t   10240 kB\nThreads:\t4\n";
        assert_eq!(Memory::of(status), Some(Memory { resident: 10 << 20, peak: 20 << 20 }));
        assert_eq!(Memory::of("Name:\tkthreadd\n"), None);
    }

    #[tokio::test]
    async fn a_file_that_appears_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ready.json");
        let found = tokio::spawn(appearing(file.clone()));
        fs::write(dir.path().join("tmp"), "here").unwrap();
        fs::rename(dir.path().join("tmp"), file).unwrap();
        assert_eq!(found.await.unwrap().unwrap(), "here");
    }
}
