//! Which callers may push to the worker and trigger a sweep.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    http::{Request, Response, StatusCode},
};
use gcloud_emulator::{
    Emulator, Fault,
    identity::{Issuer, Signing},
};
use http_body_util::BodyExt as _;
use mediaforge::{
    domain::{Timestamp, clock::Clock},
    identity::{KeySet, Oidc},
    worker::{self, Worker},
};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::bench::Bench;

const AUDIENCE: &str = "https://worker.example";
const PUSHER: &str = "pusher@forge-test.iam.gserviceaccount.com";
const SCHEDULER: &str = "scheduler@forge-test.iam.gserviceaccount.com";
const REMOVED: Signing<'_> = Signing::Written("SIGNATURE_REMOVED_BY_GOOGLE");
const CLOSED: [&str; 3] = ["/process-generation", "/process-training", "/sweep"];
/// 2026-03-01T12:00:00Z, the fixed time of these tests.
const NOON: i64 = 1_772_366_400;

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(NOON).expect("a moment")
    }
}

/// A worker that accepts Google's tokens, and the emulator that signs them.
struct Site {
    google: Emulator,
    worker: Worker,
    _bench: Bench,
}

impl Site {
    /// A worker that verifies the tokens itself.
    async fn open() -> Self {
        let google = Emulator::start().await.expect("an emulator");
        let url = format!("{}{}", google.url(), Issuer::Google.path()).parse().expect("an address");
        let keys = KeySet::new(url, Arc::new(Noon)).expect("a client");
        Self::of(google, Oidc::verified_here(AUDIENCE.to_owned(), accounts(), keys, Arc::new(Noon)))
    }

    /// A worker behind Cloud Run's IAM, which verifies the tokens.
    async fn behind_iam() -> Self {
        let google = Emulator::start().await.expect("an emulator");
        Self::of(google, Oidc::verified_by_cloud_run(AUDIENCE.to_owned(), accounts(), Arc::new(Noon)))
    }

    fn of(google: Emulator, callers: Oidc) -> Self {
        let bench = Bench::new("0s");
        Self { worker: bench.worker().for_callers(callers), google, _bench: bench }
    }

    fn header(&self) -> Value {
        json!({ "alg": "RS256", "kid": self.google.identity().kid(Issuer::Google), "typ": "JWT" })
    }

    /// Google's token with these claims changed; null removes a claim.
    fn token(&self, changes: &Value) -> String {
        self.signed(&self.header(), changes, Signing::By(Issuer::Google))
    }

    fn signed(&self, header: &Value, changes: &Value, signing: Signing<'_>) -> String {
        self.google.identity().sign(header, &claims(changes), signing)
    }

    async fn post(&self, path: &str, headers: &[(&str, String)], body: Body) -> Response<String> {
        let request = headers.iter().fold(Request::post(path), |request, (name, value)| request.header(*name, value));
        self.send(request.body(body).expect("a request")).await
    }

    async fn send(&self, request: Request<Body>) -> Response<String> {
        let answer = worker::router(self.worker.clone()).oneshot(request).await.expect("an answer");
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        Response::from_parts(parts, String::from_utf8_lossy(&body).into_owned())
    }

    /// The status of a push with this token. A push without a valid token is refused before its body is read: here the body
    /// never arrives.
    async fn push(&self, token: &str) -> StatusCode {
        let answer = self.post(CLOSED[0], &[bearer(token)], Body::from("{}")).await;
        let stranger = self.post(CLOSED[0], &[bearer("garbage")], never()).await;
        assert_eq!(stranger.status(), StatusCode::UNAUTHORIZED);
        if answer.status() == StatusCode::UNAUTHORIZED {
            assert_eq!(answer.body(), stranger.body(), "the same answer whatever is wrong");
        }
        answer.status()
    }
}

fn accounts() -> Vec<String> {
    vec![PUSHER.to_owned(), SCHEDULER.to_owned()]
}

fn bearer(token: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer {token}"))
}

fn never() -> Body {
    Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>())
}

fn claims(changes: &Value) -> Value {
    let mut all = json!({
        "aud": AUDIENCE, "azp": "113774264463038321964", "sub": "113774264463038321964", "email": PUSHER,
        "email_verified": true, "iat": NOON, "exp": NOON + 3600, "iss": "https://accounts.google.com",
    });
    for (name, value) in changes.as_object().expect("claims") {
        all[name] = value.clone();
    }
    all.as_object_mut().expect("claims").retain(|_, value| !value.is_null());
    all
}

/// Claims that the worker must refuse.
fn wrong_claims() -> Vec<Value> {
    vec![
        json!({ "aud": "https://worker.example/process-generation" }),
        json!({ "aud": "https://WORKER.example" }),
        json!({ "aud": [AUDIENCE] }),
        json!({ "aud": null }),
        json!({ "iss": "https://accounts.google.com.evil.example" }),
        json!({ "iss": "https://securetoken.google.com/forge-test" }),
        json!({ "iss": null }),
        json!({ "email": "stranger@other.iam.gserviceaccount.com" }),
        json!({ "email": PUSHER.to_uppercase() }),
        json!({ "email": null }),
        json!({ "email_verified": false }),
        json!({ "email_verified": "true" }),
        json!({ "email_verified": null }),
        json!({ "exp": NOON - 30 }),
        json!({ "exp": null }),
        json!({ "iat": NOON + 31 }),
        json!({ "iat": null }),
    ]
}

#[tokio::test]
async fn only_the_configured_service_accounts_may_push_or_sweep() {
    let site = Site::open().await;
    for good in [
        json!({}),
        json!({ "email": SCHEDULER }),
        json!({ "iss": "accounts.google.com" }),
        // Pub/Sub reuses a token for an hour.
        json!({ "iat": NOON - 3600, "exp": NOON }),
        json!({ "iat": NOON + 30, "exp": NOON - 29 }),
    ] {
        assert_eq!(site.push(&site.token(&good)).await, StatusCode::OK, "{good}");
    }
    for wrong in wrong_claims() {
        assert_eq!(site.push(&site.token(&wrong)).await, StatusCode::UNAUTHORIZED, "{wrong}");
    }
    let good = site.token(&json!({}));
    for path in CLOSED {
        let body = if path == "/sweep" { Body::empty() } else { Body::from("{}") };
        assert_eq!(site.post(path, &[bearer(&good)], body).await.status(), StatusCode::OK, "{path}");
        let refused = site.post(path, &[], never()).await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(refused.body(), r#"{"outcome":"refused","reason":"unauthorized"}"#);
        assert_eq!(refused.headers()["www-authenticate"], "Bearer error=\"invalid_token\"");
        let twice = site.post(path, &[bearer(&good), bearer(&good)], never()).await;
        assert_eq!(twice.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
    for path in ["/health", "/ready"] {
        let open = site.send(Request::get(path).body(Body::empty()).expect("a request")).await;
        assert_eq!(open.status(), StatusCode::OK, "{path}");
    }
    assert_eq!(site.google.identity().fetches(Issuer::Google), 1);
}

#[tokio::test]
async fn forged_pushes_are_refused() {
    let site = Site::open().await;
    let identity = site.google.identity();
    let pem = identity.public_key_pem(Issuer::Google);
    let with = |name: &str, value: Value| {
        let mut header = site.header();
        header[name] = value;
        header
    };
    let signed = |header: &Value, signing: Signing<'_>| site.signed(header, &json!({}), signing);
    let google = Signing::By(Issuer::Google);
    let good = site.token(&json!({}));
    let times = json!({ "iat": NOON, "exp": NOON + 3600, "auth_time": NOON });
    let forged = [
        signed(&site.header(), REMOVED),
        signed(&site.header(), Signing::Stranger),
        signed(&site.header(), Signing::By(Issuer::Firebase)),
        signed(&site.header(), Signing::Written("")),
        signed(&with("alg", json!("none")), Signing::Written("")),
        signed(&with("alg", json!("HS256")), Signing::Secret(pem.as_bytes())),
        signed(&with("alg", json!("RS512")), google),
        signed(&with("kid", json!("unknown")), google),
        signed(&with("kid", json!(identity.kid(Issuer::Firebase))), Signing::By(Issuer::Firebase)),
        signed(&json!({ "alg": "RS256" }), google),
        signed(&with("crit", json!(["b64"])), google),
        good.rsplit_once('.').expect("three parts").0.to_owned(),
        format!("{good}.{good}"),
        format!("{good}="),
        "a".repeat(64 << 10),
    ];
    for token in &forged {
        assert_eq!(site.push(token).await, StatusCode::UNAUTHORIZED, "{token:.80}");
    }
    let user = identity.firebase_token("forge-test", "ann", &times);
    assert_eq!(site.push(&user).await, StatusCode::UNAUTHORIZED, "a user's token never opens the worker");
    let user = identity.firebase_token(AUDIENCE, "ann", &claims(&json!({})));
    assert_eq!(site.push(&user).await, StatusCode::UNAUTHORIZED, "nor with everything that Google says in it");
    assert_eq!(site.push(&good).await, StatusCode::OK);
}

#[tokio::test]
async fn behind_cloud_run_the_claims_count_and_the_signature_must_be_gone() {
    let site = Site::behind_iam().await;
    let stripped = |changes: &Value| site.signed(&site.header(), changes, REMOVED);
    assert_eq!(site.push(&stripped(&json!({}))).await, StatusCode::OK);
    for wrong in wrong_claims() {
        assert_eq!(site.push(&stripped(&wrong)).await, StatusCode::UNAUTHORIZED, "{wrong}");
    }
    assert_eq!(site.push(&site.token(&json!({}))).await, StatusCode::UNAUTHORIZED, "nobody has verified this one");
    let other = ("x-serverless-authorization", "Bearer verified.by.iam".to_owned());
    let beside = site.post("/sweep", &[bearer(&stripped(&json!({}))), other], Body::empty()).await;
    assert_eq!(beside.status(), StatusCode::UNAUTHORIZED, "IAM has looked at the other header");
    assert_eq!(site.google.identity().fetches(Issuer::Google), 0);
}

#[tokio::test]
async fn without_keys_a_push_is_refused_for_now() {
    let site = Site::open().await;
    site.google.faults().inject(Issuer::Google.path(), Fault::Refuse(tonic::Code::Internal), usize::MAX);
    let answer = site.post("/sweep", &[bearer(&site.token(&json!({})))], Body::empty()).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key("retry-after"));
    assert_eq!(site.push("garbage").await, StatusCode::UNAUTHORIZED, "wrong with keys or without");
}

#[tokio::test]
async fn every_response_of_the_worker_has_a_request_id_and_security_headers() {
    let site = Site::open().await;
    for path in ["/health", "/ready", "/nowhere", "/sweep"] {
        let request = Request::post(path).header("x-request-id", "build-7").header("x-forwarded-proto", "https");
        let answer = site.send(request.body(Body::empty()).expect("a request")).await;
        for (name, value) in [
            ("x-request-id", "build-7"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            ("strict-transport-security", "max-age=31536000"),
        ] {
            assert_eq!(answer.headers().get(name).and_then(|it| it.to_str().ok()), Some(value), "{path} {name}");
        }
        let plain = site.send(Request::get(path).header("x-request-id", "a b").body(Body::empty()).expect("a request"));
        let headers = plain.await.headers().clone();
        assert!(headers["x-request-id"].to_str().is_ok_and(|id| id.starts_with("req_")), "{path}");
        assert!(!headers.contains_key("strict-transport-security"));
    }
}
