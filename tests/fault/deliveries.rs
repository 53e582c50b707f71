//! Pushes whose caller goes away.

use std::sync::atomic::Ordering;

use axum::{body::Body, http::Request};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::FutureExt as _;
use mediaforge::{domain::job::Status, worker};
use serde_json::json;
use tower::ServiceExt as _;

use crate::bench::Bench;

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_hangs_up_during_the_claim_leaves_no_claimed_job_behind() {
    let bench = Bench::new("0s");
    let id = bench.submit().await;
    let worker = bench.worker();
    let data = STANDARD.encode(json!({ "v": 1, "kind": "generation", "jobId": id }).to_string());
    let push = json!({ "message": { "data": data, "messageId": "1" }, "subscription": "s" }).to_string();
    let request = Request::post("/process-generation").body(Body::from(push)).expect("a request");

    bench.plan.commit_late.store(1, Ordering::SeqCst);
    let mut answer = worker::router(worker).oneshot(request).boxed();
    tokio::select! {
        _ = &mut answer => panic!("answered before the claim"),
        () = bench.plan.committed.notified() => {}
    }
    drop(answer);
    bench.plan.go_on.notify_one();
    assert_eq!(bench.finished(&id).await.value.status(), Status::Succeeded);
}
