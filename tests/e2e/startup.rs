//! Starts that are refused, and their messages.

use crate::{
    output::{run, stderr},
    support::{System, Topology, command},
};

async fn refused_start(mut command: tokio::process::Command) -> String {
    command.args(["serve", "--gateway-listen", "127.0.0.1:0", "--worker-listen", "127.0.0.1:0"]);
    let output = run(&mut command).await;
    assert!(!output.status.success());
    stderr(&output)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_serve_on_the_same_directory_is_refused_and_harms_nothing() {
    let system = System::start(Topology::OneProcess, &[]).await;
    let message = refused_start(command(system.data_dir())).await;
    assert!(message.contains(&system.data_dir().display().to_string()), "{message}");
    let id = system.submit("ada", "a cat").await;
    assert_eq!(system.finished("ada", &id).await["status"], "completed");
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_missing_database_is_never_replaced_by_an_empty_one() {
    let mut system = System::start(Topology::OneProcess, &[]).await;
    let id = system.submit("ada", "a cat").await;
    system.finished("ada", &id).await;
    system.terminate().await;
    let file = system.data_dir().join("mediaforge.db");
    let good = std::fs::read(&file).expect("the database");
    let wal = system.data_dir().join("mediaforge.db-wal");
    assert!(!wal.exists() || std::fs::metadata(&wal).expect("a file").len() == 0, "a clean shutdown leaves one file");

    let damaged: [(&str, Option<Vec<u8>>); 4] = [
        ("missing", None),
        ("empty", Some(Vec::new())),
        ("garbage", Some(b"this is no database ".repeat(500))),
        ("cut in half", Some(good[..good.len() / 2].to_vec())),
    ];
    for (what, bytes) in damaged {
        match &bytes {
            None => std::fs::remove_file(&file).expect("removed"),
            Some(bytes) => std::fs::write(&file, bytes).expect("written"),
        }
        let message = refused_start(command(system.data_dir())).await;
        assert!(message.contains(&system.data_dir().display().to_string()), "{what}: {message}");
        assert_eq!(std::fs::read(&file).ok(), bytes, "{what}: the file is unchanged");
    }
    std::fs::write(&file, good).expect("restored");
    system.launch().await;
    assert_eq!(system.finished("ada", &id).await["status"], "completed");
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_configuration_errors_are_reported_at_once() {
    let data = tempfile::tempdir().expect("a directory");
    let mut wrong = command(data.path());
    wrong.env("MEDIAFORGE_WORKER__LEASE", "1s").env("MEDIAFORGE_WORKER__HEARTBEAT", "2s");
    wrong.env("MEDIAFORGE_WORKER__SLOTS", "0").env("MEDIAFORGE_ENGINE__PREVIEW__HANG", "2.0");
    let message = refused_start(wrong).await;
    for part in ["worker.lease", "worker.slots", "engine.preview.hang", "MEDIAFORGE_WORKER__SLOTS"] {
        assert!(message.contains(part), "{part} in {message}");
    }

    let mut unknown = command(data.path());
    unknown.env("MEDIAFORGE_WORKER__LEESE", "1s");
    let message = refused_start(unknown).await;
    assert!(message.contains("LEESE") || message.contains("leese"), "{message}");
    assert!(message.contains("lease"), "the valid keys are listed: {message}");

    let mut profile = command(data.path());
    profile.env("MEDIAFORGE_PROFILE", "production");
    let message = refused_start(profile).await;
    assert!(message.contains("production") && message.contains("local"), "{message}");

    let mut cloud = command(data.path());
    cloud.env("K_SERVICE", "api-gateway");
    let message = refused_start(cloud).await;
    assert!(message.contains("gateway.auth"), "unverified callers are refused on Cloud Run: {message}");
}
