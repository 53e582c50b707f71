//! Gemini: every field of its requests, and how its responses are read.

use std::sync::Arc;

use bytes::Bytes;
use image::{ImageFormat, RgbImage};
use mediaforge::{
    domain::failure::{Disposition, ErrorCode},
    engine::{
        ImageSpec,
        remote::{Access, LIMITS},
    },
    http,
};
use serde_json::{Value, json};
use wiremock::ResponseTemplate;

use super::{
    assert_failure, drawn, is_picture, refused,
    remote::Wire,
    server::{FakeTokens, base64, body_of, picture, png, received},
    spec,
};

pub const WIRE: Wire = Wire {
    engine: "gemini",
    model: "gemini-3.1-flash-image",
    points_at: |config, address| config.gemini.endpoint = Some(address.parse().unwrap()),
    answer: |_, next| answer(&[json!({ "inlineData": { "mimeType": "image/png", "data": base64(next()) } })], "STOP"),
    two_cost: 134_000,
};

fn answer(parts: &[Value], finish: &str) -> Value {
    let content = json!({ "role": "model", "parts": parts });
    json!({ "candidates": [{ "content": content, "finishReason": finish }], "modelVersion": "gemini-3.1-flash-image" })
}

fn fox(size: (u32, u32), count: u32) -> ImageSpec {
    spec("a fox", "flat-2d", size, count, 41)
}

#[tokio::test]
async fn a_request_is_as_documented() {
    let (engine, server) = WIRE.with([]).await;
    drawn(&engine, &fox((1536, 1024), 1)).await;
    let [request] = <[_; 1]>::try_from(received(&server).await).unwrap();
    assert_eq!(
        request.url.path(),
        "/v1/projects/acme-pictures/locations/global/publishers/google/models/gemini-3.1-flash-image:generateContent"
    );
    assert_eq!(request.headers["authorization"], "Bearer token-0");
    assert_eq!(request.headers["content-type"], "application/json; charset=utf-8");
    let expected = json!({
        "contents": [{ "role": "user", "parts": [{ "text": "a fox, drawn with care" }] }],
        "generationConfig": {
            "responseModalities": ["IMAGE", "TEXT"],
            // 3:2 at 1K is 1254 x 836, which would have to be enlarged.
            "imageConfig": {
                "aspectRatio": "3:2", "imageSize": "2K", "imageOutputOptions": { "mimeType": "image/png" },
            },
            "seed": 41,
        },
    });
    assert_eq!(body_of(&request), expected);
}

#[tokio::test]
async fn every_picture_is_a_call_with_a_seed_of_its_own() {
    let (engine, server) = WIRE.with([]).await;
    let generation = drawn(&engine, &fox((512, 512), 3)).await;
    let mut seeds: Vec<_> =
        received(&server).await.iter().map(|request| body_of(request)["generationConfig"]["seed"].as_u64()).collect();
    seeds.sort_unstable();
    assert_eq!(seeds, [Some(41), Some(42), Some(43)]);
    assert_eq!(generation.seed, Some(41));
}

#[tokio::test]
async fn a_model_is_sent_only_sizes_that_it_has() {
    for (model, size, expected) in [
        ("gemini-3.1-flash-image", (300, 300), json!("512")),
        ("gemini-3-pro-image", (300, 300), json!("1K")),
        ("gemini-3-pro-image", (4000, 4000), json!("4K")),
        ("gemini-2.5-flash-image", (1024, 1024), Value::Null),
        ("gemini-of-tomorrow", (300, 300), json!("1K")),
    ] {
        let wire = Wire { model, ..WIRE };
        let (engine, server) = wire.with([]).await;
        drawn(&engine, &fox(size, 1)).await;
        assert_eq!(
            body_of(&received(&server).await[0])["generationConfig"]["imageConfig"]["imageSize"],
            expected,
            "{model}"
        );
    }
}

#[tokio::test]
async fn thinking_is_requested_only_when_configured() {
    let (_, server) = WIRE.with([]).await;
    let mut config = WIRE.config(&server.uri());
    config.gemini.thinking = Some("MINIMAL".to_owned());
    config.gemini.location = "us-central1".to_owned();
    let engine = WIRE.open_with(&config, Arc::new(FakeTokens::default()), LIMITS);
    drawn(&engine, &fox((512, 512), 1)).await;
    let request = &received(&server).await[0];
    assert_eq!(body_of(request)["generationConfig"]["thinkingConfig"], json!({ "thinkingLevel": "MINIMAL" }));
    assert!(request.url.path().contains("/locations/us-central1/"));
}

#[tokio::test]
async fn pictures_of_the_brand_are_shown_behind_the_text() {
    let (engine, server) = WIRE.with([]).await;
    assert_eq!(engine.references("gemini/gemini-3.1-flash-image"), 4);
    let mut large = std::io::Cursor::new(Vec::new());
    RgbImage::new(2000, 1000).write_to(&mut large, ImageFormat::Png).unwrap();
    let (small, jpeg) = (png(1), picture(2, ImageFormat::Jpeg));
    let references = [small.clone(), jpeg.clone(), large.into_inner(), b"damaged".to_vec()];
    let references = references.into_iter().map(Bytes::from).collect();
    let generation = drawn(&engine, &ImageSpec { references, ..fox((512, 512), 1) }).await;
    let body = body_of(&received(&server).await[0]);
    let parts = body["contents"][0]["parts"].as_array().unwrap();
    assert_eq!(parts.len(), 4, "the text and the three that can be read");
    assert_eq!(parts[0], json!({ "text": generation.final_prompt }));
    let told = "a fox, drawn with care. The 3 attached pictures show how to draw, not what";
    assert!(generation.final_prompt.starts_with(told), "{}", generation.final_prompt);
    assert_eq!(parts[1], json!({ "inlineData": { "mimeType": "image/png", "data": base64(small) } }));
    assert_eq!(parts[2], json!({ "inlineData": { "mimeType": "image/jpeg", "data": base64(jpeg) } }));
    assert_eq!(parts[3]["inlineData"]["mimeType"], "image/jpeg", "made smaller");
}

#[tokio::test]
async fn thoughts_are_no_pictures() {
    let thought = json!({ "thought": true, "inlineData": { "mimeType": "image/png", "data": base64(png(7)) } });
    let words = json!({ "text": "here it is" });
    let meant = json!({ "inlineData": { "mimeType": "image/jpeg", "data": base64(png(8)) } });
    let both = answer(&[thought.clone(), words, meant], "STOP");
    let (engine, _server) = WIRE.with([ResponseTemplate::new(200).set_body_json(both)]).await;
    let generation = drawn(&engine, &fox((512, 512), 1)).await;
    assert!(is_picture(&generation.images[0].bytes));
    assert_eq!(generation.images[0].bytes, png(8));

    let only = ResponseTemplate::new(200).set_body_json(answer(&[thought], "STOP"));
    let (engine, _server) = WIRE.with([only]).await;
    let generation = drawn(&engine, &fox((512, 512), 1)).await;
    assert_eq!((generation.images.len(), generation.filtered), (0, 1));
}

#[tokio::test]
async fn an_answer_without_a_picture_withholds_it() {
    let refusals = [
        answer(&[json!({ "text": "I cannot draw that." })], "STOP"),
        answer(&[], "IMAGE_SAFETY"),
        answer(&[], "IMAGE_PROHIBITED_CONTENT"),
        answer(&[], "NO_IMAGE"),
        answer(&[json!({ "inlineData": { "mimeType": "image/png", "data": "" } })], "STOP"),
        json!({ "candidates": [{ "finishReason": "IMAGE_SAFETY", "content": null }] }),
        json!({ "candidates": [] }),
        json!({ "promptFeedback": { "blockReason": "PROHIBITED_CONTENT", "blockReasonMessage": "no" } }),
        json!({}),
    ];
    for refusal in refusals {
        let first = ResponseTemplate::new(200).set_body_json(&refusal);
        let (engine, _server) = WIRE.with([first]).await;
        let generation = drawn(&engine, &fox((512, 512), 2)).await;
        assert_eq!((generation.images.len(), generation.filtered), (1, 1), "{refusal}");
        assert_eq!(generation.cost_micro_usd, 45_000, "what is withheld is not charged for");
    }
}

#[tokio::test]
async fn no_more_calls_at_once_than_configured() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now, peak) = (Arc::clone(&running), Arc::clone(&most));
    // Every call waits until the allowed number of calls is running, so that the peak is reached.
    let both = Arc::new(tokio::sync::Barrier::new(2));
    let draws = move || {
        let (now, peak, both) = (Arc::clone(&now), Arc::clone(&peak), Arc::clone(&both));
        async move {
            peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            both.wait().await;
            // On this single thread the client continues meanwhile, and could send further calls.
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
            now.fetch_sub(1, Ordering::SeqCst);
            axum::Json((WIRE.answer)(&Value::Null, &mut || png(1)))
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(draws)).await });
    let generation = drawn(&WIRE.open(&address), &fox((512, 512), 6)).await;
    server.abort();
    assert_eq!((generation.images.len(), most.load(Ordering::SeqCst)), (6, 2));
}

#[tokio::test]
async fn a_missing_project_is_a_misconfiguration() {
    let (_, server) = WIRE.with([]).await;
    let access = Access {
        project: None,
        http: http::client().unwrap(),
        tokens: Arc::new(FakeTokens::default()),
        limits: LIMITS,
    };
    let config = WIRE.config(&server.uri());
    let engine = WIRE.open_in(&config, &access);
    let failure = refused(&engine, &fox((512, 512), 1), 1).await;
    assert_failure(&failure, ErrorCode::EngineMisconfigured, Disposition::Misconfigured, "no project");
    assert!(failure.error.message.contains("gcp.project"), "{failure}");
    assert!(received(&server).await.is_empty());
}
