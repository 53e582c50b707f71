//! What a user's token gives access to.

use std::num::NonZeroU32;

use axum::{
    body::{Body, Bytes},
    http::{Method, Request},
};
use gcloud_emulator::identity::{Issuer, Signing};
use mediaforge::gateway::GatewayLimits;
use serde_json::{Value, json};

use super::{NOON, PROJECT, Site, changed};
use crate::support::{capture, request, with};

/// Routes of the API that require no token.
const PUBLIC: [&str; 2] = ["/health", "/ready"];

#[tokio::test]
async fn without_a_token_every_route_is_closed_and_no_body_is_read() {
    let site = Site::open().await;
    let document = site.world.get("/openapi.json").await.json();
    let mut closed = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let route = format!("{method} {path}");
            let security = operation["security"].as_array().map_or(0, Vec::len);
            let responses = &operation["responses"];
            let never = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
            let url =
                path.replace("{id}", "ill_0123456789abcdefABCD").replace("{key}", "illustrations/ann/x/1-2-0.png");
            let answer = site.world.send(request(method, &url).body(never).unwrap()).await;
            if PUBLIC.contains(&path.as_str()) {
                assert_eq!((answer.status.as_u16(), security), (200, 0), "{route}");
                continue;
            }
            answer.problem(401, "unauthorized");
            let can_be_opened_by_address = path.ends_with("/events") || path.starts_with("/media/");
            assert_eq!(security, 1 + usize::from(can_be_opened_by_address), "{route}");
            for status in ["401", "403", "503"] {
                assert!(responses[status]["content"]["application/problem+json"].is_object(), "{route} {status}");
            }
            closed += 1;
        }
    }
    assert_eq!(closed, 21);
    let scheme = &document["components"]["securitySchemes"]["idToken"];
    assert_eq!((&scheme["type"], &scheme["scheme"]), (&json!("http"), &json!("bearer")));
    for open in ["/health", "/ready", "/openapi.json", "/docs/"] {
        assert_eq!(site.world.get(open).await.status, 200, "{open}");
    }
}

#[tokio::test]
async fn the_token_identifies_the_caller() {
    let site = Site::open().await;
    let ann = site.token("ann");
    let absent = json!({ "prompt": "a lighthouse at dawn" });
    let same = json!({ "userId": "ann", "prompt": "a lighthouse at dawn" });
    for body in [&absent, &same] {
        let id = site.generate(body, &ann).await.json()["illustrationId"].as_str().unwrap().to_owned();
        assert_eq!(site.get(&format!("/illustrations/{id}?userId=ann"), &ann).await.json()["userId"], "ann");
    }
    for (method, path, body) in [
        (Method::POST, "/generate", json!({ "userId": "bob", "prompt": "a lighthouse at dawn" })),
        (Method::POST, "/generate?userId=bob", absent.clone()),
        (Method::POST, "/generate?userId=bob", same.clone()),
        (Method::POST, "/train-brand", json!({ "userId": "bob", "brandName": "Acme" })),
        (Method::POST, "/uploads", json!({ "userId": "bob" })),
        (Method::GET, "/credits?userId=bob", Value::Null),
        (Method::GET, "/credits?userId=", Value::Null),
        (Method::GET, "/events?userId=bob", Value::Null),
    ] {
        let asked = request(method, path).header("content-type", "application/json");
        let asked = asked.header("authorization", format!("Bearer {ann}"));
        let answer = site.world.send(asked.body(Body::from(body.to_string())).unwrap()).await;
        answer.problem(403, "not_your_user_id");
    }
    let twice = site.get("/credits?userId=ann&userId=bob", &ann).await;
    twice.problem(422, "invalid_fields");
    assert_eq!(site.get("/credits", &site.token("bob")).await.json()["held"], 0, "nothing was charged to bob");
}

#[tokio::test]
async fn the_job_of_another_user_does_not_exist_with_sign_in() {
    let site = Site::open().await;
    let id = site.job_of("ann").await;
    let bob = site.token("bob");
    for (method, path) in [
        (Method::GET, format!("/illustrations/{id}")),
        (Method::GET, format!("/illustrations/{id}/events")),
        (Method::POST, format!("/illustrations/{id}/cancel")),
        (Method::POST, format!("/illustrations/{id}/stream-token")),
        (Method::DELETE, format!("/illustrations/{id}")),
    ] {
        let asked = with(request(method, &path), &[("authorization", &format!("Bearer {bob}"))]);
        site.world.send(asked.body(Body::empty()).unwrap()).await.problem(404, "not_found");
    }
    assert_eq!(site.get("/illustrations", &bob).await.json()["data"], json!([]));
    assert_eq!(site.get("/illustrations", &site.token("ann")).await.json()["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_service_account_never_opens_the_gateway() {
    let site = Site::open().await;
    let google = site.google.identity();
    let times = json!({ "iat": NOON, "exp": NOON + 3600, "auth_time": NOON, "aud": PROJECT });
    site.get("/credits", &google.google_token(&times)).await.problem(401, "unauthorized");
    // Not even with all of Firebase's claims, signed by Google's key under its own key id.
    let header = json!({ "alg": "RS256", "kid": google.kid(Issuer::Google), "typ": "JWT" });
    let token = site.signed(&header, &changed(&json!({})), Signing::By(Issuer::Google));
    site.get("/credits", &token).await.problem(401, "unauthorized");
}

#[tokio::test]
async fn each_request_counts_once_against_the_user_limit() {
    let limits = GatewayLimits { user_requests: NonZeroU32::new(3), ..GatewayLimits::default() };
    let site = Site::with(limits).await;
    let ann = site.token("ann");
    let job = site.generate(&json!({ "prompt": "a lighthouse at dawn" }), &ann).await;
    assert_eq!(job.header("ratelimit"), Some("\"user\";r=2;t=20"));
    assert_eq!(site.get("/credits", &ann).await.header("ratelimit"), Some("\"user\";r=1;t=40"));
    let stream = site.world.events("/events", &[("authorization", &format!("Bearer {ann}"))]).await;
    assert_eq!(stream.headers["ratelimit"], "\"user\";r=0;t=60");
    // Before the body, which never arrives.
    let never = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
    let asked = Request::post("/generate").header("authorization", format!("Bearer {ann}"));
    site.world.send(asked.body(never).unwrap()).await.problem(429, "too_many_requests");
    assert_eq!(site.get("/credits", &site.token("bob")).await.status, 200);
}

#[tokio::test]
async fn web_pages_of_allowed_origins_can_read_a_refusal() {
    let site = Site::open().await;
    let origin = ("origin", "https://app.example");
    let garbage = ("authorization", "Bearer garbage");
    let unknown = site.world.get_with("/credits", &[origin, garbage]).await;
    let other = format!("Bearer {}", site.token("ann"));
    let forbidden = site.world.get_with("/credits?userId=bob", &[origin, ("authorization", &other)]).await;
    site.google.faults().inject("", gcloud_emulator::Fault::Refuse(tonic::Code::Unavailable), usize::MAX);
    site.clock.advance_ms(3_600_000 + 1);
    site.google.identity().rotate(Issuer::Firebase, false);
    let token = site.token_of(&changed(&json!({ "exp": NOON + 7200 })));
    let away = site.world.get_with("/credits", &[origin, ("authorization", &format!("Bearer {token}"))]).await;
    for (answer, status) in [(unknown, 401), (forbidden, 403), (away, 503)] {
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example"), "{status}");
        assert_eq!(answer.header("access-control-allow-credentials"), None);
        assert!(answer.header("vary").unwrap().contains("origin"), "{status}");
        let exposed = answer.header("access-control-expose-headers").unwrap();
        for name in ["location", "retry-after", "x-request-id", "idempotency-replayed", "www-authenticate"] {
            assert!(exposed.contains(name), "{name} in {exposed}");
        }
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    // The preflight has no token.
    let asked =
        [origin, ("access-control-request-method", "POST"), ("access-control-request-headers", "authorization")];
    let preflight = request(Method::OPTIONS, "/generate");
    let preflight = site.world.send(with(preflight, &asked).body(Body::empty()).unwrap()).await;
    assert!(preflight.status.is_success());
    assert!(preflight.header("access-control-allow-headers").unwrap().contains("authorization"));
}

#[tokio::test]
async fn no_token_is_ever_logged() {
    let site = Site::open().await;
    capture::lines();
    let id = site.job_of("ann").await;
    let (good, forged) = (site.token("ann"), site.signed(&site.header(), &changed(&json!({})), Signing::Stranger));
    site.get("/credits", &good).await;
    site.get("/credits", &forged).await;
    site.get("/credits", "not-even-a-token").await;
    let path = format!("/illustrations/{id}/stream-token");
    let asked = with(request(Method::POST, &path), &[("authorization", &format!("Bearer {good}"))]);
    let stream = site.world.send(asked.body(Body::empty()).unwrap()).await.json();
    let token = stream["token"].as_str().unwrap();
    site.world.events(&format!("/illustrations/{id}/events?token={token}"), &[]).await;
    site.world.get(&format!("/events?token={token}")).await.problem(401, "unauthorized");
    site.world.get(&format!("/credits?token={token}")).await.problem(401, "unauthorized");
    let log = capture::lines().join("\n");
    for (name, text) in [("good", good.as_str()), ("forged", &forged), ("stream", token)] {
        for part in text.split('.') {
            assert!(!log.contains(part), "a part of the {name} token in {log}");
        }
    }
    assert!(!log.contains("not-even-a-token") && !log.contains("0123456789abcdef01234567"), "{log}");
    for cause in [
        "the signature of the token is wrong",
        "the token is not three parts of base64url",
        "the token opens another path",
        "the request has no token",
    ] {
        assert!(log.contains(cause), "{cause} in {log}");
    }
}
