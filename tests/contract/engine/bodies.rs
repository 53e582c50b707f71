//! Unusable responses: wrong, tiny, corrupt, truncated, endless and slow ones.

use image::{ImageFormat, RgbImage};
use mediaforge::{
    domain::failure::{Disposition, ErrorCode},
    engine::remote::LIMITS,
    http::Limits,
};
use serde_json::{Value, json};
use std::sync::Arc;
use wiremock::ResponseTemplate;

use super::{
    RETRY, assert_failure, drawn, is_picture, refused,
    remote::{WIRES, Wire},
    server::{self, FakeTokens, Manners, SHORT, picture, png},
    spec,
};

/// A response with these bytes for every picture.
fn with_bytes(wire: &Wire, bytes: &[u8]) -> ResponseTemplate {
    let request = json!({ "parameters": { "sampleCount": 1 } });
    ResponseTemplate::new(200).set_body_json((wire.answer)(&request, &mut || bytes.to_vec()))
}

fn useless(wire: &Wire) -> Vec<(&'static str, ResponseTemplate)> {
    let mut tiny = std::io::Cursor::new(Vec::new());
    RgbImage::new(1, 1).write_to(&mut tiny, ImageFormat::Png).unwrap();
    let (whole, jpeg) = (png(1), picture(1, ImageFormat::Jpeg));
    let mut corrupt = whole.clone();
    let middle = corrupt.len() / 2;
    corrupt[middle] ^= 0xff;
    let text = |text: &str| ResponseTemplate::new(200).set_body_string(text);
    let truncated = |bytes: &[u8]| with_bytes(wire, &bytes[..bytes.len() - bytes.len() / 4]);
    let answer: Value = (wire.answer)(&json!({ "parameters": { "sampleCount": 1 } }), &mut || png(1));
    let answer = answer.to_string();
    vec![
        ("a page", text("<html>welcome</html>")),
        ("nothing", text("")),
        ("half an answer", text(&answer[..answer.len() / 2])),
        ("no picture", with_bytes(wire, b"GIF89a, or so")),
        ("one pixel", with_bytes(wire, tiny.get_ref())),
        ("a corrupt PNG", with_bytes(wire, &corrupt)),
        ("a truncated PNG", truncated(&whole)),
        ("a truncated JPEG", truncated(&jpeg)),
        ("no base64", text(&answer.replace(&server::base64(png(1)), "%%%"))),
    ]
}

#[tokio::test]
async fn unusable_responses_are_retried_twice_and_then_fail() {
    let spec = spec("a fox", "flat-2d", (512, 512), 1, 1);
    for wire in WIRES {
        for (what, answer) in useless(&wire) {
            let case = format!("{}: {what}", wire.name());
            let (engine, _server) = wire.with((0..3).map(|_| answer.clone())).await;
            for (attempt, disposition) in [(1, RETRY), (2, RETRY), (3, Disposition::Fail)] {
                assert_failure(&refused(&engine, &spec, attempt).await, ErrorCode::EngineError, disposition, &case);
            }
            assert_eq!(drawn(&engine, &spec).await.images.len(), 1, "{case}: no trace of it remains");
        }
    }
}

#[tokio::test]
async fn the_first_bytes_decide_the_format_of_a_picture() {
    for wire in WIRES {
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
            let bytes = picture(3, format);
            let (engine, _server) = wire.with([with_bytes(&wire, &bytes)]).await;
            let generation = drawn(&engine, &spec("a fox", "flat-2d", (512, 512), 1, 1)).await;
            assert!(is_picture(&generation.images[0].bytes));
            assert_eq!(generation.images[0].bytes, bytes, "{}: unchanged, whatever the declared type", wire.name());
        }
    }
}

#[tokio::test]
async fn a_response_is_read_up_to_the_limit() {
    let spec = spec("a fox", "flat-2d", (512, 512), 1, 1);
    for wire in WIRES {
        for manners in [Manners::Endless, Manners::Huge] {
            let (address, _seen) = server::raw(manners).await;
            let limits = Limits { max_bytes: 1 << 20, ..LIMITS };
            let engine = wire.open_with(&wire.config(&address), Arc::new(FakeTokens::default()), limits);
            let case = format!("{} {manners:?}", wire.name());
            for (attempt, disposition) in [(1, RETRY), (2, RETRY), (3, Disposition::Fail)] {
                let failure = refused(&engine, &spec, attempt).await;
                assert_failure(&failure, ErrorCode::EngineError, disposition, &case);
                assert!(failure.error.message.contains("1048576 bytes"), "{failure}");
            }
        }
    }
}

#[tokio::test]
async fn slow_silent_and_broken_connections_are_retried() {
    let spec = spec("a fox", "flat-2d", (512, 512), 1, 1);
    for wire in WIRES {
        for (manners, code) in [
            (Manners::Slow, ErrorCode::EngineTimeout),
            (Manners::Silent, ErrorCode::EngineTimeout),
            (Manners::HangsUp, ErrorCode::EngineUnavailable),
        ] {
            let (address, _seen) = server::raw(manners).await;
            let call = if matches!(manners, Manners::HangsUp) { LIMITS.timeout } else { SHORT };
            let limits = Limits { timeout: call, ..LIMITS };
            let engine = wire.open_with(&wire.config(&address), Arc::new(FakeTokens::default()), limits);
            let case = format!("{} {manners:?}", wire.name());
            assert_failure(&refused(&engine, &spec, 4).await, code, RETRY, &case);
        }
    }
}
