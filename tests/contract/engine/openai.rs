//! Servers that implement `OpenAI`'s API, and those that draw with trained models: every field of their requests.

use std::{fs, sync::Arc};

use image::ImageFormat;
use mediaforge::{
    config::{self, Environment, Roles, Sources},
    domain::{
        failure::{Disposition, ErrorCode},
        style::Learnt,
    },
    engine::remote::LIMITS,
};
use serde_json::{Value, json};
use wiremock::{
    Mock, ResponseTemplate,
    matchers::{method, path},
};

use super::{
    RETRY, assert_failure, drawn, refused,
    remote::Wire,
    server::{FakeTokens, base64, body_of, picture, png, received},
    spec,
};

pub const WIRE: Wire = Wire {
    engine: "openai",
    model: "gpt-image-1",
    points_at: |config, address| config.openai.base_url = Some(format!("{address}/v1").parse().unwrap()),
    answer,
    two_cost: 0,
};

pub const LORA: Wire = Wire {
    engine: "lora",
    model: "sdxl",
    points_at: |config, address| config.lora.endpoint = Some(format!("{address}/v1/").parse().unwrap()),
    answer,
    two_cost: 0,
};

fn answer(_: &Value, next: &mut dyn FnMut() -> Vec<u8>) -> Value {
    json!({ "created": 1, "data": [{ "b64_json": base64(next()) }] })
}

#[tokio::test]
async fn a_request_is_as_documented() {
    let (engine, server) = WIRE.with([]).await;
    let generation = drawn(&engine, &spec("a fox", "flat-2d", (900, 600), 1, 41)).await;
    let [request] = <[_; 1]>::try_from(received(&server).await).unwrap();
    assert_eq!(request.url.path(), "/v1/images/generations");
    assert!(!request.headers.contains_key("authorization"), "no key is configured");
    let expected = json!({ "model": "gpt-image-1", "prompt": "a fox, drawn with care", "n": 1, "size": "1536x1024" });
    assert_eq!(body_of(&request), expected);
    assert_eq!(generation.seed, None, "there is none to repeat it by");
}

#[tokio::test]
async fn a_trained_model_is_named_and_seeded() {
    let (engine, server) = LORA.with([]).await;
    let generation = drawn(&engine, &spec("a fox", "flat-2d", (900, 600), 2, 41)).await;
    let mut bodies: Vec<Value> = received(&server).await.iter().map(body_of).collect();
    bodies.sort_by_key(|body| body["seed"].as_u64());
    let expected = |seed: u32| {
        json!({
            "model": "sdxl", "prompt": "a fox, drawn with care", "n": 1, "size": "912x608",
            "response_format": "b64_json", "model_path": "gs://models/acme.safetensors", "seed": seed,
        })
    };
    assert_eq!(bodies, [expected(41), expected(42)]);
    assert_eq!(generation.seed, Some(41));
}

#[tokio::test]
async fn without_a_trained_model_nothing_is_drawn() {
    let (engine, server) = LORA.with([]).await;
    let mut spec = spec("a fox", "flat-2d", (512, 512), 1, 1);
    spec.illustration.style.learnt = Learnt::default();
    let failure = refused(&engine, &spec, 1).await;
    assert_failure(&failure, ErrorCode::InvalidRequest, Disposition::Fail, "no model");
    assert!(failure.error.message.contains("\"flat-2d\" has no trained model"), "{failure}");
    assert!(received(&server).await.is_empty());
}

#[tokio::test]
async fn sizes_are_those_of_the_model() {
    for (model, size, expected) in [
        ("gpt-image-1", (512, 512), "1024x1024"),
        ("dall-e-3", (1080, 1920), "1024x1792"),
        ("dall-e-2", (300, 300), "512x512"),
        ("flux", (1000, 500), "1008x512"),
    ] {
        let (engine, server) = Wire { model, ..WIRE }.with([]).await;
        drawn(&engine, &spec("a fox", "flat-2d", size, 1, 1)).await;
        let body = body_of(&received(&server).await[0]);
        assert_eq!((body["size"].as_str(), body["seed"].as_u64()), (Some(expected), None), "{model}");
        let format = if model == "gpt-image-1" { Value::Null } else { json!("b64_json") };
        assert_eq!(body["response_format"], format, "{model}");
    }
}

#[tokio::test]
async fn the_key_is_sent_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("key"), "sk-secret\n").unwrap();
    let (_, server) = WIRE.with([]).await;
    let file = folder.path().join("mediaforge.toml");
    let key = folder.path().join("key");
    let text = format!("[engine.openai]\nbase_url = \"{}/v1\"\nkey = {{ file = {key:?} }}\n", server.uri());
    fs::write(&file, text).unwrap();
    let environment = Environment::of([]).with_user_data_dir("/nowhere");
    let sources = Sources { environment, file: Some(file), roles: Some(Roles::WORKER), ..Sources::default() };
    let mut config = config::load(&sources).unwrap().config;
    assert!(!format!("{config:?}").contains("sk-secret"));
    config.engine.default = "openai".to_owned();
    let engine = WIRE.open_with(&config.engine, Arc::new(FakeTokens::default()), LIMITS);
    drawn(&engine, &spec("a fox", "flat-2d", (512, 512), 1, 1)).await;
    assert_eq!(received(&server).await[0].headers["authorization"], "Bearer sk-secret");

    server.reset().await;
    let echo = json!({ "error": { "message": "Incorrect API key provided: sk-secret" } });
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(401).set_body_json(echo)).mount(&server).await;
    let failure = refused(&engine, &spec("a fox", "flat-2d", (512, 512), 1, 1), 1).await;
    assert_failure(&failure, ErrorCode::EngineMisconfigured, Disposition::Misconfigured, "an echo");
    assert!(failure.error.message.contains("[redacted]") && !failure.error.message.contains("sk-secret"), "{failure}");
}

#[tokio::test]
async fn a_picture_may_be_somewhere_else() {
    for (address, fetched) in [("/files/1.webp", true), ("/files/gone.webp", false)] {
        let (engine, server) = WIRE.with([]).await;
        server.reset().await;
        let bytes = picture(1, ImageFormat::WebP);
        let there = ResponseTemplate::new(200).set_body_bytes(bytes.clone());
        Mock::given(method("GET")).and(path("/files/1.webp")).respond_with(there).mount(&server).await;
        let url = format!("{}{address}", server.uri());
        let points = ResponseTemplate::new(200).set_body_json(json!({ "data": [{ "url": url }] }));
        Mock::given(method("POST")).respond_with(points).mount(&server).await;
        let spec = spec("a fox", "flat-2d", (512, 512), 1, 1);
        if fetched {
            assert_eq!(drawn(&engine, &spec).await.images[0].bytes, bytes);
        } else {
            assert_failure(&refused(&engine, &spec, 2).await, ErrorCode::EngineError, RETRY, address);
            assert_failure(&refused(&engine, &spec, 3).await, ErrorCode::EngineError, Disposition::Fail, address);
        }
    }
    for elsewhere in ["http://127.0.0.1:1/metadata", "file:///etc/passwd", "nowhere"] {
        let answer = ResponseTemplate::new(200).set_body_json(json!({ "data": [{ "url": elsewhere }] }));
        let (engine, server) = WIRE.with([answer]).await;
        let failure = refused(&engine, &spec("a fox", "flat-2d", (512, 512), 1, 1), 1).await;
        assert_failure(&failure, ErrorCode::EngineError, RETRY, elsewhere);
        assert_eq!(received(&server).await.len(), 1);
    }
}

#[tokio::test]
async fn a_picture_may_be_in_its_address_and_may_be_missing() {
    let inline = format!("data:image/png;base64,{}", base64(png(5)));
    for (data, images) in [(json!([{ "url": inline }]), 1), (json!([]), 0), (json!([{ "b64_json": null }]), 0)] {
        let answer = ResponseTemplate::new(200).set_body_json(json!({ "data": data }));
        let (engine, _server) = WIRE.with([answer]).await;
        let generation = drawn(&engine, &spec("a fox", "flat-2d", (512, 512), 1, 1)).await;
        assert_eq!((generation.images.len(), generation.filtered), (images, u32::from(images == 0)));
    }
}

#[tokio::test]
async fn a_server_without_a_list_of_models_is_no_fault() {
    let missing = json!({ "error": { "code": "model_not_found", "message": "no such model" } });
    for (answer, code) in [
        (ResponseTemplate::new(404), None),
        (ResponseTemplate::new(405), None),
        (ResponseTemplate::new(404).set_body_json(missing), Some(ErrorCode::EngineMisconfigured)),
        (ResponseTemplate::new(401), Some(ErrorCode::EngineMisconfigured)),
        (ResponseTemplate::new(500), Some(ErrorCode::EngineUnavailable)),
    ] {
        let (engine, server) = WIRE.with([]).await;
        server.reset().await;
        Mock::given(method("GET")).and(path("/v1/models/gpt-image-1")).respond_with(answer).mount(&server).await;
        let [checked] = <[_; 1]>::try_from(engine.check(crate::support::start()).await).unwrap();
        match (checked.outcome, code) {
            (Ok(remark), None) => assert!(remark.unwrap().contains("no list of models")),
            (Err(failure), Some(code)) => assert_eq!(failure.error.code, code),
            (outcome, expected) => panic!("{outcome:?} instead of {expected:?}"),
        }
    }
}
