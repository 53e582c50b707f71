//! Health, documents, request ids, headers, unknown paths, panics, CORS.

use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use mediaforge::{
    error::ErrorKind,
    gateway::{GatewaySettings, GatewayState, InvalidSettings},
};
use serde_json::{Value, json};

use crate::support::{request, settings, with, world};

#[tokio::test]
async fn health_calls_no_backend() {
    let world = world();
    world.faults.store.panic();
    world.faults.media.panic();
    let expected = json!({
        "status": "healthy", "service": "gateway", "version": "0.0.0-test", "timestamp": "2026-03-01T12:00:00Z"
    });
    assert_eq!(world.get("/health").await.json(), expected);
}

#[tokio::test]
async fn ready_names_failing_backends() {
    let world = world();
    let ready = world.get("/ready").await;
    assert_eq!(ready.status, StatusCode::OK);
    assert_eq!(ready.json()["checks"], json!({ "store": "ok", "queue": "ok", "media": "ok" }));
    world.faults.store.fail(Some(ErrorKind::Broken));
    world.faults.queue.hang();
    tokio::time::pause();
    let problem = world.get("/ready").await.problem(503, "not_ready");
    insta::assert_json_snapshot!(problem, { ".requestId" => "[id]" });
    world.drain.cancel();
    world.get("/ready").await.problem(503, "draining");
    assert_eq!(world.get("/health").await.status, StatusCode::OK);
}

#[tokio::test]
async fn styles_and_credits() {
    let world = world();
    insta::assert_json_snapshot!(world.get("/styles").await.json());
    let credits = json!({ "account": "users/new", "available": 10, "held": 0, "spent": 0, "granted": 10 });
    assert_eq!(world.get("/credits?userId=new").await.json(), credits);
    let problem = world.get("/credits?userId=a%0Ab").await.problem(422, "invalid_fields");
    insta::assert_json_snapshot!(problem, { ".requestId" => "[id]" });
}

#[tokio::test]
async fn unknown_paths_and_methods() {
    let world = world();
    let problem = world.get("/nowhere/at%20all?x=secret").await.problem(404, "not_found");
    insta::assert_json_snapshot!(problem, { ".requestId" => "[id]" });
    world.get("/illustrations/").await.problem(404, "not_found");
    world.get("/docs/nothing.js").await.problem(404, "not_found");
    let answer = world.call(Method::PUT, "/generate").await;
    insta::assert_json_snapshot!(answer.problem(405, "method_not_allowed"), { ".requestId" => "[id]" });
    assert_eq!(answer.header("allow"), Some("POST"));
    let allow = [("/illustrations/x", "GET,HEAD,DELETE"), ("/health", "GET,HEAD"), ("/media/x", "GET,HEAD")];
    for (path, methods) in allow {
        let answer = world.call(Method::PATCH, path).await;
        answer.problem(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), Some(methods), "{path}");
        let options = world.call(Method::OPTIONS, path).await;
        assert!(options.status.is_success() && options.header("allow") == Some(methods), "{path}");
    }
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let world = world();
    for path in ["/health", "/styles", "/illustrations", "/openapi.json", "/nowhere", "/illustrations/ill_x"] {
        let (get, head) = (world.get(path).await, world.call(Method::HEAD, path).await);
        assert_eq!((head.status, head.body.len()), (get.status, 0), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"));
        assert_eq!(head.header("content-length"), Some(get.body.len().to_string().as_str()), "{path}");
    }
}

#[tokio::test]
async fn a_panic_is_a_problem() {
    let world = world();
    world.faults.store.panic();
    let problem = world.get("/credits").await.problem(500, "internal");
    insta::assert_json_snapshot!(problem, { ".requestId" => "[id]" });
}

#[tokio::test]
async fn every_response_has_a_request_id() {
    let world = world();
    for path in ["/health", "/nowhere", "/docs/", "/styles?userId=/"] {
        let fresh = world.get(path).await.header("x-request-id").unwrap().to_owned();
        assert!(fresh.starts_with("req_") && fresh.len() == 36, "{fresh}");
        let given = world.get_with(path, &[("x-request-id", "build-7.3_a")]).await;
        assert_eq!(given.header("x-request-id"), Some("build-7.3_a"));
        for invalid in ["", "a b", "a\tb", "{\"severity\":1}", &"x".repeat(129)] {
            let answer = world.get_with(path, &[("x-request-id", invalid)]).await;
            assert!(answer.header("x-request-id").unwrap().starts_with("req_"), "{invalid}");
        }
    }
}

#[tokio::test]
async fn every_response_has_security_headers() {
    let world = world();
    for path in ["/health", "/nowhere", "/docs/", "/openapi.json", "/illustrations"] {
        let answer = world.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        assert!(answer.header("content-security-policy").unwrap().contains("frame-ancestors 'none'"));
    }
    assert_eq!(world.get("/illustrations").await.header("cache-control"), Some("no-store"));
    // Over https, browsers are told to use only https.
    let only_https = Some("max-age=31536000");
    let proxied = world.get_with("/health", &[("x-forwarded-proto", "https")]).await;
    assert_eq!(proxied.header("strict-transport-security"), only_https);
    assert_eq!(world.get("/health").await.header("strict-transport-security"), None);
    let public_url = Some("https://api.example".parse().unwrap());
    let public = crate::support::world_with(GatewaySettings { public_url, ..settings() });
    assert_eq!(public.get("/nowhere").await.header("strict-transport-security"), only_https);
}

#[tokio::test]
async fn only_configured_origins_may_read_responses() {
    let world = world();
    let ask = async |method: Method, origin: &str| {
        let headers = [("origin", origin), ("access-control-request-method", "POST")];
        world.send(with(request(method, "/generate"), &headers).body(Body::empty()).unwrap()).await
    };
    let preflight = ask(Method::OPTIONS, "https://app.example").await;
    assert_eq!(preflight.status, StatusCode::OK);
    assert_eq!(preflight.header("access-control-allow-origin"), Some("https://app.example"));
    assert!(preflight.header("access-control-allow-headers").unwrap().contains("idempotency-key"));
    assert!(preflight.header("x-request-id").is_some());
    let refused = ask(Method::POST, "https://app.example").await;
    refused.problem(415, "unsupported_media_type");
    assert_eq!(refused.header("access-control-allow-origin"), Some("https://app.example"));
    assert!(refused.header("access-control-expose-headers").unwrap().contains("x-request-id"));
    for foreign in ["https://evil.example", "null", "https://app.example.evil.example", "http://app.example"] {
        assert_eq!(ask(Method::OPTIONS, foreign).await.header("access-control-allow-origin"), None, "{foreign}");
    }
    let closed = crate::support::world_with(GatewaySettings { cors_origins: Vec::new(), ..settings() });
    let answer = closed.get_with("/health", &[("origin", "https://app.example")]).await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

#[test]
fn invalid_settings_are_refused() {
    let world = world();
    let made = |settings| GatewayState::new(&world.jobs, settings, world.drain.clone()).err();
    for bad in ["*", "app.example", "https://app.example/", "https://app.example/x", "HTTPS://app.example", ""] {
        let settings = GatewaySettings { cors_origins: vec![bad.to_owned()], ..settings() };
        assert_eq!(made(settings), Some(InvalidSettings::Origin(bad.to_owned())));
    }
    for bad in ["ftp://x.example", "https://user:pw@x.example", "https://x.example/?a=1", "https://x.example/#a"] {
        let url: url::Url = bad.parse().unwrap();
        let settings = GatewaySettings { public_url: Some(url.clone()), ..settings() };
        assert_eq!(made(settings), Some(InvalidSettings::PublicUrl(url)));
    }
}

#[tokio::test]
async fn the_api_description_is_complete() {
    let world = world();
    let answer = world.get("/openapi.json").await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let document = answer.json();
    insta::assert_json_snapshot!(document);
    let mut names = std::collections::HashSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let place = format!("{method} {path}");
            assert!(names.insert(operation["operationId"].as_str().unwrap().to_owned()), "{place}");
            assert!(operation["summary"].is_string() && operation["tags"][0].is_string(), "{place}");
            for (status, response) in operation["responses"].as_object().unwrap() {
                let problem = &response["content"]["application/problem+json"];
                assert_eq!(problem.is_object(), status.starts_with(['4', '5']), "{place} {status}");
            }
        }
    }
    // Every reference has a target.
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
    }
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            references.extend(map.get("$ref").and_then(Value::as_str).map(String::from));
            map.values().for_each(|value| collect(value, references));
        }
        Value::Array(list) => list.iter().for_each(|value| collect(value, references)),
        _ => {}
    }
}

#[tokio::test]
async fn the_docs_page_shows_the_document() {
    let world = world();
    let root = world.get("/").await;
    assert_eq!((root.status, root.header("location")), (StatusCode::TEMPORARY_REDIRECT, Some("/docs/")));
    assert_eq!(world.get("/docs").await.header("location"), Some("/docs/"));
    let page = world.get("/docs/").await;
    let html = String::from_utf8_lossy(&page.body);
    assert_eq!(page.status, StatusCode::OK);
    assert!(html.contains("swagger-ui") && !html.contains("http://") && !html.contains("https://"), "{html}");
    assert_eq!(world.get("/docs/swagger-ui-bundle.js").await.status, StatusCode::OK);
    let script = world.get("/docs/swagger-initializer.js").await;
    assert!(String::from_utf8_lossy(&script.body).contains("/openapi.json"));
}
