//! The database of a running system is removed or replaced: the system accepts nothing further and exits, naming the file.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{System, Topology, answer};

fn picture() -> Value {
    json!({ "userId": "ada", "prompt": "a cat", "styleId": "flat-2d", "width": 256, "height": 256 })
}

/// Damages the files of a running system, which must notice before its next response, report it, and exit.
async fn check_damage_is_noticed(topology: Topology, damage: fn(&Path), says: &str) {
    let mut system = System::start(topology, &[]).await;
    let id = system.submit("ada", "a cat").await;
    system.finished("ada", &id).await;
    let database = system.data_dir().join("mediaforge.db");
    damage(&database);
    let (status, problem) = system.post("/generate", &picture()).await;
    assert_eq!((status, problem["code"].as_str()), (503, Some("backend_broken")), "{problem}");
    let (status, ready) = answer(system.client.get(system.url("/ready"))).await;
    assert_eq!(status, 503, "{ready}");
    assert!(ready["detail"].as_str().is_some_and(|detail| detail.contains("store broken")), "{ready}");
    for end in system.ended().await {
        assert_eq!(end.code(), Some(1), "{}", system.logs());
    }
    let logs = system.logs();
    let named = format!("{} {says}", database.display());
    assert!(logs.contains(&named), "{named} is not in {logs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_database_ends_the_process() {
    for topology in [Topology::OneProcess, Topology::TwoProcesses] {
        check_damage_is_noticed(
            topology,
            |database| std::fs::remove_file(database).expect("deleted"),
            "has been deleted",
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_log_ends_the_process() {
    let delete = |database: &Path| std::fs::remove_file(database.with_extension("db-wal")).expect("deleted");
    check_damage_is_noticed(Topology::OneProcess, delete, "has lost its log").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_database_ends_the_process() {
    let replace = |database: &Path| {
        let copy = database.with_extension("copy");
        std::fs::copy(database, &copy).expect("copied");
        std::fs::rename(&copy, database).expect("replaced");
    };
    check_damage_is_noticed(Topology::OneProcess, replace, "has been replaced").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_database_ends_the_process() {
    let cut = |database: &Path| {
        let file = std::fs::OpenOptions::new().write(true).open(database).expect("opened");
        file.set_len(4096).expect("cut");
    };
    check_damage_is_noticed(Topology::OneProcess, cut, "has been cut short").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_data_directory_ends_the_process() {
    let away = |database: &Path| {
        let directory = database.parent().expect("a directory");
        std::fs::rename(directory, directory.with_extension("away")).expect("moved");
    };
    check_damage_is_noticed(Topology::OneProcess, away, "has been deleted or moved").await;
}

/// A hanging job does not delay the exit of a process that cannot write its result.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_process_notices_a_deleted_database_and_running_work_does_not_delay_its_exit() {
    let mut system = System::start(Topology::OneProcess, &[("MEDIAFORGE_ENGINE__PREVIEW__HANG", "1.0")]).await;
    let id = system.submit("ada", "a cat").await;
    system.until("ada", &id, &["processing"]).await;
    std::fs::remove_file(system.data_dir().join("mediaforge.db")).expect("deleted");
    assert_eq!(system.ended().await[0].code(), Some(1), "{}", system.logs());
}
