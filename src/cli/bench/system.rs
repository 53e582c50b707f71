//! The measured system: a separate process of this program, so that its start and memory can be measured.

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

/// The environment of the measured system: every setting in which it differs from `mediaforge serve`. It has no limits
/// per client, because the load generator would exceed them.
pub(super) const SETTINGS: &[(&str, &str)] = &[
    ("MEDIAFORGE_PROFILE", "local"),
    // The engine is not part of the measurement.
    ("MEDIAFORGE_ENGINE__DEFAULT", "noop"),
    ("MEDIAFORGE_WORKER__SLOTS", "64"),
    ("MEDIAFORGE_CREDITS__STARTING_GRANT", "1000000000"),
    // A few users represent many.
    ("MEDIAFORGE_LIMITS__JOBS_IN_FLIGHT", "0"),
    ("MEDIAFORGE_GATEWAY__STREAMS_PER_USER", "0"),
    // Keeps warnings and errors for the report; a line for every job would slow the system down.
    ("MEDIAFORGE_TELEMETRY__FILTER", "warn"),
    ("MEDIAFORGE_TELEMETRY__FORMAT", "json"),
];

/// Time limit for a process to start or to end.
const TIMEOUT: Duration = Duration::from_mins(1);
/// How often to look for the ready file; this is the precision of the measured start.
const POLL_INTERVAL: Duration = Duration::from_micros(200);

/// The configuration of the measured system, for filling its store before it starts.
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
    /// Starts a system on this data directory and waits for its first response to `/health`. The ready file and the log
    /// are beside the directory and named after it.
    pub(super) async fn start(data: &Path) -> anyhow::Result<Self> {
        Self::serving(data, &["serve", "--gateway-listen", "127.0.0.1:0", "--worker-listen", "127.0.0.1:0"]).await
    }

    /// Starts the gateway without a worker.
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
        let mut child = command.spawn().context("cannot start the system")?;
        let ready = wait_for_file(ready);
        let text = tokio::select! {
            text = timeout(TIMEOUT, ready) => text.context("the measured system did not become ready in time")??,
            status = child.wait() => anyhow::bail!("the measured system exited with {}: {}", status?, tail(&log)),
        };
        let Ready { gateway, worker } = serde_json::from_str(&text).context("the ready file has unexpected content")?;
        let (gateway, worker) = (Target::of(&gateway)?, worker.as_ref().map(Target::of).transpose()?);
        let _: serde_json::Value = Client::new(&gateway).json(&gateway.get("/health")?).await?;
        Ok(Self { child, gateway, worker, started_in: begun.elapsed(), log })
    }

    /// Current and peak memory of the process; `None` if the operating system does not report it.
    pub(super) fn memory(&self) -> Option<Memory> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        Memory::of(&status)
    }

    /// The end of its log, which contains only warnings and errors.
    pub(super) fn log(&self) -> String {
        tail(&self.log)
    }

    /// Stops it as a service manager would and waits until it has exited.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        end(&mut self.child).await?;
        Ok(())
    }
}

/// Memory of a process in bytes.
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

/// The process of the bare handler: this program, started as `bench --floor`.
pub(super) struct Floor {
    child: Child,
    pub target: Target,
}

impl Floor {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let mut command = program()?;
        // It ends when its input ends, so it cannot outlive this process.
        command.args(["bench", "--floor"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start the bare handler")?;
        let output = child.stdout.take().context("the bare handler has no output")?;
        let line = timeout(TIMEOUT, BufReader::new(output).lines().next_line()).await??;
        let url = line.context("the bare handler did not print its address")?.parse::<url::Url>()?;
        Ok(Self { child, target: Target::of(&url)? })
    }

    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        self.child.kill().await?;
        Ok(())
    }
}

/// This program, without the variables of the shell that configure another system.
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

/// Waits for a file to appear and returns its text.
async fn wait_for_file(file: PathBuf) -> anyhow::Result<String> {
    /// Stops the thread when the future is dropped.
    struct StopOnDrop(Arc<AtomicBool>);
    impl Drop for StopOnDrop {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stopped = Arc::new(AtomicBool::new(false));
    let _stop = StopOnDrop(Arc::clone(&stopped));
    // A thread, because the timers of the runtime are too coarse.
    let poll = move || {
        loop {
            match fs::read_to_string(&file) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && !stopped.load(Ordering::Relaxed) => {
                    std::thread::sleep(POLL_INTERVAL);
                }
                found => return found,
            }
        }
    };
    Ok(tokio::task::spawn_blocking(poll).await??)
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

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// Raises the limit of open files for this process and its children, and returns how many connections it allows.
pub(super) fn raise_file_limit(connections: usize) -> usize {
    /// Files that a process needs besides its connections.
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
    fn memory_is_read_from_proc() {
        let status = "Name:\tmediaforge\nVmHWM:\t   20480 kB\nVmRSS:\t   10240 kB\nThreads:\t4\n";
        assert_eq!(Memory::of(status), Some(Memory { resident: 10 << 20, peak: 20 << 20 }));
        assert_eq!(Memory::of("Name:\tkthreadd\n"), None);
    }

    #[tokio::test]
    async fn a_file_that_appears_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ready.json");
        let found = tokio::spawn(wait_for_file(file.clone()));
        fs::write(dir.path().join("tmp"), "here").unwrap();
        fs::rename(dir.path().join("tmp"), file).unwrap();
        assert_eq!(found.await.unwrap().unwrap(), "here");
    }
}
