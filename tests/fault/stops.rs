//! The real binary, suspended or stopped in the middle of its work.

use std::{path::Path, time::Duration};

use image::{DynamicImage, ImageFormat, RgbImage};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{System, Topology, answer, text};

fn files(directory: &Path) -> usize {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_sleeps_past_its_lease_delivers_once() {
    let slow = [("MEDIAFORGE_WORKER__LEASE", "1s"), ("MEDIAFORGE_ENGINE__PREVIEW__LATENCY", "1s")];
    let system = System::start(Topology::TwoProcesses, &slow).await;
    let ready = std::fs::read(system.data_dir().with_file_name("ready-worker.json")).expect("the worker's ready file");
    let ready: Value = serde_json::from_slice(&ready).expect("JSON");
    let worker = Pid::from_raw(ready["pid"].as_i64().and_then(|pid| pid.try_into().ok()).expect("a process id"));
    let running = system.submit("ada", "a cat").await;
    system.until("ada", &running, &["processing"]).await;
    kill(worker, Signal::SIGSTOP).expect("a signal");
    // The gateway goes on meanwhile.
    let waiting = system.submit("ada", "a dog").await;
    tokio::time::sleep(Duration::from_secs(3)).await; // three leases
    assert_eq!(system.get(&format!("/illustrations/{waiting}?userId=ada")).await["status"], "queued");
    kill(worker, Signal::SIGCONT).expect("a signal");
    for id in [&running, &waiting] {
        assert_eq!(system.finished("ada", id).await["status"], "completed");
    }
    let (_, held, spent, _) = system.credits("ada").await;
    assert_eq!((held, spent), (0, 2));
    let media = system.data_dir().join("media/illustrations");
    // An attempt that has lost its job removes its pictures when it learns of the loss.
    for _ in 0..200 {
        if files(&media) == 4 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(files(&media), 4, "a picture and a thumbnail of each");
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_a_stop_cuts_off_leaves_nothing_and_can_be_repeated() {
    let mut system = System::start(Topology::OneProcess, &[("MEDIAFORGE_WORKER__DRAIN", "500ms")]).await;
    let place = json!({ "userId": "ada", "fileName": "a.png", "contentType": "image/png", "size": 1000 });
    let (status, place) = system.post("/uploads", &place).await;
    assert_eq!(status, 201, "{place}");
    let path = text(&place, "uploadUrl").split_off(system.gateway.len());
    let mut png = std::io::Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(RgbImage::new(64, 64)).write_to(&mut png, ImageFormat::Png).expect("a picture");
    let png = png.into_inner();

    let address = system.gateway.trim_start_matches("http://").to_owned();
    let mut connection = TcpStream::connect(address).await.expect("a connection");
    let length = png.len();
    let head = format!(
        "PUT {path} HTTP/1.1\r\nHost: t\r\nContent-Type: image/png\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
    );
    connection.write_all(head.as_bytes()).await.expect("sent");
    // After the interim response, the gateway is in the middle of reading the body.
    let mut said = [0; 12];
    connection.read_exact(&mut said).await.expect("an answer");
    assert_eq!(&said, b"HTTP/1.1 100");
    connection.write_all(&png[..length / 2]).await.expect("sent");
    let took = system.terminate().await;
    assert!(took < Duration::from_secs(9), "{took:?}");
    assert_eq!(files(&system.data_dir().join("media")), 0);

    system.launch().await;
    let put = system.client.put(system.url(&path)).header("content-type", "image/png").body(png);
    let (status, taken) = answer(put).await;
    assert_eq!((status, &taken["width"]), (200, &json!(64)), "{taken}");
    system.finish().await;
}
