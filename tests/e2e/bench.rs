//! `mediaforge bench` with small numbers.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tokio::process::Command;

use crate::{
    output::{json, run},
    support::{System, TIMEOUT, Topology, command},
};

/// The command, with its temporary directory below `dir`.
fn bench(dir: &std::path::Path, arguments: &[&str]) -> Command {
    let mut bench = command(dir.join("nothing"));
    // Variables of the shell must not change the measured system.
    bench.env("MEDIAFORGE_ENGINE__DEFAULT", "preview").env("TMPDIR", dir);
    bench.args(["bench", "--connections", "1,4"]).args(arguments);
    if !arguments.contains(&"--duration") {
        bench.args(["--duration", "300ms"]);
    }
    bench
}

/// The number of samples of a result. Checks that its values are plausible.
fn count(report: &Value, id: &str) -> u64 {
    let result = &report["results"][id];
    let number = |field: &str| result[field].as_f64().unwrap_or_else(|| panic!("{field} of {id} in {report:#}"));
    assert!(
        !result["title"].as_str().expect("a title").is_empty() && !result["meaning"].as_str().expect("text").is_empty()
    );
    if result.get("p50Ms").is_some() {
        let ordered = [number("p50Ms"), number("p95Ms"), number("p99Ms"), number("maxMs")];
        assert!(ordered.is_sorted() && ordered[0] >= 0.0, "{id}: {ordered:?}");
    }
    result["count"].as_u64().unwrap_or_else(|| panic!("a count of {id} in {report:#}"))
}

fn files_in(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn its_own_system_is_measured_with_floors_and_leaves_no_files() {
    let dir = tempfile::tempdir().expect("a directory");
    let arguments = ["--jobs", "50", "--watchers", "5", "--rate", "20", "--seed-jobs", "100", "--json"];
    let output = run(&mut bench(dir.path(), &arguments)).await;
    assert!(output.status.success(), "{output:?}");
    let report = json(&output);

    assert_eq!(report["errors"], serde_json::json!({}), "{report:#}");
    assert_eq!(report["seededJobs"], 100);
    assert_eq!(report["settings"]["MEDIAFORGE_ENGINE__DEFAULT"], "noop");
    assert!(report["machine"]["cores"].as_u64().expect("cores") >= 1);
    // 20 per second for 600 ms; every job was measured.
    for id in ["submit.gentle", "queue", "endToEnd", "event.withCommit"] {
        assert_eq!(count(&report, id), 12, "{id}");
    }
    assert!(count(&report, "event.afterAnswer") <= 12);
    assert_eq!((count(&report, "drain"), count(&report, "drain.submit")), (50, 50));
    assert!(report["results"]["drain"]["perSecond"].as_f64().expect("a rate") > 0.0);
    assert_eq!((count(&report, "start"), count(&report, "start.filled")), (5, 1));
    for id in ["disk.fdatasync", "bare.1", "bare.4", "submit.1", "submit.4", "list", "sweep"] {
        assert!(count(&report, id) > 0, "{id}");
    }
    for id in ["submit.1", "submit.4", "submit.gentle"] {
        let floor = &report["results"][id]["floor"];
        assert_eq!(floor["name"], "bare handler + fdatasync", "{id}");
        let times = report["results"][id]["p50Ms"].as_f64().expect("a time") / floor["p50Ms"].as_f64().expect("a time");
        assert!((times - report["results"][id]["ratio"]["p50"].as_f64().expect("a ratio")).abs() < 1e-6, "{id}");
    }
    if cfg!(target_os = "linux") {
        assert_eq!(report["notMeasured"], serde_json::json!({}));
        assert_eq!(count(&report, "memory.watcher"), 5);
        let bytes = |id: &str| report["results"][id]["bytes"].as_u64().expect("bytes");
        assert!(bytes("memory.idle") > 1 << 20 && bytes("memory.peak") >= bytes("memory.idle"));
    }
    assert_eq!(files_in(dir.path()), [] as [std::path::PathBuf; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_system_is_measured_and_missing_figures_are_explained() {
    let system = System::start(Topology::OneProcess, &[("MEDIAFORGE_ENGINE__DEFAULT", "noop")]).await;
    let dir = tempfile::tempdir().expect("a directory");
    let arguments = ["--jobs", "20", "--rate", "20", "--url", &system.gateway];
    let output = run(bench(dir.path(), &arguments).arg("--json")).await;
    assert!(output.status.success(), "{output:?}\n{}", system.logs());
    let report = json(&output);
    assert_eq!(report["errors"], serde_json::json!({}));
    assert_eq!((count(&report, "drain"), count(&report, "queue")), (20, 12));
    for id in ["disk.fdatasync", "start", "memory.idle", "memory.watcher", "sweep"] {
        assert!(report["notMeasured"][id].as_str().is_some_and(|reason| reason.len() > 10), "{id} in {report:#}");
        assert!(report["results"].get(id).is_none());
    }
    assert_eq!(files_in(dir.path()), [] as [std::path::PathBuf; 0]);
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_system_are_counted_and_fail_the_command() {
    // No user has credits.
    let environment = [("MEDIAFORGE_ENGINE__PREVIEW__LATENCY", "0s"), ("MEDIAFORGE_CREDITS__STARTING_GRANT", "0")];
    let system = System::start(Topology::OneProcess, &environment).await;
    let dir = tempfile::tempdir().expect("a directory");
    let output = run(&mut bench(dir.path(), &["--jobs", "30", "--only", "drain", "--url", &system.gateway])).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.contains("× POST /generate answered 402"), "{text}");
    assert!(!text.contains('\u{1b}'), "colours although the output is a pipe");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_run_leaves_no_files() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut child = bench(dir.path(), &["--only", "start,submit", "--duration", "1h"]).spawn().expect("starts");
    let id = Pid::from_raw(i32::try_from(child.id().expect("running")).expect("a process id"));
    // The ready file shows that the measured system is running.
    let runs = async {
        while !files_in(dir.path()).iter().any(|run| run.join("data.ready.json").exists()) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, runs).await.expect("a system starts");
    kill(id, Signal::SIGINT).expect("a signal");
    let status = tokio::time::timeout(TIMEOUT, child.wait()).await.expect("ends").expect("a status");
    assert_eq!(status.code(), Some(130));
    assert_eq!(files_in(dir.path()), [] as [std::path::PathBuf; 0]);
}
