//! `POST /generate`: acceptance, idempotency, credits, preferences.

use std::time::Duration;

use axum::{body::Body, http::StatusCode};
use mediaforge::error::ErrorKind;
use serde_json::json;

use crate::support::{post_json, with, world};

#[tokio::test]
async fn a_prompt_is_accepted() {
    let world = world();
    let answer = world
        .generate(&json!({
            "userId": "ann", "prompt": "a lighthouse at dawn", "styleId": "line-art", "styleName": "Line art",
            "width": 1536, "height": 1024, "count": 2, "seed": 3
        }))
        .await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let body = answer.json();
    let id = body["illustrationId"].as_str().unwrap();
    assert_eq!(body, json!({ "success": true, "illustrationId": id, "status": "queued" }));
    assert_eq!(answer.header("location"), Some(format!("/illustrations/{id}").as_str()));
    assert_eq!(answer.header("idempotency-replayed"), None);
    let credits = world.get("/credits?userId=ann").await.json();
    assert_eq!(credits, json!({ "account": "users/ann", "available": 8, "held": 2, "spent": 0, "granted": 10 }));
}

#[tokio::test]
async fn the_current_team_pays() {
    let world = world();
    let payer = async || {
        let answer = world.generate(&json!({ "userId": "ann", "prompt": "x" })).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
        let id = answer.json()["illustrationId"].as_str().unwrap().to_owned();
        let job = world.store.get(&id.parse().unwrap()).await.unwrap().unwrap();
        job.value.account().to_string()
    };
    assert_eq!(payer().await, "users/ann");
    for team in ["acme", "zoo"] {
        world.join("ann", team).await;
        assert_eq!([payer().await, payer().await], [format!("teams/{team}"), format!("teams/{team}")]);
    }
    world.accounts.set_team(&"ann".parse().unwrap(), None).await.unwrap();
    assert_eq!(payer().await, "users/ann");
}

#[tokio::test]
async fn the_caller_is_the_user_of_the_body_or_of_the_query_or_local() {
    let world = world();
    let send = async |path: &str, body: serde_json::Value| {
        let mut request = post_json().body(Body::from(body.to_string())).unwrap();
        *request.uri_mut() = path.parse().unwrap();
        let id = world.send(request).await.json()["illustrationId"].as_str().unwrap().to_owned();
        let job = world.store.get(&id.parse().unwrap()).await.unwrap().unwrap();
        job.value.user.to_string()
    };
    assert_eq!(send("/generate?userId=bob", json!({ "userId": "ann", "prompt": "x" })).await, "ann");
    assert_eq!(send("/generate?userId=bob", json!({ "prompt": "x" })).await, "bob");
    assert_eq!(send("/generate", json!({ "prompt": "x", "userId": null })).await, "local");
}

#[tokio::test]
async fn the_same_key_and_body_return_the_first_job() {
    let world = world();
    let body = json!({ "userId": "ann", "prompt": "a boat" });
    let first = world.generate_with(&body, &[("idempotency-key", "\"k 1\"")]).await;
    world.start(first.json()["illustrationId"].as_str().unwrap()).await;
    let again = world.generate_with(&body, &[("idempotency-key", "k 1")]).await;
    assert_eq!((again.status, again.json()), (StatusCode::ACCEPTED, first.json()));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(world.job_count().await, 1);
    // Keys belong to one user.
    let bobs = json!({ "userId": "bob", "prompt": "a boat" });
    let other = world.generate_with(&bobs, &[("idempotency-key", "k 1")]).await;
    assert_ne!(other.json()["illustrationId"], first.json()["illustrationId"]);
}

#[tokio::test]
async fn two_concurrent_requests_with_one_key_create_one_job() {
    let world = world();
    let body = json!({ "userId": "ann", "prompt": "a boat" });
    let send = || world.generate_with(&body, &[("idempotency-key", "k")]);
    let (one, two) = tokio::join!(send(), send());
    assert_eq!(one.json(), two.json());
    assert_eq!(world.job_count().await, 1);
}

#[tokio::test]
async fn another_body_with_the_same_key_is_refused() {
    let world = world();
    world.generate_with(&json!({ "prompt": "a boat" }), &[("idempotency-key", "k")]).await;
    let other = world.generate_with(&json!({ "prompt": "a goat" }), &[("idempotency-key", "k")]).await;
    insta::assert_json_snapshot!(other.problem(422, "idempotency_key_reused"), { ".requestId" => "[id]" });
}

#[tokio::test]
async fn the_key_of_a_deleted_job_is_spent() {
    let world = world();
    let body = json!({ "prompt": "a boat" });
    let first = world.generate_with(&body, &[("idempotency-key", "k")]).await;
    let id = first.json()["illustrationId"].as_str().unwrap().to_owned();
    world.call(axum::http::Method::POST, &format!("/illustrations/{id}/cancel")).await;
    let deleted = world.call(axum::http::Method::DELETE, &format!("/illustrations/{id}")).await;
    assert_eq!((deleted.status, deleted.body.len()), (StatusCode::NO_CONTENT, 0));
    let again = world.generate_with(&body, &[("idempotency-key", "k")]).await;
    insta::assert_json_snapshot!(again.problem(409, "idempotency_key_spent"), { ".requestId" => "[id]" });
}

#[tokio::test]
async fn invalid_keys_are_refused() {
    let world = world();
    let long = "k".repeat(10_000);
    for key in ["", "\"\"", "\"open", "a\"b", &long] {
        let answer = world.generate_with(&json!({ "prompt": "x" }), &[("idempotency-key", key)]).await;
        answer.problem(400, "idempotency_key_invalid");
    }
    let twice = [("idempotency-key", "a"), ("idempotency-key", "b")];
    let answer = world.generate_with(&json!({ "prompt": "x" }), &twice).await;
    insta::assert_json_snapshot!(answer.problem(400, "idempotency_key_invalid"), { ".requestId" => "[id]" });
    assert_eq!(world.job_count().await, 0);
}

#[tokio::test]
async fn without_credits_nothing_is_stored() {
    let world = world();
    let large = json!({ "userId": "ann", "prompt": "x", "width": 2048, "count": 4 });
    assert_eq!(world.generate(&large).await.status, StatusCode::ACCEPTED);
    let refused = world.generate(&large).await;
    insta::assert_json_snapshot!(refused.problem(402, "insufficient_credits"), { ".requestId" => "[id]" });
    assert_eq!(world.job_count().await, 1);
    assert_eq!(world.get("/credits?userId=ann").await.json()["held"], 8);
}

#[tokio::test]
async fn all_invalid_fields_are_reported_together() {
    let world = world();
    let answer = world
        .generate(&json!({
            "userId": "../etc", "prompt": " \n", "styleId": "oil", "styleName": "x".repeat(81),
            "width": 255, "height": -1, "count": 0, "seed": 3_000_000_000_u64
        }))
        .await;
    insta::assert_json_snapshot!(answer.problem(422, "invalid_fields"), { ".requestId" => "[id]" });
    assert_eq!(world.job_count().await, 0);
}

#[tokio::test]
async fn failing_backends_are_503_or_500_and_leak_nothing() {
    let world = world();
    let cases = [
        (ErrorKind::Unavailable, 503, "unavailable"),
        (ErrorKind::Timeout, 503, "timeout"),
        (ErrorKind::Conflict, 503, "busy"),
        (ErrorKind::Broken, 503, "backend_broken"),
        (ErrorKind::Internal, 500, "internal"),
        (ErrorKind::AlreadyExists, 500, "internal"),
    ];
    for (kind, status, code) in cases {
        world.faults.store.fail(Some(kind));
        let problem = world.generate(&json!({ "prompt": "x" })).await.problem(status, code);
        assert_eq!(problem["retryable"], status == 503);
        insta::assert_json_snapshot!(format!("backend_{kind:?}"), problem, { ".requestId" => "[id]" });
    }
}

#[tokio::test]
async fn prefer_wait_delays_the_response_until_the_end() {
    let world = world();
    let body = json!({ "prompt": "x" });
    let key = [("idempotency-key", "k"), ("prefer", "wait=30")];
    let id = world.generate_with(&body, &key[..1]).await.json()["illustrationId"].as_str().unwrap().to_owned();
    let work = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.start(&id).await;
        world.complete(&id).await;
    };
    let (answer, ()) = tokio::join!(world.generate_with(&body, &key), work);
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json()["status"], "completed");
    assert_eq!(answer.json(), world.get(&format!("/illustrations/{id}")).await.json());
    assert_eq!(answer.header("preference-applied"), Some("wait=30"));
    assert_eq!(answer.header("idempotency-replayed"), Some("true"));
    assert!(answer.headers.get_all("vary").iter().any(|value| value == "prefer"));
    assert_eq!(answer.header("location"), Some(format!("/illustrations/{id}").as_str()));
}

#[tokio::test(start_paused = true)]
async fn prefer_wait_ends_with_202_after_the_wait() {
    let world = world();
    let started = tokio::time::Instant::now();
    let answer = world.generate_with(&json!({ "prompt": "x" }), &[("prefer", "wait=600")]).await;
    assert_eq!(started.elapsed().as_secs(), 50);
    assert_eq!((answer.status, &answer.json()["status"]), (StatusCode::ACCEPTED, &json!("queued")));
    assert_eq!(answer.header("preference-applied"), Some("wait=50"));
    assert!(answer.header("location").is_some());
}

#[tokio::test]
async fn a_stopping_gateway_answers_waiting_clients() {
    let world = world();
    let started = tokio::time::Instant::now();
    let stop = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        world.drain.cancel();
    };
    let body = json!({ "prompt": "x" });
    let (answer, ()) = tokio::join!(world.generate_with(&body, &[("prefer", "wait=30")]), stop);
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}

#[tokio::test]
async fn prefer_respond_async_is_acknowledged() {
    let world = world();
    let answer = world.generate_with(&json!({ "prompt": "x" }), &[("prefer", "respond-async")]).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(answer.header("preference-applied"), Some("respond-async"));
}

#[tokio::test]
async fn the_clients_trace_reaches_the_job() {
    let world = world();
    let trace = |id: String| {
        let store = world.store.clone();
        async move { store.get(&id.parse().unwrap()).await.unwrap().unwrap().value.trace.clone().unwrap() }
    };
    let id = |answer: &crate::support::Response| answer.json()["illustrationId"].as_str().unwrap().to_owned();
    let given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = with(post_json(), &[("traceparent", given)]).body(Body::from(r#"{"prompt":"x"}"#)).unwrap();
    let answer = world.send(request).await;
    let followed = trace(id(&answer)).await;
    assert_eq!(followed.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_ne!(followed.span_id(), "00f067aa0ba902b7");
    let answer = world.generate_with(&json!({ "prompt": "x" }), &[("traceparent", "garbage")]).await;
    assert_ne!(trace(id(&answer)).await.trace_id(), followed.trace_id());
}

#[tokio::test]
async fn concurrent_requests_cannot_overdraw() {
    let world = world();
    let body = json!({ "userId": "ann", "prompt": "x", "width": 2048, "count": 4 });
    let answers = futures::future::join_all((0..50).map(|_| world.generate(&body))).await;
    let accepted = answers.iter().filter(|answer| answer.status == StatusCode::ACCEPTED).count();
    let refused = answers.iter().filter(|answer| answer.status == StatusCode::PAYMENT_REQUIRED).count();
    assert_eq!((accepted, refused), (1, 49));
}
