//! Invalid bodies.

use axum::{
    body::{Body, Bytes},
    http::{Method, StatusCode},
};
use serde_json::json;

use crate::support::{BODY_LIMIT, post_json, request, world};

/// Name, body, status, and a part of the detail or the pointer of the first error.
fn cases() -> Vec<(&'static str, Vec<u8>, u16, &'static str)> {
    let text = |text: &str| text.as_bytes().to_vec();
    let deep = format!("{{\"prompt\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let deep_unknown = format!("{{\"x\":{}", "{\"x\":".repeat(10_000));
    vec![
        ("empty", text(""), 400, "the body is empty"),
        ("spaces", text(" \n\t "), 400, "the body is empty"),
        ("not JSON", text("prompt=a+boat"), 400, "must be a JSON object"),
        ("cut off", text(r#"{"prompt":"a"#), 400, "EOF"),
        ("trailing comma", text(r#"{"prompt":"a",}"#), 400, "trailing comma"),
        ("trailing text", text(r#"{"prompt":"a"} {"prompt":"b"}"#), 400, "trailing characters"),
        ("list", text(r#"["ann","a boat"]"#), 400, "must be a JSON object"),
        ("null", text("null"), 400, "must be a JSON object"),
        ("string", text("\"a boat\""), 400, "must be a JSON object"),
        ("byte order mark", b"\xef\xbb\xbf{\"prompt\":\"a\"}".to_vec(), 400, "byte order mark"),
        ("UTF-16", b"{\0\"\0p\0".to_vec(), 400, "key must be a string"),
        ("invalid UTF-8", b"{\"prompt\":\"\xff\xfe\"}".to_vec(), 400, "invalid unicode code point"),
        ("lone surrogate", text(r#"{"prompt":"\ud800"}"#), 400, "hex escape"),
        ("lone surrogate inside", text(r#"{"prompt":"a \udc00 b"}"#), 400, "surrogate"),
        ("raw NUL", b"{\"prompt\":\"a\0b\"}".to_vec(), 400, "control character"),
        ("escaped NUL", text(r#"{"prompt":"a\u0000b"}"#), 422, "/prompt"),
        ("escape character", text(r#"{"prompt":"a\u001b[31m"}"#), 422, "/prompt"),
        ("deep list", deep.into_bytes(), 400, "/prompt"),
        ("deep object", deep_unknown.into_bytes(), 400, "unknown field `x`"),
        ("duplicate field", text(r#"{"prompt":"a","prompt":"b"}"#), 400, "duplicate field `prompt`"),
        ("unknown field", text(r#"{"prompt":"a","widht":512}"#), 400, "expected one of `userId`, `prompt`"),
        ("wrong case", text(r#"{"Prompt":"a"}"#), 400, "unknown field `Prompt`"),
        ("number instead of text", text(r#"{"prompt":5}"#), 400, "/prompt"),
        ("text instead of number", text(r#"{"prompt":"a","count":"4"}"#), 400, "/count"),
        ("fraction", text(r#"{"prompt":"a","count":1.5}"#), 400, "/count"),
        ("fraction that is whole", text(r#"{"prompt":"a","count":1.0}"#), 400, "/count"),
        ("exponent", text(r#"{"prompt":"a","width":1e3}"#), 400, "/width"),
        ("minus zero", text(r#"{"prompt":"a","count":-0}"#), 400, "/count"),
        ("1e400", text(r#"{"prompt":"a","width":1e400}"#), 400, "number out of range"),
        ("NaN", text(r#"{"prompt":"a","width":NaN}"#), 400, "expected value"),
        ("object instead of number", text(r#"{"prompt":"a","width":{}}"#), 400, "/width"),
        ("bool instead of number", text(r#"{"prompt":"a","width":true}"#), 400, "/width"),
        ("negative", text(r#"{"prompt":"a","width":-512}"#), 422, "/width"),
        ("zero", text(r#"{"prompt":"a","height":0}"#), 422, "/height"),
        ("2^31", text(r#"{"prompt":"a","width":2147483648}"#), 422, "/width"),
        ("2^63", text(r#"{"prompt":"a","width":9223372036854775808}"#), 422, "/width"),
        ("2^64", text(r#"{"prompt":"a","height":18446744073709551616}"#), 422, "/height"),
        ("-2^70", text(r#"{"prompt":"a","height":-1180591620717411303424}"#), 422, "/height"),
        ("40 digits", text(r#"{"prompt":"a","count":9999999999999999999999999999999999999999}"#), 422, "/count"),
        ("negative seed", text(r#"{"prompt":"a","seed":-1}"#), 422, "/seed"),
        ("no prompt", text("{}"), 422, "/prompt"),
        ("null prompt", text(r#"{"prompt":null}"#), 422, "/prompt"),
        ("empty prompt", text(r#"{"prompt":""}"#), 422, "/prompt"),
        ("only spaces as prompt", text("{\"prompt\":\" \u{2003}\u{a0} \"}"), 422, "/prompt"),
        ("long prompt", json!({ "prompt": "é".repeat(2001) }).to_string().into_bytes(), 422, "/prompt"),
        ("path as user", text(r#"{"prompt":"a","userId":"../../etc/passwd"}"#), 422, "/userId"),
        ("empty user", text(r#"{"prompt":"a","userId":""}"#), 422, "/userId"),
        ("unknown style", text(r#"{"prompt":"a","styleId":"oil"}"#), 422, "/styleId"),
    ]
}

#[tokio::test]
async fn invalid_bodies_are_refused_with_a_reason() {
    let world = world();
    for (name, body, status, reason) in cases() {
        let code = if status == 400 { "malformed_request" } else { "invalid_fields" };
        let problem = world.generate_raw(body).await.problem(status, code);
        let (detail, first) = (problem["detail"].as_str().unwrap(), problem["errors"][0]["pointer"].as_str());
        assert!(detail.contains(reason) || first == Some(reason), "{name}: {problem}");
        assert!(detail.len() < 1000, "{name}: {} bytes of detail", detail.len());
    }
    assert_eq!(world.job_count().await, 0);
}

#[tokio::test]
async fn refusals_are_readable() {
    let world = world();
    let bodies = [
        r#"{"prompt":"a","widht":512}"#,
        r#"{"prompt":"a","count":"4"}"#,
        r#"{"prompt":"a","prompt":"b"}"#,
        r#"{"prompt":"a","width":1e400}"#,
        "prompt=a",
    ];
    let mut problems = Vec::new();
    for body in bodies {
        problems.push(world.generate_raw(body).await.problem(400, "malformed_request"));
    }
    insta::assert_json_snapshot!(problems, { "[].requestId" => "[id]" });
}

#[tokio::test]
async fn unusual_valid_prompts_are_kept_unchanged() {
    let world = world();
    let prompts = [
        "\u{202e}drawkcab",
        "👩‍👩‍👧‍👦 at the sea",
        "a\n{\"severity\":\"ERROR\"}",
        "<script>alert(1)</script>",
        "'; DROP TABLE jobs; --",
    ];
    for prompt in prompts {
        let answer = world.generate(&json!({ "prompt": prompt })).await;
        let path = answer.header("location").unwrap().to_owned();
        assert_eq!(world.get(&path).await.json()["prompt"], prompt);
    }
    let long = world.generate(&json!({ "userId": "ann", "prompt": "é".repeat(2000) })).await;
    assert_eq!(long.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn parser_errors_are_truncated() {
    let world = world();
    for body in [json!({ "width": "x".repeat(60_000) }), json!({ "x".repeat(60_000): 1 })] {
        let problem = world.generate(&body).await.problem(400, "malformed_request");
        assert!(problem.to_string().len() < 3000, "{}", problem.to_string().len());
    }
}

#[tokio::test]
async fn bodies_over_the_limit_are_refused() {
    let world = world();
    let exact = format!("{{\"prompt\":\"a\"}}{}", " ".repeat(BODY_LIMIT - 14));
    assert_eq!(exact.len(), BODY_LIMIT);
    assert_eq!(world.generate_raw(exact.clone()).await.status, StatusCode::ACCEPTED);
    let problem = world.generate_raw(format!("{exact} ")).await.problem(413, "payload_too_large");
    insta::assert_json_snapshot!(problem, { ".requestId" => "[id]" });
    // By its Content-Length, before a byte is read.
    let never = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
    let announced = post_json().header("content-length", "1000000000").body(never).unwrap();
    world.send(announced).await.problem(413, "payload_too_large");
    // A body without end and without Content-Length.
    let chunk = || Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 1000]));
    let endless = Body::from_stream(futures::stream::repeat_with(chunk));
    world.send(post_json().body(endless).unwrap()).await.problem(413, "payload_too_large");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_times_out() {
    let world = world();
    let never = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
    let problem = world.send(post_json().body(never).unwrap()).await.problem(408, "request_timeout");
    assert_eq!(problem["retryable"], true);
    let broken = futures::stream::iter([Err::<Bytes, _>(std::io::Error::other("secret detail"))]);
    let answer = world.send(post_json().body(Body::from_stream(broken)).unwrap()).await;
    answer.problem(400, "malformed_request");
}

#[tokio::test]
async fn a_chunked_body_is_joined() {
    let world = world();
    let pieces = [&b"{\"pro"[..], b"", b"mpt\":", b"\"a boat\"}"]
        .map(|piece| Ok::<_, std::io::Error>(Bytes::from_static(piece)));
    let answer = world.send(post_json().body(Body::from_stream(futures::stream::iter(pieces))).unwrap()).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn only_json_content_types_are_accepted() {
    let world = world();
    let send = async |kind: Option<&str>| {
        let builder = request(Method::POST, "/generate");
        let builder = kind.into_iter().fold(builder, |builder, kind| builder.header("content-type", kind));
        world.send(builder.body(Body::from(r#"{"prompt":"a"}"#)).unwrap()).await
    };
    for kind in ["application/json", "Application/JSON; Charset=\"UTF-8\"", "application/vnd.api+json"] {
        assert_eq!(send(Some(kind)).await.status, StatusCode::ACCEPTED, "{kind}");
    }
    let mut problems = Vec::new();
    let refused =
        ["application/x-www-form-urlencoded", "text/plain", "application/json; charset=latin1", "text/json", "é"];
    for kind in refused.map(Some).into_iter().chain([None]) {
        problems.push(send(kind).await.problem(415, "unsupported_media_type"));
    }
    insta::assert_json_snapshot!(problems, { "[].requestId" => "[id]" });
}
