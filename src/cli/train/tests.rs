//! The command against a scripted gateway.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path as Segment, Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::{get, post, put},
};
use clap::Parser;

use super::*;
use crate::cli::job::{Api, no_interrupts};

const ID: &str = "brd_0123456789abcdefghij";

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: TrainArgs,
}

/// A scripted gateway that records its requests.
#[derive(Clone, Default)]
struct Gateway {
    seen: Arc<Mutex<Vec<String>>>,
    /// Number of uploads to refuse with 503.
    busy: Arc<Mutex<u32>>,
    /// The verdict on every picture.
    verdict: Arc<Mutex<Option<Value>>>,
    /// Whether the brand exists already.
    brand_exists: bool,
}

impl Gateway {
    fn note(&self, text: String) -> usize {
        let mut seen = self.seen.lock().unwrap();
        seen.push(text);
        seen.len()
    }

    fn count(&self, beginning: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|text| text.starts_with(beginning)).count()
    }
}

async fn create_upload(State(gateway): State<Gateway>, Json(body): Json<Value>) -> Response {
    let name = body["fileName"].as_str().unwrap().to_owned();
    gateway.note(format!("upload {body}"));
    let headers = json!({ "Content-Type": body["contentType"], "x-upload": name });
    let answer = json!({ "uploadId": format!("upl_{name}"), "method": "PUT", "uploadUrl": format!("/put/{name}"),
        "headers": headers, "expiresAt": "2030-01-01T00:00:00Z" });
    (StatusCode::CREATED, Json(answer)).into_response()
}

async fn receive(
    State(gateway): State<Gateway>,
    Segment(name): Segment<String>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let (kind, length, extra) = (header("content-type"), header("content-length"), header("x-upload"));
    assert_eq!((length, extra), (body.len().to_string(), name.clone()));
    let mut busy = gateway.busy.lock().unwrap();
    if *busy > 0 {
        *busy -= 1;
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    gateway.note(format!("put {name} {kind} {}", body.len()));
    StatusCode::NO_CONTENT
}

async fn train_brand(
    State(gateway): State<Gateway>,
    Query(query): Query<Value>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    if query["dryRun"] == "true" {
        gateway.note(format!("dry {body}"));
        let verdict = gateway.verdict.lock().unwrap().clone();
        let accepted = verdict.is_none();
        let verdict = verdict.unwrap_or_else(|| json!({ "verdict": "ok" }));
        let verdicts = vec![verdict; body["trainingImages"].as_array().unwrap().len()];
        let answer = json!({ "success": true, "accepted": accepted, "verdicts": verdicts, "price": 25 });
        return Json(answer).into_response();
    }
    gateway.note(format!("train {} {body}", headers["idempotency-key"].to_str().unwrap()));
    (StatusCode::ACCEPTED, Json(json!({ "success": true, "brandId": ID, "status": "queued" }))).into_response()
}

fn ready() -> Value {
    json!({ "brandId": ID, "status": "ready", "name": "Acme", "palette": ["#ff6600"], "imageCount": 5,
        "sampleUrls": ["/pictures/1", "/pictures/2"], "version": 9 })
}

async fn brand(State(gateway): State<Gateway>) -> Response {
    gateway.note("get".to_owned());
    if gateway.brand_exists { Json(ready()).into_response() } else { StatusCode::NOT_FOUND.into_response() }
}

async fn events(State(gateway): State<Gateway>) -> Response {
    gateway.note("events".to_owned());
    let progress = json!({ "fraction": 0.5, "step": 200, "totalSteps": 400, "etaSeconds": 3 });
    let training = json!({ "brandId": ID, "status": "training", "progress": progress });
    let event = |id: u32, job: &Value| format!("event: job.changed\nid: {id}\ndata: {job}\n\n");
    // The first connection is lost half-way.
    let body = match gateway.count("events") {
        1 => event(2, &training),
        _ => event(9, &ready()),
    };
    ([("content-type", "text/event-stream")], body).into_response()
}

async fn run_train(gateway: &Gateway, line: &[&str]) -> anyhow::Result<Exit> {
    let router = Router::new()
        .route("/uploads", post(create_upload))
        .route("/put/{name}", put(receive))
        .route("/train-brand", post(train_brand))
        .route("/brands/{id}", get(brand))
        .route("/brands/{id}/events", get(events))
        .route("/pictures/{n}", get(|| async { ([("content-type", "image/png")], "pixels") }))
        .with_state(gateway.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });

    let args = Line::parse_from(["train"].iter().chain(line)).args;
    let pictures = pictures::check_all(&args.images)?;
    let api = Api::new(&url, args.service.user.clone()).unwrap();
    let mut interrupts = no_interrupts();
    let mut session = Session::new(&args.service, &api, &mut interrupts, "the job continues");
    train(&args, &pictures, show::PaletteStyle::Codes, &mut session).await
}

fn pictures(dir: &Path) -> Vec<String> {
    let picture = |n: usize| {
        let path = dir.join(format!("{n}.jpg"));
        let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
        bytes.resize(100_000 + n, 7);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    (0..5).map(picture).collect()
}

#[tokio::test]
async fn pictures_are_uploaded_checked_and_trained_and_samples_are_saved() {
    let dir = tempfile::tempdir().unwrap();
    let files = pictures(dir.path());
    let out = dir.path().join("out");
    let mut line = vec!["Acme", "--user", "ada", "--color", "#FF6600", "--idempotency-key", "k1"];
    line.extend(["-o", out.to_str().unwrap()]);
    line.extend(files.iter().map(String::as_str));
    let gateway = Gateway { busy: Arc::new(Mutex::new(2)), ..Gateway::default() };
    assert_eq!(run_train(&gateway, &line).await.unwrap(), Exit::Done);

    assert_eq!(gateway.count("put "), 5);
    assert_eq!(gateway.count("put 3.jpg image/png 100003"), 1, "the content decides the media type");
    assert_eq!(gateway.count("upload "), 7, "a refused upload gets a new target");
    let body = r##"{"brandColors":["#ff6600"],"brandName":"Acme","trainingImages":["upl_0.jpg","upl_1.jpg","upl_2.jpg","upl_3.jpg","upl_4.jpg"],"userId":"ada"}"##;
    assert_eq!(gateway.count(&format!("dry {body}")), 1);
    assert_eq!(gateway.count(&format!(r#"train "k1" {body}"#)), 1);
    assert_eq!(gateway.count("events"), 2);
    let mut names: Vec<_> = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["acme-efghij-1.png", "acme-efghij-2.png"]);
}

#[tokio::test]
async fn an_earlier_training_is_found_without_uploads() {
    let dir = tempfile::tempdir().unwrap();
    let files = pictures(dir.path());
    let gateway = Gateway { brand_exists: true, ..Gateway::default() };
    let mut line = vec!["Acme", "--idempotency-key", "k1"];
    line.extend(files.iter().map(String::as_str));
    assert_eq!(run_train(&gateway, &line).await.unwrap(), Exit::Done);
    assert_eq!((gateway.count("get"), gateway.count("upload"), gateway.count("train")), (1, 0, 0));
}

#[tokio::test]
async fn unfit_pictures_are_not_trained_on() {
    let dir = tempfile::tempdir().unwrap();
    let files = pictures(dir.path());
    for flags in [&["Acme"][..], &["Acme", "--dry-run"], &["Acme", "--json"]] {
        let gateway = Gateway::default();
        *gateway.verdict.lock().unwrap() = Some(json!({ "verdict": "extreme_aspect" }));
        let line: Vec<_> = flags.iter().copied().chain(files.iter().map(String::as_str)).collect();
        let error = run_train(&gateway, &line).await.unwrap_err();
        let failure = error.downcast_ref::<Failure>().unwrap();
        assert_eq!(failure.exit, Exit::Usage);
        assert_eq!(failure.message, "5 of 5 pictures are not fit for training");
        assert_eq!(gateway.count("train"), 0);
    }
}

#[tokio::test]
async fn a_dry_run_trains_nothing_and_detaching_does_not_watch() {
    let dir = tempfile::tempdir().unwrap();
    let files = pictures(dir.path());
    for (flag, trains) in [("--dry-run", 0), ("--detach", 1)] {
        let gateway = Gateway::default();
        let line: Vec<_> = ["Acme", flag].into_iter().chain(files.iter().map(String::as_str)).collect();
        assert_eq!(run_train(&gateway, &line).await.unwrap(), Exit::Done);
        assert_eq!((gateway.count("train"), gateway.count("events")), (trains, 0));
    }
}
