//! Starts the real binary on free ports and talks to it.

pub mod books;
mod front;
pub mod google_cloud;
pub mod sse;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use futures::{Stream, StreamExt as _};
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

use google_cloud::GoogleCloud;

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_mediaforge");

/// How long to wait before a test fails. Generous, because only a broken system takes this long.
pub const TIMEOUT: Duration = Duration::from_mins(1);

/// How the two roles are distributed, and on which backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topology {
    /// `serve`.
    OneProcess,
    /// `serve gateway` and `serve worker` on one data directory.
    TwoProcesses,
    /// The same two on Google Cloud: the `gcp` profile on emulators.
    GoogleCloud,
}

impl Topology {
    /// All of them; clients see no difference.
    pub const EVERY: [Self; 3] = [Self::OneProcess, Self::TwoProcesses, Self::GoogleCloud];
}

/// A running system. Its processes are killed when it is dropped.
pub struct System {
    pub gateway: String,
    pub worker: String,
    pub client: reqwest::Client,
    data: TempDir,
    topology: Topology,
    environment: Vec<(String, String)>,
    processes: Vec<(Role, Child)>,
    cloud: Option<GoogleCloud>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Both,
    Gateway,
    Worker,
}

impl System {
    /// Starts a system of the `test` profile (or `gcp`, as fast) with these extra environment variables.
    pub async fn start(topology: Topology, environment: &[(&str, &str)]) -> Self {
        let data = tempfile::tempdir().expect("a temporary directory");
        let cloud = match topology {
            Topology::OneProcess | Topology::TwoProcesses => None,
            Topology::GoogleCloud => Some(GoogleCloud::start().await),
        };
        let environment = environment.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let mut system = Self {
            gateway: String::new(),
            worker: String::new(),
            client: client(),
            data,
            topology,
            environment,
            processes: Vec::new(),
            cloud,
        };
        system.launch().await;
        system
    }

    /// Starts the processes again on the same data.
    pub async fn launch(&mut self) {
        match self.topology {
            Topology::OneProcess => self.launch_role(Role::Both).await,
            Topology::TwoProcesses | Topology::GoogleCloud => {
                self.launch_role(Role::Gateway).await;
                self.launch_role(Role::Worker).await;
            }
        }
    }

    /// Starts one process.
    pub async fn launch_role(&mut self, role: Role) {
        let ready = self.spawn(role).await;
        if role != Role::Worker {
            self.gateway = text(&ready, "gateway");
        }
        if role != Role::Gateway {
            self.worker = text(&ready, "worker");
            if let Some(cloud) = &self.cloud {
                cloud.set_worker(&self.worker, &self.data_dir()).await;
            }
        }
    }

    async fn spawn(&mut self, role: Role) -> Value {
        let (name, arguments): (_, &[&str]) = match role {
            Role::Both => ("all", &[]),
            Role::Gateway => ("gateway", &["gateway"]),
            Role::Worker => ("worker", &["worker"]),
        };
        let file = self.data.path().join(format!("ready-{name}.json"));
        let _ = std::fs::remove_file(&file);
        let mut command = command(self.data_dir());
        command.arg("serve").args(arguments).arg("--ready-file").arg(&file);
        command.env("MEDIAFORGE_GATEWAY__LISTEN", "127.0.0.1:0").env("MEDIAFORGE_WORKER__LISTEN", "127.0.0.1:0");
        command.envs(self.variables()).stdout(Stdio::null()).stderr(self.log(name)).kill_on_drop(true);
        let mut child = command.spawn().expect("the binary starts");
        let ready = timeout(TIMEOUT, async {
            loop {
                if let Ok(text) = std::fs::read(&file) {
                    break serde_json::from_slice::<Value>(&text).expect("the ready file is written as a whole");
                }
                if let Some(status) = child.try_wait().expect("a child") {
                    panic!("serve {name} exited with {status}: {}", self.logs());
                }
                sleep(Duration::from_millis(5)).await;
            }
        });
        let ready = ready.await.unwrap_or_else(|_| panic!("serve {name} did not become ready: {}", self.logs()));
        assert_eq!(ready["pid"].as_u64(), child.id().map(u64::from));
        self.processes.push((role, child));
        ready
    }

    /// The environment of the processes, without their addresses. A command on the same data needs the same variables.
    pub fn variables(&self) -> impl Iterator<Item = (String, String)> {
        let cloud = self.cloud.iter().flat_map(GoogleCloud::variables);
        cloud.chain(&self.environment).cloned()
    }

    /// The emulators of a system on Google Cloud.
    pub fn cloud(&self) -> &GoogleCloud {
        self.cloud.as_ref().expect("a system on Google Cloud")
    }

    fn log(&self, name: &str) -> Stdio {
        let path = self.data.path().join(format!("log-{name}.txt"));
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

    /// The peak memory of the first process in bytes.
    #[cfg(target_os = "linux")]
    pub fn peak_memory(&self) -> u64 {
        let id = self.processes[0].1.id().expect("running");
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("a status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        1024 * line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
    }

    /// Sends a signal to every process.
    pub fn signal(&self, signal: Signal) {
        for (_, process) in &self.processes {
            let id = i32::try_from(process.id().expect("running")).expect("a process id");
            kill(Pid::from_raw(id), signal).expect("a signal");
        }
    }

    /// Kills the processes, as in a power cut, and waits until they have exited.
    pub async fn kill(&mut self) {
        for (_, mut process) in self.processes.drain(..) {
            process.kill().await.expect("killed");
        }
    }

    /// Kills one process.
    pub async fn kill_role(&mut self, role: Role) {
        let at = self.processes.iter().position(|(runs, _)| *runs == role).expect("running");
        self.processes.remove(at).1.kill().await.expect("killed");
    }

    /// Sets or removes an environment variable of the processes that are launched next.
    pub fn set(&mut self, variable: &str, value: Option<&str>) {
        self.environment.retain(|(key, _)| key != variable);
        self.environment.extend(value.map(|value| (variable.to_owned(), value.to_owned())));
    }

    /// Waits until the processes have exited by themselves and returns their statuses.
    pub async fn ended(&mut self) -> Vec<std::process::ExitStatus> {
        let mut ends = Vec::new();
        for (_, mut process) in std::mem::take(&mut self.processes) {
            let end = timeout(TIMEOUT, process.wait()).await;
            ends.push(end.unwrap_or_else(|_| panic!("the process does not exit: {}", self.logs())).expect("a status"));
        }
        ends
    }

    /// Stops the processes with SIGTERM and returns how long it took. All must exit with 0.
    pub async fn terminate(&mut self) -> Duration {
        let begun = Instant::now();
        self.signal(Signal::SIGTERM);
        let logs = self.logs();
        for (_, mut process) in self.processes.drain(..) {
            let status = timeout(TIMEOUT, process.wait()).await.expect("ends").expect("a status");
            assert!(status.success(), "{status}: {logs}");
        }
        begun.elapsed()
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.gateway)
    }

    /// Adds the token of this user, if users sign in.
    pub fn signed(&self, user: &str, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.cloud {
            Some(cloud) => request.bearer_auth(cloud.user_token(user)),
            None => request,
        }
    }

    /// The token of a user for the command line; empty if users do not sign in.
    pub fn token(&self, user: &str) -> String {
        self.cloud.as_ref().map(|cloud| cloud.user_token(user)).unwrap_or_default()
    }

    /// Adds the token of the user that the path or the body names.
    fn signed_for_its_user(
        &self,
        path: &str,
        body: &Value,
        request: reqwest::RequestBuilder,
    ) -> reqwest::RequestBuilder {
        let in_query = path.split_once("userId=").map(|(_, rest)| rest.split('&').next().unwrap_or(rest));
        self.signed(in_query.or(body["userId"].as_str()).unwrap_or("local"), request)
    }

    /// Opens the event stream at a path, as the user that the path names.
    pub async fn events(
        &self,
        path: &str,
        last_event_id: Option<&str>,
    ) -> impl Stream<Item = sse::SseEvent> + Unpin + use<> {
        let request = self.signed_for_its_user(path, &Value::Null, self.client.get(self.url(path)));
        sse::open(request, last_event_id).await
    }

    /// All events until the stream ends.
    pub async fn all_events(&self, path: &str, last_event_id: Option<&str>) -> Vec<sse::SseEvent> {
        self.events(path, last_event_id).await.collect().await
    }

    /// The JSON of `GET path`, which must answer 200.
    pub async fn get(&self, path: &str) -> Value {
        let request = self.signed_for_its_user(path, &Value::Null, self.client.get(self.url(path)));
        let answer = request.send().await.expect("an answer");
        let status = answer.status();
        let body = answer.text().await.expect("a body");
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).expect("JSON")
    }

    /// The status and the JSON of `POST path` with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        answer(self.signed_for_its_user(path, body, self.client.post(self.url(path)).json(body))).await
    }

    /// Submits a small illustration and returns its id.
    pub async fn submit(&self, user: &str, prompt: &str) -> String {
        let body =
            serde_json::json!({ "userId": user, "prompt": prompt, "styleId": "flat-2d", "width": 256, "height": 256 });
        let (status, answer) = self.post("/generate", &body).await;
        assert_eq!(status, 202, "{answer}");
        text(&answer, "illustrationId")
    }

    /// Waits until the job has one of these statuses.
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
        timeout(TIMEOUT, wait).await.unwrap_or_else(|_| panic!("{id} never became {statuses:?}: {}", self.logs()))
    }

    /// Waits until the job is in a final state.
    pub async fn finished(&self, user: &str, id: &str) -> Value {
        self.until(user, id, &["completed", "failed", "cancelled"]).await
    }

    /// The user's balance as (available, held, spent, granted).
    pub async fn credits(&self, user: &str) -> (u64, u64, u64, u64) {
        let credits = self.get(&format!("/credits?userId={user}")).await;
        let part = |name: &str| credits[name].as_u64().unwrap_or_else(|| panic!("{name} in {credits}"));
        (part("available"), part("held"), part("spent"), part("granted"))
    }

    /// Stops the system and checks its data: no job in flight, and every balance is the sum of its ledger.
    pub async fn finish(mut self) {
        self.terminate().await;
        match &self.cloud {
            None => books::check(&self.data_dir()),
            Some(cloud) => {
                books::check_firestore(cloud.emulator.firestore());
                assert!(!self.data_dir().exists(), "an instance keeps nothing on its disk");
            }
        }
    }
}

/// A command of the binary in the `test` profile, without the environment of this machine.
pub fn command(data_dir: impl AsRef<Path>) -> Command {
    let mut command = Command::new(BINARY);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("MEDIAFORGE_PROFILE", "test").env("MEDIAFORGE_DATA_DIR", data_dir.as_ref());
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// An HTTP client for tests.
pub fn client() -> reqwest::Client {
    // Fails if it is already installed, which is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(TIMEOUT).build().expect("a client")
}

/// The status and the JSON of a response (null if it has no body).
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
