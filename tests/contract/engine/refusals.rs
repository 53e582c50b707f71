//! Every row of the providers' tables of errors.

use std::time::Duration;

use mediaforge::domain::failure::{Disposition, ErrorCode};
use serde_json::{Value, json};
use wiremock::ResponseTemplate;

use super::{
    RETRY, assert_failure, gemini, imagen, openai, refused,
    remote::{WIRES, Wire},
    server::received,
    spec,
};

const FAIL: Disposition = Disposition::Fail;
const MISCONFIGURED: Disposition = Disposition::Misconfigured;

fn google(code: u16, status: &str, message: &str, details: &Value) -> ResponseTemplate {
    let error = json!({ "code": code, "message": message, "status": status, "details": details });
    ResponseTemplate::new(code).set_body_json(json!({ "error": error }))
}

fn info(reason: &str) -> Value {
    json!([{ "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com" }])
}

/// Checks the failure that `wire`'s engine makes of a response, and a part of its message.
async fn check(wire: &Wire, answer: ResponseTemplate, code: ErrorCode, disposition: Disposition, says: &str) {
    let (engine, server) = wire.with([answer.clone(), answer.clone()]).await;
    let failure = refused(&engine, &spec("a fox", "flat-2d", (512, 512), 1, 1), 5).await;
    let case = format!("{} {says:?}", wire.name());
    assert_failure(&failure, code, disposition, &case);
    assert!(failure.error.message.contains(says), "{case}: {failure}");
    let tries = if code == ErrorCode::EngineMisconfigured { 1..=2 } else { 1..=1 };
    assert!(tries.contains(&received(&server).await.len()), "{case}: one call, but for a new token");
}

#[tokio::test]
async fn the_documented_refusals_of_vertex_are_understood() {
    let none = &json!([]);
    for wire in [gemini::WIRE, imagen::WIRE] {
        let key = format!("engine.{}", wire.engine);
        let rows = [
            (
                google(400, "INVALID_ARGUMENT", "Invalid aspect ratio.", none),
                ErrorCode::InvalidRequest,
                FAIL,
                "Invalid aspect ratio",
            ),
            (
                google(400, "INVALID_ARGUMENT", "The prompt could not be submitted. Support codes: 90789179", none),
                ErrorCode::ContentFiltered,
                FAIL,
                "sexual content (90789179)",
            ),
            (
                google(400, "INVALID_ARGUMENT", "It violates Google's Responsible AI practices.", none),
                ErrorCode::ContentFiltered,
                FAIL,
                "Responsible AI",
            ),
            (
                google(400, "FAILED_PRECONDITION", "Not available in your region", none),
                ErrorCode::EngineMisconfigured,
                MISCONFIGURED,
                "Not available in your region",
            ),
            (google(401, "UNAUTHENTICATED", "no", none), ErrorCode::EngineMisconfigured, MISCONFIGURED, "credentials"),
            (
                google(403, "PERMISSION_DENIED", "Permission 'aiplatform.endpoints.predict' denied", none),
                ErrorCode::EngineMisconfigured,
                MISCONFIGURED,
                "roles/aiplatform.user",
            ),
            (
                google(403, "PERMISSION_DENIED", "not used before", &info("SERVICE_DISABLED")),
                ErrorCode::EngineMisconfigured,
                MISCONFIGURED,
                "aiplatform.googleapis.com is off in project acme-pictures",
            ),
            (
                google(403, "PERMISSION_DENIED", "no money", &info("BILLING_DISABLED")),
                ErrorCode::EngineMisconfigured,
                MISCONFIGURED,
                "billing",
            ),
            (
                google(404, "NOT_FOUND", "Publisher Model was not found", none),
                ErrorCode::EngineMisconfigured,
                MISCONFIGURED,
                &format!("{key}.model"),
            ),
            (
                google(429, "RESOURCE_EXHAUSTED", "Quota exceeded for base model", none),
                ErrorCode::RateLimited,
                Disposition::Throttled { after: None },
                "Quota exceeded",
            ),
        ];
        for (answer, code, disposition, says) in rows {
            check(&wire, answer, code, disposition, says).await;
        }
    }
}

#[tokio::test]
async fn the_wait_of_a_provider_is_honoured() {
    let delay = json!([{ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "17s" }]);
    for wire in [gemini::WIRE, imagen::WIRE] {
        for (code, disposition) in [
            (429, Disposition::Throttled { after: Some(Duration::from_secs(17)) }),
            (503, Disposition::Retry { after: Some(Duration::from_secs(17)) }),
        ] {
            let meant = if code == 429 { ErrorCode::RateLimited } else { ErrorCode::EngineUnavailable };
            check(&wire, google(code, "X", "later", &delay), meant, disposition, "later").await;
        }
    }
    for wire in WIRES {
        let limited = ResponseTemplate::new(429).insert_header("retry-after", "30");
        let after = Some(Duration::from_secs(30));
        check(&wire, limited, ErrorCode::RateLimited, Disposition::Throttled { after }, "too many requests").await;
        let dated = ResponseTemplate::new(429)
            .insert_header("date", "Tue, 24 Nov 2026 10:00:00 GMT")
            .insert_header("retry-after", "Tue, 24 Nov 2026 10:01:00 GMT");
        let after = Some(Duration::from_mins(1));
        check(&wire, dated, ErrorCode::RateLimited, Disposition::Throttled { after }, "too many requests").await;
    }
}

#[tokio::test]
async fn transient_errors_are_retried() {
    for wire in WIRES {
        for status in [408, 499, 504] {
            let says = format!("({status})");
            check(&wire, ResponseTemplate::new(status), ErrorCode::EngineTimeout, RETRY, &says).await;
        }
        for status in [409, 500, 502, 503, 529] {
            let says = format!("({status})");
            check(&wire, ResponseTemplate::new(status), ErrorCode::EngineUnavailable, RETRY, &says).await;
        }
    }
}

#[tokio::test]
async fn the_refusals_of_openai_servers_are_understood() {
    let error = |status, code: &str, message: &str| {
        let error = json!({ "message": message, "type": "x", "param": null, "code": code });
        ResponseTemplate::new(status).set_body_json(json!({ "error": error }))
    };
    for wire in [openai::WIRE, openai::LORA] {
        let key = if wire.engine == "lora" { "engine.lora" } else { "engine.openai" };
        let rows = [
            (error(400, "invalid_value", "Invalid size"), ErrorCode::InvalidRequest, FAIL, "Invalid size"),
            (error(400, "moderation_blocked", "Rejected"), ErrorCode::ContentFiltered, FAIL, "Rejected"),
            (error(400, "content_policy_violation", "No"), ErrorCode::ContentFiltered, FAIL, "content"),
            (
                ResponseTemplate::new(422).set_body_json(json!({ "detail": "n is too large" })),
                ErrorCode::InvalidRequest,
                FAIL,
                "n is too large",
            ),
            (ResponseTemplate::new(413), ErrorCode::InvalidRequest, FAIL, "cannot draw"),
            (error(400, "billing_hard_limit_reached", "Limit"), ErrorCode::EngineMisconfigured, MISCONFIGURED, "bill"),
            (error(429, "insufficient_quota", "Pay"), ErrorCode::EngineMisconfigured, MISCONFIGURED, "bill"),
            (
                error(401, "invalid_api_key", "Incorrect key"),
                ErrorCode::EngineMisconfigured,
                MISCONFIGURED,
                &format!("{key}.key"),
            ),
            (error(403, "", "verify first"), ErrorCode::EngineMisconfigured, MISCONFIGURED, "verify first"),
            (
                error(404, "model_not_found", "no such model"),
                ErrorCode::EngineMisconfigured,
                MISCONFIGURED,
                &format!("{key}.model"),
            ),
            (ResponseTemplate::new(404), ErrorCode::EngineMisconfigured, MISCONFIGURED, &format!("[{key}]")),
            (ResponseTemplate::new(405), ErrorCode::EngineMisconfigured, MISCONFIGURED, "answers 405"),
            (
                error(429, "rate_limit_exceeded", "Slow down"),
                ErrorCode::RateLimited,
                Disposition::Throttled { after: None },
                "Slow down",
            ),
        ];
        for (answer, code, disposition, says) in rows {
            check(&wire, answer, code, disposition, says).await;
        }
    }
}

#[tokio::test]
async fn the_message_of_a_provider_is_bounded() {
    for wire in WIRES {
        let long = json!({ "error": { "message": "no\n ".repeat(10_000) } });
        let answer = ResponseTemplate::new(400).set_body_json(long);
        check(&wire, answer, ErrorCode::InvalidRequest, FAIL, "no no no").await;
    }
}
