//! Imagen: every field of its requests, and how its responses are read.

use serde_json::{Value, json};
use wiremock::ResponseTemplate;

use super::{
    drawn,
    remote::Wire,
    server::{base64, body_of, png, received},
    spec,
};

pub const WIRE: Wire = Wire {
    engine: "imagen",
    model: "imagen-3.0-generate-002",
    points_at: |config, address| config.imagen.endpoint = Some(format!("{address}/").parse().unwrap()),
    answer: |request, next| {
        let count = request["parameters"]["sampleCount"].as_u64().unwrap();
        answer(&(0..count).map(|_| prediction(&next())).collect::<Vec<_>>())
    },
    two_cost: 80_000,
};

fn prediction(picture: &[u8]) -> Value {
    json!({ "mimeType": "image/png", "bytesBase64Encoded": base64(picture) })
}

fn answer(predictions: &[Value]) -> Value {
    json!({ "predictions": predictions, "deployedModelId": "1" })
}

#[tokio::test]
async fn a_request_is_as_documented() {
    let (engine, server) = WIRE.with([]).await;
    let generation = drawn(&engine, &spec("a fox", "flat-2d", (1200, 800), 3, 41)).await;
    let [request] = <[_; 1]>::try_from(received(&server).await).unwrap();
    assert_eq!(
        request.url.path(),
        "/v1/projects/acme-pictures/locations/us-central1/publishers/google/models/imagen-3.0-generate-002:predict"
    );
    assert_eq!(request.headers["authorization"], "Bearer token-0");
    let expected = json!({
        "instances": [{ "prompt": "a fox, drawn with care" }],
        "parameters": {
            "sampleCount": 3,
            "aspectRatio": "4:3",
            "seed": 41,
            "addWatermark": false,
            "enhancePrompt": false,
            "includeRaiReason": true,
            "outputOptions": { "mimeType": "image/png" },
        },
    });
    assert_eq!(body_of(&request), expected);
    assert_eq!((generation.images.len(), generation.seed), (3, Some(41)));
}

#[tokio::test]
async fn more_than_four_pictures_are_several_calls() {
    let (engine, server) = WIRE.with([]).await;
    let generation = drawn(&engine, &spec("a fox", "flat-2d", (512, 512), 16, 0)).await;
    assert_eq!((generation.images.len(), generation.seed), (16, Some(1)), "the smallest seed is 1");
    let parameters: Vec<Value> =
        received(&server).await.iter().map(|request| body_of(request)["parameters"].clone()).collect();
    let shares: Vec<_> = parameters.iter().map(|it| (it["sampleCount"].as_u64(), it["seed"].as_u64())).collect();
    let share = |seed| (Some(4), Some(seed));
    assert_eq!(shares, [share(1), share(4), share(8), share(12)]);
}

#[tokio::test]
async fn only_the_fourth_generation_is_sent_a_size() {
    for (model, size, expected) in [
        ("imagen-3.0-generate-002", (2048, 2048), Value::Null),
        ("imagen-4.0-generate-001", (1024, 1024), json!("1K")),
        ("imagen-4.0-generate-001", (1500, 1500), json!("2K")),
    ] {
        let (engine, server) = Wire { model, ..WIRE }.with([]).await;
        drawn(&engine, &spec("a fox", "flat-2d", size, 1, 1)).await;
        assert_eq!(body_of(&received(&server).await[0])["parameters"]["sampleImageSize"], expected, "{model}");
    }
}

#[tokio::test]
async fn missing_pictures_count_as_withheld() {
    let reason = json!({ "raiFilteredReason": "Filtered. Support codes: 39322892" });
    let positive = json!({ "contentType": "Positive Prompt", "safetyAttributes": { "categories": [], "scores": [] } });
    for (predictions, images) in [
        (json!({ "predictions": [prediction(&png(1)), reason] }), 1),
        (json!({ "predictions": [prediction(&png(1)), prediction(&png(2))] }), 2),
        (json!({ "predictions": [prediction(&png(1)), prediction(&png(2)), positive] }), 2),
        (json!({ "predictions": [reason, reason, reason] }), 0),
        (json!({ "predictions": [] }), 0),
        (json!({ "deployedModelId": "1" }), 0),
        (json!({}), 0),
        // Surplus pictures are not delivered.
        (json!({ "predictions": (0..4).map(|n| prediction(&png(n))).collect::<Vec<_>>() }), 3),
    ] {
        let (engine, _server) = WIRE.with([ResponseTemplate::new(200).set_body_json(&predictions)]).await;
        let generation = drawn(&engine, &spec("a fox", "flat-2d", (512, 512), 3, 1)).await;
        let delivered = u32::try_from(generation.images.len()).unwrap();
        assert_eq!((delivered, generation.filtered), (images, 3 - images));
        assert_eq!(generation.cost_micro_usd, u64::from(images) * 40_000, "what is withheld is not charged for");
    }
}
