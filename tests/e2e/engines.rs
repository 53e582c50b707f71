//! Remote engines behind the real binary, against servers with the documented behaviour.

mod doctor;
mod drawing;
mod failing;
mod openai;
mod routing;
mod vertex;

use serde_json::Value;

use crate::support::System;

/// The number of dead letters.
fn dead_letters(system: &System) -> i64 {
    let db = rusqlite::Connection::open(system.data_dir().join("mediaforge.db")).expect("the database");
    db.query_row("SELECT count(*) FROM dead_letters", [], |row| row.get(0)).expect("a count")
}

/// The worker's `/ready`.
async fn worker(system: &System) -> Value {
    let answer = system.client.get(format!("{}/ready", system.worker)).send().await.expect("an answer");
    assert_eq!(answer.status(), 200, "whatever its engines do");
    answer.json().await.expect("JSON")
}

/// The worker's warning that contains this text, once there is one.
async fn warning(system: &System, says: &str) -> String {
    let wait = async {
        loop {
            let ready = worker(system).await;
            let warnings = ready["warnings"].as_array().cloned().unwrap_or_default();
            let found = warnings.iter().filter_map(Value::as_str).find(|warning| warning.contains(says));
            if let Some(found) = found {
                break found.to_owned();
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(crate::support::TIMEOUT, wait).await;
    found.unwrap_or_else(|_| panic!("no warning contains {says:?}: {}", system.logs()))
}

/// The job once it waits, and the code of the reason.
async fn waits(system: &System, id: &str, code: &str) -> Value {
    let wait = async {
        loop {
            let job = system.get(&format!("/illustrations/{id}?userId=ada")).await;
            if job["status"] == "queued" && job["lastError"]["code"] == code {
                break job;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(crate::support::TIMEOUT, wait).await;
    found.unwrap_or_else(|_| panic!("{id} never waits for {code}: {}", system.logs()))
}
