//! What one user, one address and all together may ask for.

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

use crate::support::{Response, limited, post_json, request, world, world_with_jobs_in_flight};

fn per_minute(quota: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(quota)
}

fn at_most(number: usize) -> Option<NonZeroUsize> {
    NonZeroUsize::new(number)
}

fn told(answer: &Response) -> (Vec<&str>, Vec<&str>) {
    let all = |name| answer.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
    (all("ratelimit-policy"), all("ratelimit"))
}

#[tokio::test(start_paused = true)]
async fn a_user_has_so_many_requests_a_minute() {
    let world = limited(GatewayLimits { user_requests: per_minute(3), ..GatewayLimits::default() });
    let policy = vec![r#""user";q=3;w=60"#];
    let first = world.get("/credits?userId=ann").await;
    assert_eq!((first.status, told(&first)), (StatusCode::OK, (policy.clone(), vec![r#""user";r=2;t=20"#])));
    // Every way of naming the user counts, and so does what is refused otherwise.
    let accepted = world.generate(&json!({ "userId": "ann", "prompt": "a boat" })).await;
    assert_eq!((accepted.status, told(&accepted).1), (StatusCode::ACCEPTED, vec![r#""user";r=1;t=40"#]));
    let missing = world.get("/illustrations/ill_00000000000000000000?userId=ann").await;
    assert_eq!((missing.status, told(&missing).1), (StatusCode::NOT_FOUND, vec![r#""user";r=0;t=60"#]));

    let refused = world.generate(&json!({ "userId": "ann", "prompt": "a boat" })).await;
    let problem = refused.problem(429, "too_many_requests");
    assert_eq!(problem["retryable"], true);
    assert_eq!(told(&refused), (policy, vec![r#""user";r=0;t=20"#]));
    assert_eq!(refused.header("retry-after"), Some("20"));
    assert_eq!(world.get("/credits?userId=bob").await.status, StatusCode::OK);
    assert_eq!(world.job_count().await, 1);
    tokio::time::advance(Duration::from_secs(20)).await;
    assert_eq!(world.get("/credits?userId=ann").await.status, StatusCode::OK);
    world.get("/credits?userId=ann").await.problem(429, "too_many_requests");
}

#[tokio::test(start_paused = true)]
async fn an_address_has_so_many_requests_a_minute_whoever_it_says_it_is() {
    let limits = GatewayLimits {
        user_requests: per_minute(10),
        address_requests: per_minute(2),
        trusted_proxies: 1,
        ..GatewayLimits::default()
    };
    let world = limited(limits);
    let from = async |user: &str, seen: &str| {
        world.get_with(&format!("/credits?userId={user}"), &[("x-forwarded-for", seen)]).await
    };
    let first = from("ann", "203.0.113.7").await;
    let policies = vec![r#""user";q=10;w=60"#, r#""address";q=2;w=60"#];
    assert_eq!(told(&first), (policies, vec![r#""user";r=9;t=6"#, r#""address";r=1;t=30"#]));
    // What a client writes before what the proxy has seen makes no difference.
    assert_eq!(from("bob", "6.6.6.6, 203.0.113.7").await.status, StatusCode::OK);
    let refused = from("eve", "7.7.7.7, 203.0.113.7").await;
    refused.problem(429, "too_many_requests");
    assert_eq!(told(&refused), (vec![r#""address";q=2;w=60"#], vec![r#""address";r=0;t=30"#]));
    assert_eq!(from("ann", "203.0.113.8").await.status, StatusCode::OK);
    let probe = world.get_with("/health", &[("x-forwarded-for", "203.0.113.7")]).await;
    assert_eq!(probe.status, StatusCode::OK);
}

#[tokio::test]
async fn pages_may_read_why_they_are_refused() {
    let world = limited(GatewayLimits { user_requests: per_minute(1), ..GatewayLimits::default() });
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
async fn without_limits_nothing_is_said_of_them() {
    let answer = world().get("/credits").await;
    assert_eq!(told(&answer), (vec![], vec![]));
}

#[tokio::test]
async fn more_requests_at_once_are_turned_away_before_their_body_is_read() {
    let world = limited(GatewayLimits { requests: at_most(1), ..GatewayLimits::default() });
    let never = || Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
    let slow = world.router.clone().oneshot(post_json().body(never()).unwrap());
    let mut slow = Box::pin(slow);
    assert!(slow.as_mut().now_or_never().is_none());
    let problem = world.send(post_json().body(never()).unwrap()).await.problem(503, "overloaded");
    assert_eq!(problem["retryable"], true);
    assert_eq!(world.get("/health").await.status, StatusCode::OK);
    // Its turn ends with it, also when the client gives up.
    drop(slow);
    assert_eq!(world.get("/credits").await.status, StatusCode::OK);
}

#[tokio::test]
async fn streams_and_waits_take_no_turn() {
    let world = limited(GatewayLimits { requests: at_most(1), ..GatewayLimits::default() });
    let id = world.queued("local").await;
    let mut stream = world.events(&format!("/illustrations/{id}/events"), &[]).await;
    stream.frame().await.unwrap();
    let waits = post_json().header("prefer", "wait=30").body(Body::from(r#"{"prompt":"a cat"}"#)).unwrap();
    let mut waits = Box::pin(world.router.clone().oneshot(waits));
    // Until it waits for the worker it has its turn.
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
        _ = &mut waits => panic!("nobody works on it"),
        () = others => {}
    }
    drop(stream);
}

#[tokio::test]
async fn a_user_and_all_together_have_so_many_streams() {
    let world =
        limited(GatewayLimits { streams: at_most(3), streams_per_user: at_most(2), ..GatewayLimits::default() });
    let id = world.queued("ann").await;
    let one = world.events("/events?userId=ann", &[]).await;
    let two = world.events(&format!("/illustrations/{id}/events?userId=ann"), &[]).await;
    let refused = world.get("/events?userId=ann").await.problem(429, "too_many_streams");
    assert!(refused["detail"].as_str().unwrap().contains("2 open streams"), "{refused}");
    let three = world.events("/events?userId=bob", &[]).await;
    let refused = world.get("/events?userId=eve").await.problem(429, "too_many_streams");
    assert!(refused["detail"].as_str().unwrap().contains("this gateway"), "{refused}");
    // A wait is no more than a preference: the job is accepted.
    let answer = world.generate_with(&json!({ "prompt": "a cat" }), &[("prefer", "wait=30")]).await;
    assert_eq!((answer.status, answer.header("preference-applied")), (StatusCode::ACCEPTED, None));
    drop(two);
    let two = world.events(&format!("/illustrations/{id}/events?userId=ann"), &[]).await;
    drop((one, two, three));
    let _both = (world.events("/events?userId=ann", &[]).await, world.events("/events?userId=ann", &[]).await);
}

#[tokio::test]
async fn a_user_has_so_many_unfinished_jobs() {
    let world = world_with_jobs_in_flight(2);
    let boat = json!({ "userId": "ann", "prompt": "a boat" });
    let key = [("idempotency-key", "\"boat-1\"")];
    let first: Value = world.generate_with(&boat, &key).await.json();
    let second = world.queued("ann").await;
    let problem = world.generate(&boat).await.problem(429, "too_many_jobs");
    insta::assert_json_snapshot!(problem, { ".requestId" => "[id]" });
    assert_eq!(world.generate_with(&boat, &key).await.json(), first, "a repeat is no further job");
    world.queued("bob").await;
    assert_eq!(world.job_count().await, 3);
    world.call(Method::POST, &format!("/illustrations/{second}/cancel?userId=ann")).await;
    world.queued("ann").await;
}

#[tokio::test(start_paused = true)]
async fn a_body_has_as_long_as_is_configured() {
    let limits = GatewayLimits {
        body_timeout: Duration::from_secs(3),
        upload_timeout: Duration::from_secs(7),
        ..GatewayLimits::default()
    };
    let world = limited(limits);
    let never = || Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
    let place = request(Method::PUT, "/uploads/upl_4kQ0b1xYc7ZpT2mN9sVd").body(never()).unwrap();
    for (seconds, request) in [(3, post_json().body(never()).unwrap()), (7, place)] {
        let begun = tokio::time::Instant::now();
        world.send(request).await.problem(408, "request_timeout");
        assert_eq!(begun.elapsed().as_secs(), seconds);
    }
}
