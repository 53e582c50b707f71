//! The floors: the speed of a program that does only the unavoidable part of the work on this machine.

use std::{
    fs::OpenOptions,
    io::{self, Seek as _, SeekFrom, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use axum::{Json, Router, http::StatusCode, routing::post, serve::ListenerExt as _};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::stats::Latencies;
use crate::{
    cli::{Exit, output},
    domain::{clock::SystemRandom, ids::JobId, kind::JobKind},
};

/// A page of the database.
const PAGE: usize = 4096;
/// Pages after which writing starts again at the beginning of the file, as in the log of the database.
const PAGES: u64 = 1000;
/// Maximum number of measured writes.
const WRITES: u64 = 2000;

/// Writes a page and waits until it is on the disk, repeatedly for at most `time`. Blocks.
pub(super) fn measure_disk(directory: &Path, time: Duration, latencies: &Latencies) -> anyhow::Result<()> {
    let path = directory.join("fdatasync");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
    let page = [7; PAGE];
    // Preallocated, as the pages of the log usually are; a growing file would cost more.
    for _ in 0..PAGES {
        file.write_all(&page)?;
    }
    file.sync_all()?;
    let begun = Instant::now();
    for number in 0..WRITES {
        if begun.elapsed() >= time {
            break;
        }
        if number % PAGES == 0 {
            file.seek(SeekFrom::Start(0))?;
        }
        let write = Instant::now();
        file.write_all(&page)?;
        file.sync_data().context("fdatasync")?;
        latencies.record(write.elapsed());
    }
    drop(file);
    std::fs::remove_file(&path)?;
    Ok(())
}

/// `bench --floor`: a handler that reads the request of `POST /generate` and answers an id, on the runtime and the HTTP
/// stack of the gateway, until standard input ends.
pub(super) async fn serve() -> anyhow::Result<Exit> {
    let router = Router::new().route(JobKind::Illustration.submit_path(), post(generate));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    output::line(format!("http://{}", listener.local_addr()?))?;
    let listener = listener.tap_io(|connection| {
        // As in the gateway. If it fails, only the floor gets slower.
        let _ = connection.set_nodelay(true);
    });
    // This thread ends with the process at the latest.
    let input = tokio::task::spawn_blocking(|| io::copy(&mut io::stdin().lock(), &mut io::sink()));
    tokio::select! {
        ended = axum::serve(listener, router) => ended?,
        _ = input => {}
    }
    Ok(Exit::Done)
}

/// The body of `POST /generate`, parsed as the gateway parses it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "the floor includes parsing every field, but reads only the prompt")]
struct GenerateBody {
    user_id: Option<String>,
    prompt: Option<String>,
    style_id: Option<String>,
    style_name: Option<String>,
    width: Option<i128>,
    height: Option<i128>,
    count: Option<i128>,
    seed: Option<i128>,
}

async fn generate(Json(request): Json<GenerateBody>) -> (StatusCode, Json<Value>) {
    // Uses the result, so that the compiler cannot remove the parsing.
    if request.prompt.is_none() {
        return (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({ "success": false })));
    }
    let id = JobId::random(JobKind::Illustration, &SystemRandom);
    (StatusCode::ACCEPTED, Json(json!({ "success": true, (id.kind().id_field()): id, "status": "queued" })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_test_writes_for_a_limited_time_and_removes_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let latencies = Latencies::new().unwrap();
        measure_disk(dir.path(), Duration::from_millis(50), &latencies).unwrap();
        assert!((1..=WRITES).contains(&latencies.count()));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
