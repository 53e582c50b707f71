//! The command against a gateway with an unreliable network.

use std::sync::{Arc, Mutex};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use clap::Parser;

use serde_json::json;

use super::*;
use crate::cli::{
    Failure,
    job::{Api, idempotency_key, no_interrupts},
};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: GenerateArgs,
}

fn args(line: &[&str]) -> GenerateArgs {
    Line::parse_from(["generate"].iter().chain(line)).args
}

/// A scripted gateway that records its requests.
#[derive(Clone, Default)]
struct Gateway {
    seen: Arc<Mutex<Vec<String>>>,
    /// Responses to `POST /generate`; the last one repeats.
    submits: Arc<Mutex<Vec<(u16, Value)>>>,
    /// Bodies of the event stream, one per connection.
    streams: Arc<Mutex<Vec<String>>>,
}

fn header(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
}

async fn submit(State(gateway): State<Gateway>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let key = header(&headers, "idempotency-key");
    gateway.seen.lock().unwrap().push(format!("submit {key} {body}"));
    let mut answers = gateway.submits.lock().unwrap();
    let (status, answer) = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
    (StatusCode::from_u16(status).unwrap(), [("retry-after", "0")], Json(answer)).into_response()
}

async fn events(State(gateway): State<Gateway>, headers: HeaderMap, Query(query): Query<Value>) -> Response {
    gateway.seen.lock().unwrap().push(format!("events {} {query}", header(&headers, "last-event-id")));
    let body = gateway.streams.lock().unwrap().remove(0);
    ([("content-type", "text/event-stream")], body).into_response()
}

async fn served(gateway: &Gateway) -> url::Url {
    let router = Router::new()
        .route("/generate", post(submit))
        .route("/illustrations/{id}/events", get(events))
        .route("/pictures/{n}", get(|| async { ([("content-type", "image/png")], "pixels") }))
        .with_state(gateway.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

fn event(id: u32, job: &Value) -> String {
    format!(": keep-alive\n\nevent: job.changed\nid: {id}\ndata: {job}\n\n")
}

fn accepted() -> (u16, Value) {
    (202, json!({ "success": true, "illustrationId": "ill_0123456789abcdefghij", "status": "queued" }))
}

fn job(status: &str, more: &Value) -> Value {
    let mut job = json!({ "illustrationId": "ill_0123456789abcdefghij", "status": status, "attempt": 1 });
    job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    job
}

async fn drawn(gateway: &Gateway, args: &GenerateArgs) -> anyhow::Result<Exit> {
    let api = Api::new(&served(gateway).await, args.service.user.clone()).unwrap();
    let mut interrupts = no_interrupts();
    draw(args, &mut Session::new(&args.service, &api, &mut interrupts, "the job continues")).await
}

#[tokio::test]
async fn a_job_is_followed_across_a_lost_connection_and_its_pictures_are_saved() {
    let gateway = Gateway::default();
    let busy = (503, json!({ "detail": "the store is unavailable" }));
    *gateway.submits.lock().unwrap() = vec![busy, accepted()];
    let pictures = json!({ "imageUrls": ["/pictures/1", "/pictures/2"] });
    *gateway.streams.lock().unwrap() = vec![
        event(1, &job("queued", &json!({})))
            + &event(2, &job("processing", &json!({ "progress": { "fraction": 0.5 } }))),
        event(5, &job("completed", &pictures)),
    ];
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let args =
        args(&["A fox!", "--user", "ada", "--count", "2", "--idempotency-key", "k1", "-o", out.to_str().unwrap()]);

    assert_eq!(drawn(&gateway, &args).await.unwrap(), Exit::Done);
    let asked = r#"submit "k1" {"count":2,"prompt":"A fox!","userId":"ada"}"#;
    let events = |after: &str| format!("events {after} {{\"userId\":\"ada\"}}");
    assert_eq!(*gateway.seen.lock().unwrap(), [asked.into(), asked.into(), events(""), events("2")]);
    let mut names: Vec<_> = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["a-fox-efghij-1.png", "a-fox-efghij-2.png"]);
    assert_eq!(std::fs::read(out.join("a-fox-efghij-1.png")).unwrap(), b"pixels");
}

#[tokio::test]
async fn the_end_of_a_job_decides_the_exit_code() {
    let ends = [
        (job("cancelled", &json!({})), Exit::Cancelled),
        (
            job("failed", &json!({ "error": { "code": "filtered", "message": "the picture was withheld" } })),
            Exit::Failed,
        ),
    ];
    for (end, expected) in ends {
        let gateway = Gateway::default();
        *gateway.submits.lock().unwrap() = vec![accepted()];
        *gateway.streams.lock().unwrap() = vec![event(3, &end)];
        let exit = drawn(&gateway, &args(&["fox", "--json"])).await;
        let exit = exit.unwrap_or_else(|error| {
            assert_eq!(error.to_string(), "the job failed: the picture was withheld (filtered)");
            error.downcast_ref::<Failure>().unwrap().exit
        });
        assert_eq!(exit, expected);
    }
}

#[tokio::test]
async fn a_refused_request_is_not_repeated() {
    for (status, expected) in [(402, Exit::NoCredits), (422, Exit::Usage), (401, Exit::NotAllowed)] {
        let gateway = Gateway::default();
        *gateway.submits.lock().unwrap() = vec![(status, json!({ "detail": "no" }))];
        let error = drawn(&gateway, &args(&["fox"])).await.unwrap_err();
        assert_eq!(error.downcast_ref::<Failure>().unwrap().exit, expected);
        assert_eq!(gateway.seen.lock().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_service_that_stays_busy_ends_the_command() {
    let gateway = Gateway::default();
    *gateway.submits.lock().unwrap() = vec![(429, json!({ "detail": "slow down" }))];
    let error = drawn(&gateway, &args(&["fox"])).await.unwrap_err();
    assert_eq!(error.downcast_ref::<Failure>().unwrap().exit, Exit::Busy);
    assert_eq!(gateway.seen.lock().unwrap().len(), 5);
}

#[tokio::test]
async fn detaching_does_not_watch() {
    let gateway = Gateway::default();
    *gateway.submits.lock().unwrap() = vec![accepted()];
    assert_eq!(drawn(&gateway, &args(&["fox", "--detach"])).await.unwrap(), Exit::Done);
    assert_eq!(gateway.seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn after_a_timeout_the_job_continues() {
    let gateway = Gateway::default();
    *gateway.submits.lock().unwrap() = vec![accepted()];
    *gateway.streams.lock().unwrap() = (0..9).map(|_| event(1, &job("queued", &json!({})))).collect();
    assert_eq!(drawn(&gateway, &args(&["fox", "--timeout", "200ms"])).await.unwrap(), Exit::TimedOut);
}

#[test]
fn a_size_is_width_and_height_or_a_square() {
    assert_eq!("1536x1024".parse(), Ok(Size { width: 1536, height: 1024 }));
    assert_eq!("640X480".parse(), Ok(Size { width: 640, height: 480 }));
    assert_eq!("512".parse(), Ok(Size { width: 512, height: 512 }));
    for wrong in ["", "x", "12x", "axb", "-1x5", "1x2x3"] {
        assert!(wrong.parse::<Size>().is_err(), "{wrong}");
    }
}

#[test]
fn keys_fit_their_header() {
    assert!(idempotency_key("8e03978e-40d5").is_ok());
    for wrong in ["", "with space", "quo\"te", "back\\slash", "ümlaut", &"x".repeat(256)] {
        assert!(idempotency_key(wrong).is_err(), "{wrong}");
    }
}
