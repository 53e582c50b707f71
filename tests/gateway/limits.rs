//! Limits per user, per address and for the whole gateway.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    http::{Method, StatusCode},
};
use futures::FutureExt as _;
use mediaforge::gateway::GatewayLimits;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::{Response, post_json, request, world, world_with_jobs_in_flight, world_with_limits};

fn per_minute(quota: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(quota)
}

fn at_most(number: usize) -> Option<NonZeroUsize> {
    NonZeroUsize::new(number)
}

fn rate_limits(answer: &Response) -> (Vec<&str>, Vec<&str>) {
    let all = |name| answer.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
    (all("ratelimit-policy"), all("ratelimit"))
}

#[tokio::test(start_paused = true)]
async fn requests_of_a_user_are_limited() {
    let world = world_with_limits(GatewayLimits { user_requests: per_minute(3), ..GatewayLimits::default() });
    let policy = vec![r#""user";q=3;w=60"#];
    let first = world.get("/credits?userId=ann").await;
    assert_eq!((first.status, rate_limits(&first)), (StatusCode::OK, (policy.clone(), vec![r#""user";r=2;t=20"#])));
    // The user counts wherever the request names it, also if the request is refused for another reason.
    let accepted = world.generate(&json!({ "userId": "ann", "prompt": "a boat" })).await;
    assert_eq!((accepted.status, rate_limits(&accepted).1), (StatusCode::ACCEPTED, vec![r#""user";r=1;t=40"#]));
    let missing = world.get("/illustrations/ill_00000000000000000000?userId=ann").await;
    assert_eq!((missing.status, rate_limits(&missing).1), (StatusCode::NOT_FOUND, vec![r#""user";r=0;t=60"#]));

    let refused = world.generate(&json!({ "userId": "ann", "prompt": "a boat" })).await;
    let problem = refused.problem(429, "too_many_requests");
    assert_eq!(problem["retryable"], true);
    assert_eq!(rate_limits(&refused), (policy, vec![r#""user";r=0;t=20"#]));
    assert_eq!(refused.header("retry-after"), Some("20"));
    assert_eq!(world.get("/credits?userId=bob").await.status, StatusCode::OK);
    assert_eq!(world.job_count().await, 1);
    tokio::time::advance(Duration::from_secs(20)).await;
    assert_eq!(world.get("/credits?userId=ann").await.status, StatusCode::OK);
    world.get("/credits?userId=ann").await.problem(429, "too_many_requests");
}

#[tokio::test(start_paused = true)]
async fn requests_of_an_address_are_limited_for_all_its_users() {
    let limits = GatewayLimits {
        user_requests: per_minute(10),
        address_requests: per_minute(2),
        trusted_proxies: 1,
        ..GatewayLimits::default()
    };
    let world = world_with_limits(limits);
    let from = async |user: &str, seen: &str| {
        world.get_with(&format!("/credits?userId={user}"), &[("x-forwarded-for", seen)]).await
    };
    let first = from("ann", "203.0.113.7").await;
    let policies = vec![r#""user";q=10;w=60"#, r#""address";q=2;w=60"#];
    assert_eq!(rate_limits(&first), (policies, vec![r#""user";r=9;t=6"#, r#""address";r=1;t=30"#]));
    // Entries that the client itself has written make no difference.
    assert_eq!(from("bob", "6.6.6.6, 203.0.113.7").await.status, StatusCode::OK);
    let refused = from("eve", "7.7.7.7, 203.0.113.7").await;
    refused.problem(429, "too_many_requests");
    assert_eq!(rate_limits(&refused), (vec![r#""address";q=2;w=60"#], vec![r#""address";r=0;t=30"#]));
    assert_eq!(from("ann", "203.0.113.8").await.status, StatusCode::OK);
    let probe = world.get_with("/health", &[("x-forwarded-for", "203.0.113.7")]).await;
    assert_eq!(probe.status, StatusCode::OK);
}

#[tokio::test]
async fn web_pages_can_read_a_refusal() {
    let world = world_with_limits(GatewayLimits { user_requests: per_minute(1), ..GatewayLimits::default() });
    let origin = [("origin", "https://app.example")];
    world.get_with("/credits", &origin).await;
    let refused = world.get_with("/credits", &origin).await;
    refused.problem(429, "too_many_requests");
    assert_eq!(refused.header("access-control-allow-origin"), Some("https://app.example"));
    let exposed = refused.header("access-control-expose-headers").unwrap().to_lowercase();
    for name in ["ratelimit", "ratelimit-policy", "retry-after"] {
        assert!(exposed.split(',').any(|exposed| exposed.trim() == name), "{name} in {exposed}");
    }
}

#[tokio::test]
async fn without_limits_there_are_no_rate_limit_headers() {
    let answer = world().get("/credits").await;
    assert_eq!(rate_limits(&answer), (vec![], vec![]));
}

#[tokio::test]
async fn too_many_concurrent_requests_are_refused_before_their_body_is_read() {
    let world = world_with_limits(GatewayLimits { requests: at_most(1), ..GatewayLimits::default() });
    let never = || Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
    let slow = world.router.clone().oneshot(post_json().body(never()).unwrap());
    let mut slow = Box::pin(slow);
    assert!(slow.as_mut().now_or_never().is_none());
    let problem = world.send(post_json().body(never()).unwrap()).await.problem(503, "overloaded");
    assert_eq!(problem["retryable"], true);
    assert_eq!(world.get("/health").await.status, StatusCode::OK);
    // The permit is released, also if the client disconnects.
    drop(slow);
    assert_eq!(world.get("/credits").await.status, StatusCode::OK);
}

#[tokio::test]
async fn streams_and_waiting_submits_hold_no_permit() {
    let world = world_with_limits(GatewayLimits { requests: at_most(1), ..GatewayLimits::default() });
    let id = world.queued("local").await;
    let mut stream = world.events(&format!("/illustrations/{id}/events"), &[]).await;
    stream.frame().await.unwrap();
    let waits = post_json().header("prefer", "wait=30").body(Body::from(r#"{"prompt":"a cat"}"#)).unwrap();
    let mut waits = Box::pin(world.router.clone().oneshot(waits));
    // It holds its permit until it waits for the job.
    while world.job_count().await < 2 {
        assert!(waits.as_mut().now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    let others = async {
        while world.get("/credits").await.status != StatusCode::OK {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = &mut waits => panic!("no worker runs"),
        () = others => {}
    }
    drop(stream);
}

#[tokio::test]
async fn streams_are_limited_per_user_and_in_total() {
    let world = world_with_limits(GatewayLimits {
        streams: at_most(3),
        streams_per_user: at_most(2),
        ..GatewayLimits::default()
    });
    let id = world.queued("ann").await;
    let one = world.events("/events?userId=ann", &[]).await;
    let two = world.events(&format!("/illustrations/{id}/events?userId=ann"), &[]).await;
    let refused = world.get("/events?userId=ann").await.problem(429, "too_many_streams");
    assert!(refused["detail"].as_str().unwrap().contains("2 open streams"), "{refused}");
    let three = world.events("/events?userId=bob", &[]).await;
    let refused = world.get("/events?userId=eve").await.problem(429, "too_many_streams");
    assert!(refused["detail"].as_str().unwrap().contains("this gateway"), "{refused}");
    // A wait is only a preference: the job is still accepted.
    let answer = world.generate_with(&json!({ "prompt": "a cat" }), &[("prefer", "wait=30")]).await;
    assert_eq!((answer.status, answer.header("preference-applied")), (StatusCode::ACCEPTED, None));
    drop(two);
    let two = world.events(&format!("/illustrations/{id}/events?userId=ann"), &[]).await;
    drop((one, two, three));
    let _both = (world.events("/events?userId=ann", &[]).await, world.events("/events?userId=ann", &[]).await);
}

#[tokio::test]
async fn unfinished_jobs_of_a_user_are_limited() {
    let world = world_with_jobs_in_flight(2);
    let boat = json!({ "userId": "ann", "prompt": "a boat" });
    let key = [("idempotency-key", "\"boat-1\"")];
    let first: Value = world.generate_with(&boat, &key).await.json();
    let second = world.queued("ann").await;
    let problem = world.generate(&boat).await.problem(429, "too_many_jobs");
    insta::assert_json_snapshot!(problem, { ".requestId" => "[id]" });
    assert_eq!(world.generate_with(&boat, &key).await.json(), first, "a repeated request is not another job");
    world.queued("bob").await;
    assert_eq!(world.job_count().await, 3);
    world.call(Method::POST, &format!("/illustrations/{second}/cancel?userId=ann")).await;
    world.queued("ann").await;
}

#[tokio::test(start_paused = true)]
async fn bodies_time_out_as_configured() {
    let limits = GatewayLimits {
        body_timeout: Duration::from_secs(3),
        upload_timeout: Duration::from_secs(7),
        ..GatewayLimits::default()
    };
    let world = world_with_limits(limits);
    let never = || Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
    let place = request(Method::PUT, "/uploads/upl_4kQ0b1xYc7ZpT2mN9sVd").body(never()).unwrap();
    for (seconds, request) in [(3, post_json().body(never()).unwrap()), (7, place)] {
        let begun = tokio::time::Instant::now();
        world.send(request).await.problem(408, "request_timeout");
        assert_eq!(begun.elapsed().as_secs(), seconds);
    }
}
