//! The real binary on ports of its own, and clients for it.

pub mod sse;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_mediaforge");

/// How long anything may take before the test gives up. Generous: nothing waits this long unless it is broken.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// How the two roles are laid out over processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topology {
    /// `serve`.
    OneProcess,
    /// `serve gateway` and `serve worker` on one data directory.
    TwoProcesses,
}

/// A running system. Its processes are killed when it is dropped.
pub struct System {
    pub gateway: String,
    pub worker: String,
    pub client: reqwest::Client,
    data: TempDir,
    topology: Topology,
    environment: Vec<(String, String)>,
    processes: Vec<Child>,
}

impl System {
    /// Starts a system of the `test` profile with these extra environment variables.
    pub async fn start(topology: Topology, environment: &[(&str, &str)]) -> Self {
        let data = tempfile::tempdir().expect("a temporary directory");
        let environment = environment.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let mut system = Self {
            gateway: String::new(),
            worker: String::new(),
            client: client(),
            data,
            topology,
            environment,
            processes: Vec::new(),
        };
        system.launch().await;
        system
    }

    /// Starts the processes again on the same data directory.
    pub async fn launch(&mut self) {
        match self.topology {
            Topology::OneProcess => {
                let ready = self.spawn(&[]).await;
                self.gateway = text(&ready, "gateway");
                self.worker = text(&ready, "worker");
            }
            Topology::TwoProcesses => {
                self.gateway = text(&self.spawn(&["gateway"]).await, "gateway");
                self.worker = text(&self.spawn(&["worker"]).await, "worker");
            }
        }
    }

    async fn spawn(&mut self, role: &[&str]) -> Value {
        let file = self.data.path().join(format!("ready-{}.json", role.first().unwrap_or(&"all")));
        let _ = std::fs::remove_file(&file);
        let mut command = command(self.data_dir());
        command.arg("serve").args(role).arg("--ready-file").arg(&file);
        command.env("MEDIAFORGE_GATEWAY__LISTEN", "127.0.0.1:0").env("MEDIAFORGE_WORKER__LISTEN", "127.0.0.1:0");
        command.envs(self.environment.iter().cloned()).stdout(Stdio::null()).stderr(self.log(role)).kill_on_drop(true);
        let mut child = command.spawn().expect("the binary starts");
        let ready = timeout(PATIENCE, async {
            loop {
                if let Ok(text) = std::fs::read(&file) {
                    break serde_json::from_slice::<Value>(&text).expect("the ready file is written as a whole");
                }
                if let Some(status) = child.try_wait().expect("a child") {
                    panic!("serve {role:?} ended with {status}: {}", self.logs());
                }
                sleep(Duration::from_millis(5)).await;
            }
        });
        let ready = ready.await.unwrap_or_else(|_| panic!("serve {role:?} is not ready: {}", self.logs()));
        assert_eq!(ready["pid"].as_u64(), child.id().map(u64::from));
        self.processes.push(child);
        ready
    }

    fn log(&self, role: &[&str]) -> Stdio {
        let path = self.data.path().join(format!("log-{}.txt", role.first().unwrap_or(&"all")));
        std::fs::OpenOptions::new().append(true).create(true).open(path).expect("a log file").into()
    }

    /// Everything the processes wrote to standard error.
    pub fn logs(&self) -> String {
        let files = std::fs::read_dir(self.data.path()).expect("a directory").filter_map(Result::ok);
        let logs = files.filter(|file| file.file_name().to_string_lossy().starts_with("log-"));
        logs.map(|file| std::fs::read_to_string(file.path()).unwrap_or_default()).collect()
    }

    /// The data directory of the embedded parts.
    pub fn data_dir(&self) -> PathBuf {
        self.data.path().join("data")
    }

    /// The most memory that the first process has held at once, in bytes.
    #[cfg(target_os = "linux")]
    pub fn peak_memory(&self) -> u64 {
        let id = self.processes[0].id().expect("running");
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("a status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        1024 * line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
    }

    /// Sends a signal to every process, or to the one of that index.
    pub fn signal(&self, signal: Signal) {
        for process in &self.processes {
            let id = i32::try_from(process.id().expect("running")).expect("a process id");
            kill(Pid::from_raw(id), signal).expect("a signal");
        }
    }

    /// Ends the processes as a power cut would, and waits until they are gone.
    pub async fn kill(&mut self) {
        for mut process in self.processes.drain(..) {
            process.kill().await.expect("killed");
        }
    }

    /// Sets an environment variable of the processes that are launched next, or removes it.
    pub fn set(&mut self, variable: &str, value: Option<&str>) {
        self.environment.retain(|(key, _)| key != variable);
        self.environment.extend(value.map(|value| (variable.to_owned(), value.to_owned())));
    }

    /// Waits until the processes have ended by themselves; how they did.
    pub async fn ended(&mut self) -> Vec<std::process::ExitStatus> {
        let mut ends = Vec::new();
        for mut process in std::mem::take(&mut self.processes) {
            let end = timeout(PATIENCE, process.wait()).await;
            ends.push(end.unwrap_or_else(|_| panic!("it never ends: {}", self.logs())).expect("a status"));
        }
        ends
    }

    /// Ends the processes as Ctrl-C would; answers how long it took. All must exit with 0.
    pub async fn terminate(&mut self) -> Duration {
        let begun = Instant::now();
        self.signal(Signal::SIGTERM);
        let logs = self.logs();
        for mut process in self.processes.drain(..) {
            let status = timeout(PATIENCE, process.wait()).await.expect("ends").expect("a status");
            assert!(status.success(), "{status}: {logs}");
        }
        begun.elapsed()
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.gateway)
    }

    /// `GET path`, which must answer 200 with JSON.
    pub async fn get(&self, path: &str) -> Value {
        let answer = self.client.get(self.url(path)).send().await.expect("an answer");
        let status = answer.status();
        let body = answer.text().await.expect("a body");
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).expect("JSON")
    }

    /// `POST path` with a JSON body; the status and the JSON of the answer.
    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        answer(self.client.post(self.url(path)).json(body)).await
    }

    /// Submits a small picture and answers its id.
    pub async fn submit(&self, user: &str, prompt: &str) -> String {
        let body =
            serde_json::json!({ "userId": user, "prompt": prompt, "styleId": "flat-2d", "width": 256, "height": 256 });
        let (status, answer) = self.post("/generate", &body).await;
        assert_eq!(status, 202, "{answer}");
        text(&answer, "illustrationId")
    }

    /// The job once it has one of these statuses.
    pub async fn until(&self, user: &str, id: &str, statuses: &[&str]) -> Value {
        let path = format!("/illustrations/{id}?userId={user}");
        let wait = async {
            loop {
                let job = self.get(&path).await;
                if statuses.iter().any(|status| job["status"] == *status) {
                    break job;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{id} never became {statuses:?}: {}", self.logs()))
    }

    /// The job in its final state.
    pub async fn finished(&self, user: &str, id: &str) -> Value {
        self.until(user, id, &["completed", "failed", "cancelled"]).await
    }

    /// The user's balance as (available, held, spent, granted).
    pub async fn credits(&self, user: &str) -> (u64, u64, u64, u64) {
        let credits = self.get(&format!("/credits?userId={user}")).await;
        let part = |name: &str| credits[name].as_u64().unwrap_or_else(|| panic!("{name} in {credits}"));
        (part("available"), part("held"), part("spent"), part("granted"))
    }

    /// Ends the system and looks into its file: nothing in flight, and every balance is the sum of its ledger.
    pub async fn finish(mut self) {
        self.terminate().await;
        books::check(&self.data_dir());
    }
}

/// A command of the binary, in the `test` profile, away from this machine's own configuration.
pub fn command(data_dir: impl AsRef<Path>) -> Command {
    let mut command = Command::new(BINARY);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("MEDIAFORGE_PROFILE", "test").env("MEDIAFORGE_DATA_DIR", data_dir.as_ref());
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// An HTTP client for tests.
pub fn client() -> reqwest::Client {
    // A second installation is refused and changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(PATIENCE).build().expect("a client")
}

/// The status and the JSON of an answer (null when it has no body).
pub async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    let body = answer.text().await.expect("a body");
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}

/// A text field of a JSON object.
pub fn text(object: &Value, field: &str) -> String {
    object[field].as_str().unwrap_or_else(|| panic!("{field} in {object}")).to_owned()
}

/// What the database file must look like when a system has ended.
pub mod books {
    use std::{collections::BTreeMap, path::Path};

    use rusqlite::{Connection, OpenFlags};

    /// Checks the file below `data_dir`.
    pub fn check(data_dir: &Path) {
        let file = data_dir.join("mediaforge.db");
        let db = Connection::open_with_flags(&file, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the database opens");
        let verdict: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("a verdict");
        assert_eq!(verdict, "ok");
        let unfinished: i64 = db
            .query_row(
                "SELECT count(*) FROM jobs WHERE status NOT IN ('completed', 'ready', 'failed', 'cancelled')",
                [],
                |row| row.get(0),
            )
            .expect("a count");
        assert_eq!(unfinished, 0, "jobs are still in flight");

        let mut sums: BTreeMap<String, [i64; 4]> = BTreeMap::new();
        let mut query = db.prepare("SELECT account, verb, amount FROM ledger").expect("the ledger");
        let rows = query
            .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?)))
            .expect("rows");
        for row in rows {
            let (account, verb, amount) = row.expect("a row");
            let [available, held, spent, granted] = sums.entry(account).or_default();
            match verb.as_str() {
                "grant" => (*available, *granted) = (*available + amount, *granted + amount),
                "hold" => (*available, *held) = (*available - amount, *held + amount),
                "capture" => (*held, *spent) = (*held - amount, *spent + amount),
                "release" => (*held, *available) = (*held - amount, *available + amount),
                other => panic!("a ledger entry {other:?}"),
            }
        }
        let mut query = db.prepare("SELECT id, available, held, spent, granted FROM accounts").expect("the accounts");
        let rows = query
            .query_map([], |row| {
                Ok((row.get::<_, String>(0)?, [row.get::<_, i64>(1)?, row.get(2)?, row.get(3)?, row.get(4)?]))
            })
            .expect("rows");
        let mut accounts = 0;
        for row in rows {
            let (account, balance) = row.expect("a row");
            assert_eq!(sums.get(&account), Some(&balance), "{account} is not the sum of its ledger");
            let [available, held, spent, granted] = balance;
            assert_eq!(available + held + spent, granted, "{account}");
            assert_eq!(held, 0, "{account} still holds credits though nothing is in flight");
            accounts += 1;
        }
        assert_eq!(accounts, sums.len());
    }
}
