//! Addresses with a token, for browsers that send no headers.

use axum::{body::Body, http::Method};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::Site;
use crate::support::{request, with, world};

/// Creates an address of events by a POST to `path`.
async fn address(site: &Site, uid: &str, path: &str) -> Value {
    let bearer = format!("Bearer {}", site.token(uid));
    let asked = with(request(Method::POST, path), &[("authorization", &bearer)]);
    let answer = site.world.send(asked.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, 200, "{}", answer.json());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    answer.json()
}

fn path_of(url: &Value) -> String {
    url.as_str().unwrap().strip_prefix("http://gateway.test:8080").unwrap().to_owned()
}

#[tokio::test]
async fn an_event_address_opens_only_its_events() {
    let site = Site::open().await;
    let (id, other) = (site.job_of("ann").await, site.job_of("ann").await);
    let made = address(&site, "ann", &format!("/illustrations/{id}/stream-token")).await;
    assert_eq!(made["expiresAt"], "2026-03-01T12:05:00Z");
    let (url, token) = (path_of(&made["url"]), made["token"].as_str().unwrap());
    assert_eq!(url, format!("/illustrations/{id}/events?token={token}"));
    let event = site.world.events(&url, &[]).await;
    assert_eq!(event.headers["content-type"], "text/event-stream");
    site.world.events(&format!("{url}&last_event_id=99&userId=bob"), &[]).await;

    for path in [
        format!("/illustrations/{other}/events"),
        format!("/illustrations/{id}"),
        format!("/illustrations/{id}/events/"),
        format!("//illustrations/{id}/events"),
        "/illustrations".to_owned(),
        "/events".to_owned(),
        "/credits".to_owned(),
        "/styles".to_owned(),
        format!("/brands/{id}/events"),
        format!("/media/illustrations/{id}/events"),
    ] {
        // Check only the status: a stream that opens by mistake would never end.
        let asked = request(Method::GET, &format!("{path}?token={token}")).body(Body::empty()).unwrap();
        let status = site.world.router.clone().oneshot(asked).await.unwrap().status().as_u16();
        let is_unknown_route = path.contains("//") || path.ends_with('/');
        assert_eq!(status, if is_unknown_route { 404 } else { 401 }, "{path}");
    }
    let post = |path: String| site.world.call(Method::POST, Box::leak(path.into_boxed_str()));
    post(format!("/illustrations/{id}/cancel?token={token}")).await.problem(401, "unauthorized");
    post(format!("/illustrations/{id}/stream-token?token={token}")).await.problem(401, "unauthorized");
    // It is not valid as a bearer token, and a user's token is not valid in an address.
    site.get(&format!("/illustrations/{id}/events"), token).await.problem(401, "unauthorized");
    let users = site.token("ann");
    site.world.get(&format!("/illustrations/{id}/events?token={users}")).await.problem(401, "unauthorized");
    // Two tokens are refused.
    site.get(&url, &users).await.problem(401, "unauthorized");
}

#[tokio::test]
async fn an_address_of_all_events_belongs_to_one_user() {
    let site = Site::open().await;
    let (ann, bob) = (site.job_of("ann").await, site.job_of("bob").await);
    let url = path_of(&address(&site, "ann", "/events/stream-token").await["url"]);
    let mut events = site.world.events(&url, &[]).await;
    events.frame().await;
    assert_eq!(events.event().await.data["illustrationId"], ann.as_str());
    site.world.start(&bob).await;
    site.world.start(&ann).await;
    assert_eq!(events.event().await.data["illustrationId"], ann.as_str(), "it has no events of bob");
}

#[tokio::test]
async fn an_expired_address_explains_how_to_get_a_new_one() {
    let site = Site::open().await;
    let id = site.job_of("ann").await;
    let made = address(&site, "ann", &format!("/illustrations/{id}/stream-token")).await;
    let url = path_of(&made["url"]);
    let mut open = site.world.events(&url, &[]).await;
    open.frame().await;
    site.clock.advance_ms(299_999);
    assert_eq!(site.world.events(&url, &[]).await.headers["cache-control"], "no-store");
    site.clock.advance_ms(1);
    let answer = site.world.get(&url).await;
    let problem = answer.problem(401, "stream_token_expired");
    assert!(problem["detail"].as_str().unwrap().contains("POST .../stream-token"), "{problem}");
    assert!(answer.header("www-authenticate").is_some());
    // Open streams stay open.
    assert_eq!(open.event().await.name, "job.queued");
    site.world.start(&id).await;
    assert_eq!(open.event().await.name, "job.processing");
}

#[tokio::test]
async fn a_path_token_cannot_be_forged() {
    let site = Site::open().await;
    let id = site.job_of("ann").await;
    let made = address(&site, "ann", &format!("/illustrations/{id}/stream-token")).await;
    let token = made["token"].as_str().unwrap();
    let path = format!("/illustrations/{id}/events");
    let parts: Vec<_> = token.split('.').collect();
    let claims = json!({ "aud": "mediaforge:events", "path": path, "sub": "ann", "exp": 9_999_999_999_i64 });
    let header = json!({ "alg": "HS256", "typ": "mediaforge-path+jwt" });
    let sign = |header: &Value, secret: &[u8]| {
        site.signed(header, &claims, gcloud_emulator::identity::Signing::Secret(secret))
    };
    let own = |header: Value| sign(&header, super::STREAM_KEY);
    let long = own(header.clone());
    assert_eq!(site.world.events(&format!("{path}?token={long}"), &[]).await.headers["x-accel-buffering"], "no");
    let forged = [
        String::new(),
        "garbage".to_owned(),
        format!("{}.{}", parts[0], parts[1]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}.{}", parts[0], long.split('.').nth(1).unwrap(), parts[2]),
        sign(&header, b"another key of thirty-two bytes!"),
        sign(&header, b""),
        own(json!({ "alg": "none", "typ": "mediaforge-path+jwt" })),
        own(json!({ "alg": "HS512", "typ": "mediaforge-path+jwt" })),
        own(json!({ "alg": "HS256", "typ": "JWT" })),
        own(json!({ "alg": "HS256" })),
    ];
    for token in forged {
        site.world.get(&format!("{path}?token={token}")).await.problem(401, "unauthorized");
    }
    site.world.get(&format!("{path}?token={long}&token={long}")).await.problem(422, "invalid_fields");
}

#[tokio::test]
async fn pictures_open_by_their_address_or_for_their_owner() {
    let site = Site::open().await;
    let id = site.job_of("ann").await;
    site.world.start(&id).await;
    site.world.complete(&id).await;
    let read = async || site.get(&format!("/illustrations/{id}"), &site.token("ann")).await.json();
    let job = read().await;
    let url = path_of(&job["imageUrl"]);
    let (path, _) = url.split_once("?token=").unwrap();
    let picture = site.world.get(&url).await;
    assert_eq!((picture.status.as_u16(), picture.body.len()), (200, 20));
    assert_eq!(picture.header("cache-control"), Some("private, max-age=31536000, immutable"));
    // The same address for an hour, so that a browser finds it in its cache.
    assert_eq!(read().await["imageUrl"], job["imageUrl"]);

    let thumbnail = path_of(&job["thumbnailUrl"]);
    let token = url.split_once("?token=").unwrap().1;
    assert_eq!(site.world.get(&thumbnail).await.status, 200);
    let (other, _) = thumbnail.split_once('?').unwrap();
    site.world.get(&format!("{other}?token={token}")).await.problem(401, "unauthorized");
    site.world.get(&format!("/illustrations/{id}/events?token={token}")).await.problem(401, "unauthorized");
    site.world.get(path).await.problem(401, "unauthorized");
    assert_eq!(site.get(path, &site.token("ann")).await.status, 200);
    site.get(path, &site.token("bob")).await.problem(404, "not_found");
    site.clock.advance_ms(2 * 3_600_000);
    site.world.get(&url).await.problem(401, "stream_token_expired");
}

#[tokio::test]
async fn without_sign_in_the_address_contains_the_user() {
    let world = world();
    let id = world.queued("ann").await;
    let made = world.call(Method::POST, &format!("/illustrations/{id}/stream-token?userId=ann")).await.json();
    assert_eq!(made, json!({ "url": format!("http://gateway.test:8080/illustrations/{id}/events?userId=ann") }));
    let mut events = world.events(&path_of(&made["url"]), &[]).await;
    events.frame().await;
    assert_eq!(events.event().await.name, "job.queued");
}
