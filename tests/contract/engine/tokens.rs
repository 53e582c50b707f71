//! Access tokens for Google Cloud: tokens that expire early, credentials that fail, and Google's token endpoint.

use std::sync::Arc;

use google_cloud_auth::credentials::user_account;
use mediaforge::{
    domain::failure::{Disposition, ErrorCode},
    engine::remote::LIMITS,
    google::token::{GoogleTokens, TokenError, TokenSource as _},
    http,
};
use serde_json::json;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::body_string_contains};

use super::{
    RETRY, assert_failure, drawn, gemini, imagen, refused,
    server::{FakeTokens, received},
    spec,
};

fn authorizations(requests: &[wiremock::Request]) -> Vec<&str> {
    requests.iter().map(|request| request.headers["authorization"].to_str().unwrap()).collect()
}

#[tokio::test]
async fn a_refused_token_is_renewed_once() {
    for wire in [gemini::WIRE, imagen::WIRE] {
        let (engine, server) = wire.with([ResponseTemplate::new(401)]).await;
        drawn(&engine, &spec("a fox", "flat-2d", (512, 512), 1, 1)).await;
        assert_eq!(authorizations(&received(&server).await), ["Bearer token-0", "Bearer token-1"]);

        let (engine, server) = wire.with((0..3).map(|_| ResponseTemplate::new(401))).await;
        let failure = refused(&engine, &spec("a fox", "flat-2d", (512, 512), 1, 1), 1).await;
        assert_failure(&failure, ErrorCode::EngineMisconfigured, Disposition::Misconfigured, &wire.name());
        assert_eq!(received(&server).await.len(), 2);
    }
}

#[tokio::test]
async fn a_check_reads_the_published_model() {
    for wire in [gemini::WIRE, imagen::WIRE] {
        let (engine, server) = wire.with([]).await;
        assert_eq!(engine.check(crate::support::start()).await[0].outcome, Ok(None));
        let requests = received(&server).await;
        assert_eq!(requests[0].url.path(), format!("/v1/publishers/google/models/{}", wire.model));
        assert_eq!(authorizations(&requests), ["Bearer token-0"]);

        server.reset().await;
        let gone = json!({ "error": { "code": 404, "status": "NOT_FOUND", "message": "retired" } });
        Mock::given(wiremock::matchers::any())
            .respond_with(ResponseTemplate::new(404).set_body_json(gone))
            .mount(&server)
            .await;
        let failure = engine.check(crate::support::start()).await.remove(0).outcome.unwrap_err();
        assert_failure(&failure, ErrorCode::EngineMisconfigured, Disposition::Misconfigured, &wire.name());
    }
}

#[tokio::test]
async fn failing_credentials_are_transient_or_permanent() {
    for (is_transient, code, disposition) in [
        (true, ErrorCode::EngineUnavailable, RETRY),
        (false, ErrorCode::EngineMisconfigured, Disposition::Misconfigured),
    ] {
        let tokens = FakeTokens::failing(TokenError { is_transient, message: "the key is gone".to_owned() });
        let (_, server) = gemini::WIRE.with([]).await;
        let engine = gemini::WIRE.open_with(&gemini::WIRE.config(&server.uri()), tokens, LIMITS);
        let failure = refused(&engine, &spec("a fox", "flat-2d", (512, 512), 1, 1), 1).await;
        assert_failure(&failure, code, disposition, "tokens");
        assert!(failure.error.message.contains("the key is gone"), "{failure}");
        assert!(received(&server).await.is_empty());
    }
}

/// Google's token endpoint, with a new token for each call.
async fn token_endpoint() -> MockServer {
    let server = MockServer::start().await;
    for n in 1..=2_u8 {
        let body = json!({ "access_token": format!("google-{n}"), "expires_in": 3600, "token_type": "Bearer" });
        Mock::given(body_string_contains("a-refresh-token"))
            .respond_with(ResponseTemplate::new(200).set_body_json(body))
            .up_to_n_times(1)
            .with_priority(n)
            .mount(&server)
            .await;
    }
    server
}

fn google(token_uri: &str) -> GoogleTokens {
    // The client of the credentials uses the cryptography that this call installs.
    http::client().unwrap();
    let json = json!({
        "type": "authorized_user", "client_id": "id", "client_secret": "secret", "refresh_token": "a-refresh-token",
        "token_uri": format!("{token_uri}/token"), "quota_project_id": "acme-billing",
    });
    GoogleTokens::new(move || user_account::Builder::new(json.clone()).build_access_token_credentials())
}

#[tokio::test]
async fn a_token_is_fetched_once_and_renewed_after_a_refusal() {
    let endpoint = token_endpoint().await;
    let (_, server) = gemini::WIRE.with([]).await;
    let tokens = Arc::new(google(&endpoint.uri()));
    let engine = gemini::WIRE.open_with(&gemini::WIRE.config(&server.uri()), tokens.clone(), LIMITS);
    drawn(&engine, &spec("a fox", "flat-2d", (512, 512), 4, 1)).await;
    let requests = received(&server).await;
    assert_eq!(authorizations(&requests), ["Bearer google-1"; 4]);
    assert_eq!(requests[0].headers["x-goog-user-project"], "acme-billing");
    assert_eq!(received(&endpoint).await.len(), 1);

    let old = tokens.authorization().await.unwrap();
    tokio::join!(tokens.refused(old.generation), tokens.refused(old.generation));
    let (one, other) = tokio::join!(tokens.authorization(), tokens.authorization());
    for authorization in [one.unwrap(), other.unwrap()] {
        assert_eq!(authorization.headers["authorization"], "Bearer google-2");
        assert_eq!(authorization.generation, old.generation + 1);
    }
    assert_eq!(received(&endpoint).await.len(), 2);
}

#[tokio::test]
async fn repaired_credentials_are_read_again() {
    let endpoint = MockServer::start().await;
    let revoked = ResponseTemplate::new(400).set_body_json(json!({ "error": "invalid_grant" }));
    Mock::given(wiremock::matchers::any()).respond_with(revoked).up_to_n_times(1).mount(&endpoint).await;
    let body = json!({ "access_token": "google-9", "expires_in": 3600, "token_type": "Bearer" });
    let repaired = ResponseTemplate::new(200).set_body_json(body);
    Mock::given(wiremock::matchers::any()).respond_with(repaired).mount(&endpoint).await;
    let tokens = google(&endpoint.uri());
    let error = tokens.authorization().await.unwrap_err();
    assert!(!error.is_transient && !error.message.contains("a-refresh-token"), "{error}");
    assert_eq!(tokens.authorization().await.unwrap().headers["authorization"], "Bearer google-9");
}
