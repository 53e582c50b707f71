//! Disks that are full, read-only or defective, and a write-ahead log that ends in the middle of a commit.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use mediaforge::{
    domain::ids::AccountId,
    embedded::{DATABASE, Embedded, MARKER},
    store::{self, Stores},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::{
    bench::{Bench, user},
    support::{BINARY, TIMEOUT, answer, books, client, command, text},
};

/// A private mount needs a private namespace, which some systems allow only to root.
fn may_mount() -> bool {
    let tried = std::process::Command::new("unshare").args(["-Urm", "true"]).status();
    tried.is_ok_and(|status| status.success())
}

/// Runs `serve` on `home/data` after these shell commands, in which `$1` is the data directory.
fn shell(home: &Path, own_mounts: bool, before: &str, environment: &[(&str, &str)]) -> Command {
    let data = home.join("data");
    let mut shell = std::process::Command::new(if own_mounts { "unshare" } else { "sh" });
    if own_mounts {
        fs::create_dir_all(&data).expect("a directory to mount on");
        shell.args(["-Urm", "sh"]);
    }
    let script = format!("{before} && exec \"$0\" serve --ready-file \"$2\"");
    shell.args(["-c", &script, BINARY]).arg(&data).arg(home.join("ready.json"));
    let server = command(&data).into_std();
    shell.env_clear().envs(server.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.envs(environment.iter().copied());
    shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(home.join("log")).expect("a log"));
    let mut shell = Command::from(shell);
    shell.kill_on_drop(true);
    shell
}

struct Served {
    child: Child,
    gateway: String,
    client: reqwest::Client,
    home: PathBuf,
}

impl Served {
    async fn start(home: &Path, own_mounts: bool, before: &str, environment: &[(&str, &str)]) -> Self {
        let ready = home.join("ready.json");
        let _ = fs::remove_file(&ready);
        let mut child = shell(home, own_mounts, before, environment).spawn().expect("the shell starts");
        let log = || fs::read_to_string(home.join("log")).expect("a log");
        let places = timeout(TIMEOUT, async {
            loop {
                if let Ok(text) = fs::read(&ready) {
                    break serde_json::from_slice::<Value>(&text).expect("written as a whole");
                }
                assert!(child.try_wait().expect("a child").is_none(), "{}", log());
                sleep(Duration::from_millis(5)).await;
            }
        });
        let places = places.await.unwrap_or_else(|_| panic!("not ready: {}", log()));
        Self { child, gateway: text(&places, "gateway"), client: client(), home: home.to_owned() }
    }

    fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    async fn submit(&self, key: &str) -> (u16, Value) {
        let body = json!({ "userId": "ada", "prompt": "a cat", "styleId": "flat-2d", "width": 256, "height": 256 });
        let request = self.client.post(format!("{}/generate", self.gateway)).header("idempotency-key", key);
        answer(request.json(&body)).await
    }

    /// Submits under new keys until a request is refused. Returns the accepted ids, the refused key and the problem.
    async fn submit_until_refused(&self) -> (Vec<String>, String, Value) {
        let mut accepted = Vec::new();
        for n in 0..2_000 {
            let key = format!("until-{n}");
            match self.submit(&key).await {
                (202, body) => accepted.push(text(&body, "illustrationId")),
                (503, problem) => return (accepted, key, problem),
                other => panic!("{other:?}"),
            }
        }
        panic!("everything was accepted");
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.client.get(format!("{}{path}", self.gateway))).await
    }

    async fn completed(&self, id: &str) -> Value {
        let wait = async {
            loop {
                let (status, job) = self.get(&format!("/illustrations/{id}?userId=ada")).await;
                assert_eq!(status, 200, "{job}");
                if job["status"] != "queued" && job["status"] != "processing" {
                    break job;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        let job = timeout(TIMEOUT, wait).await.unwrap_or_else(|_| panic!("{id} has no end: {}", self.log()));
        assert_eq!(job["status"], "completed", "{job}");
        job
    }

    /// Asserts that exactly this many pictures are paid and nothing is held.
    async fn assert_paid(&self, pictures: usize) {
        let (_, credits) = self.get("/credits?userId=ada").await;
        assert_eq!(
            (credits["held"].as_u64(), credits["spent"].as_u64()),
            (Some(0), Some(pictures as u64)),
            "{credits}"
        );
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home.join("log")).expect("a log")
    }

    async fn end(self, signal: Signal) -> ExitStatus {
        kill(Pid::from_raw(self.pid().try_into().expect("a process id")), signal).expect("a signal");
        self.ended().await
    }

    async fn ended(mut self) -> ExitStatus {
        timeout(TIMEOUT, self.child.wait()).await.expect("it ends").expect("a status")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_work_until_there_is_room_and_loses_nothing() {
    if !may_mount() {
        println!("skipped: this user may not mount anything");
        return;
    }
    let home = tempfile::tempdir().expect("a directory");
    let slow = [("MEDIAFORGE_ENGINE__PREVIEW__LATENCY", "500ms"), ("MEDIAFORGE_WORKER__LEASE", "2s")];
    let served = Served::start(home.path(), true, "mount -t tmpfs -o size=8m tmpfs \"$1\"", &slow).await;
    let (_, first) = served.submit("first").await;
    let done = served.completed(&text(&first, "illustrationId")).await;

    // One job is running when the last byte is taken.
    let (status, running) = served.submit("running").await;
    assert_eq!(status, 202, "{running}");
    let ballast = format!("/proc/{}/root{}/ballast", served.pid(), home.path().join("data").display());
    let mut file = File::create(&ballast).expect("a file on the disk of the process");
    let full = loop {
        if let Err(error) = file.write_all(&[0; 4096]) {
            break error;
        }
    };
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    let (accepted, key, problem) = served.submit_until_refused().await;
    assert_eq!((&problem["code"], &problem["retryable"]), (&json!("unavailable"), &json!(true)), "{problem}");
    // Existing jobs can be read, and `/ready` names the fault.
    assert_eq!(
        served.get(&format!("/illustrations/{}?userId=ada", text(&done, "illustrationId"))).await,
        (200, done.clone())
    );
    assert_eq!(served.client.get(text(&done, "imageUrl")).send().await.expect("an answer").status(), 200);
    let (status, ready) = served.get("/ready").await;
    assert!(status == 503 && text(&ready, "detail").contains("media"), "{ready}");

    drop(file);
    fs::remove_file(&ballast).expect("room");
    let (status, again) = served.submit(&key).await;
    assert_eq!(status, 202, "{again}");
    let jobs = [text(&running, "illustrationId"), text(&again, "illustrationId")];
    for id in jobs.iter().chain(&accepted) {
        served.completed(id).await;
    }
    served.assert_paid(accepted.len() + 3).await;
    assert_eq!(served.get("/ready").await.0, 200);
    let log = served.log();
    assert!(served.end(Signal::SIGTERM).await.success(), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_stops_every_write_and_a_restart_finds_every_accepted_job() {
    let home = tempfile::tempdir().expect("a directory");
    // No file may be longer than 256 KiB. SQLite takes that for a defective disk and not for a full one.
    let served = Served::start(home.path(), false, "trap '' XFSZ && ulimit -f 512", &[]).await;
    let (accepted, key, problem) = served.submit_until_refused().await;
    assert!(!accepted.is_empty());
    assert_eq!(problem["code"], "backend_broken", "{problem}");
    assert_eq!(served.submit("another").await.1["code"], "backend_broken", "nothing is tried again");
    let (status, ready) = served.get("/ready").await;
    assert!(status == 503 && text(&ready, "detail").contains("store"), "{ready}");
    assert_eq!(served.get(&format!("/illustrations/{}?userId=ada", accepted[0])).await.0, 200, "it can be read");
    let end = served.ended().await;
    let log = fs::read_to_string(home.path().join("log")).expect("a log");
    assert_eq!(end.code(), Some(1), "{log}");
    let named = format!("{} could not be written", home.path().join("data").join(DATABASE).display());
    assert!(log.contains(&named), "{named} is not in {log}");

    let served = Served::start(home.path(), false, "true", &[]).await;
    let (status, again) = served.submit(&key).await;
    assert_eq!(status, 202, "{again}");
    for id in accepted.iter().chain([&text(&again, "illustrationId")]) {
        served.completed(id).await;
    }
    served.assert_paid(accepted.len() + 1).await;
    assert!(served.end(Signal::SIGTERM).await.success());
    books::check(&home.path().join("data"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_cannot_be_written_is_refused_by_name() {
    if !may_mount() {
        println!("skipped: this user may not mount anything");
        return;
    }
    let home = tempfile::tempdir().expect("a directory");
    let mut child =
        shell(home.path(), true, "mount -t tmpfs -o ro tmpfs \"$1\"", &[]).spawn().expect("the shell starts");
    let end = timeout(TIMEOUT, child.wait()).await.expect("it ends by itself").expect("a status");
    let log = fs::read_to_string(home.path().join("log")).expect("a log");
    assert_eq!(end.code(), Some(1), "{log}");
    let data = home.path().join("data").display().to_string();
    assert!(log.contains(&data) && log.contains("Read-only file system") && log.contains("--data-dir"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_commit_is_undone_and_earlier_commits_stay() {
    const LOG: &str = "mediaforge.db-wal";
    let bench = Bench::new("0s");
    let length = || fs::metadata(bench.data_dir().join(LOG)).expect("a log").len();
    let mut jobs = Vec::new();
    for _ in 0..4 {
        jobs.push(bench.submit().await);
    }
    let before = length();
    let last = bench.submit().await;
    let whole = length();
    for (end, is_whole) in
        [(before, false), (before + 1, false), (u64::midpoint(before, whole), false), (whole - 1, false), (whole, true)]
    {
        let copy = tempfile::tempdir().expect("a directory");
        for name in [MARKER, DATABASE, LOG] {
            fs::copy(bench.data_dir().join(name), copy.path().join(name)).expect("a copy");
        }
        OpenOptions::new().write(true).open(copy.path().join(LOG)).and_then(|log| log.set_len(end)).expect("cut");
        let embedded = Embedded::open(copy.path(), &[]).expect("it opens");
        let Stores { jobs: store, accounts } = store::open_sqlite(&embedded);
        for id in &jobs {
            assert!(store.get(id).await.expect("a read").is_some(), "cut at {end} of {whole}");
        }
        assert_eq!(store.get(&last).await.expect("a read").is_some(), is_whole, "cut at {end} of {whole}");
        let account = accounts.account(&AccountId::User(user())).await.expect("a read").expect("an account");
        assert_eq!(account.held, if is_whole { 5 } else { 4 });
        assert!(account.is_balanced());
    }
}
