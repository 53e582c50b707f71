//! Requests to a worker that do not come from a queue, and requests to a worker in trouble.

use std::{num::NonZeroUsize, sync::atomic::Ordering};

use axum::{
    body::{Body, Bytes},
    http::{Method, Request, Response, StatusCode},
};
use futures::FutureExt as _;
use http_body_util::BodyExt as _;
use mediaforge::worker::{self, Worker, WorkerSettings};
use tower::ServiceExt as _;

use crate::bench::{Bench, worker_settings};

const PUSH: &str = "/process-generation";

async fn send(worker: &Worker, method: Method, path: &str, body: Body) -> Response<String> {
    let request = Request::builder().method(method).uri(path).body(body).expect("a request");
    let (parts, body) = worker::router(worker.clone()).oneshot(request).await.expect("an answer").into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    Response::from_parts(parts, String::from_utf8_lossy(&body).into_owned())
}

fn never() -> Body {
    Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>())
}

#[tokio::test]
async fn a_panic_gets_a_response() {
    let bench = Bench::new("0s");
    let worker = bench.worker();
    bench.plan.due_panics.store(1, Ordering::SeqCst);
    let answer = send(&worker, Method::POST, "/sweep", Body::empty()).await;
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answer.body(), r#"{"outcome":"refused","reason":"internal"}"#);
    assert_eq!(send(&worker, Method::POST, "/sweep", Body::empty()).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_backend_that_hangs_is_named_and_does_not_delay_the_response() {
    let bench = Bench::new("0s");
    let worker = bench.worker();
    assert_eq!(send(&worker, Method::GET, "/ready", Body::empty()).await.status(), StatusCode::OK);
    bench.plan.ping_hangs.store(1, Ordering::SeqCst);
    let answer = send(&worker, Method::GET, "/ready", Body::empty()).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.body().contains("not ready: store "), "{}", answer.body());
    assert!(!answer.body().contains("media"), "{}", answer.body());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_arrives_times_out() {
    let bench = Bench::new("0s");
    let begun = tokio::time::Instant::now();
    let answer = send(&bench.worker(), Method::POST, PUSH, never()).await;
    assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
    assert_eq!(begun.elapsed(), worker_settings().body_timeout);
    let broken = Body::from_stream(futures::stream::iter([Err::<Bytes, _>(std::io::Error::other("gone"))]));
    assert_eq!(send(&bench.worker(), Method::POST, PUSH, broken).await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_push_may_be_as_long_as_pubsub_allows_and_no_longer() {
    let bench = Bench::new("0s");
    let worker = bench.worker();
    let piece = || Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 1 << 20]));
    // 14 MiB of spaces become a dead letter; more is refused.
    let whole = futures::stream::iter((0..14).map(move |_| piece()));
    assert_eq!(send(&worker, Method::POST, PUSH, Body::from_stream(whole)).await.status(), StatusCode::OK);
    let endless = Body::from_stream(futures::stream::repeat_with(piece));
    assert_eq!(send(&worker, Method::POST, PUSH, endless).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let announced = Request::post(PUSH).header("content-length", "1000000000").body(never()).expect("a request");
    let answer = worker::router(worker).oneshot(announced).now_or_never().expect("before a byte is read");
    assert_eq!(answer.expect("an answer").status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn more_requests_than_configured_are_refused_with_retry_after() {
    let bench = Bench::new("0s");
    let worker = bench.worker_with(WorkerSettings { requests: NonZeroUsize::new(1), ..worker_settings() });
    let mut first = Box::pin(send(&worker, Method::POST, PUSH, never()));
    assert!(first.as_mut().now_or_never().is_none());
    let second = send(&worker, Method::POST, PUSH, never()).now_or_never().expect("an answer at once");
    assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(second.headers().contains_key("retry-after"));
    assert_eq!(send(&worker, Method::GET, "/health", Body::empty()).await.status(), StatusCode::OK);
    drop(first);
    assert_eq!(send(&worker, Method::POST, "/sweep", Body::empty()).await.status(), StatusCode::OK);
}
