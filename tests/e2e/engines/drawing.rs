//! Pictures and brands by Gemini: every field of the requests, and the fields of the job.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use image::GenericImageView as _;
use mediaforge::domain::brand::SAMPLE_PROMPTS;
use serde_json::{Value, json};

use super::vertex::{FLASH, PROJECT, Vertex, body_of};
use crate::{
    support::text,
    train_cli::{json as printed, pictures, run, stderr},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_of_gemini_records_its_model_and_prompt() {
    let vertex = Vertex::start().await;
    let system = vertex.system(&[]).await;
    let body = json!({
        "userId": "ada", "prompt": "a lighthouse at dawn", "styleId": "watercolor", "width": 640, "height": 400, "count": 2,
        "seed": 7,
    });
    let id = text(&system.post("/generate", &body).await.1, "illustrationId");
    let job = system.finished("ada", &id).await;
    let prompt = "a lighthouse at dawn, loose watercolor painting, transparent washes, soft wet edges, visible cold-pressed \
                  paper texture, gentle light";
    assert_eq!(job["status"], "completed", "{job}");
    assert_eq!((&job["modelUsed"], &job["finalPrompt"]), (&FLASH.into(), &prompt.into()));
    // Two pictures of the class 1K, at $0.067 each.
    assert_eq!((&job["costUsd"], &job["seed"], &job["attempt"]), (&0.134.into(), &7.into(), &1.into()));
    assert_eq!(system.credits("ada").await, (998, 0, 2, 1000));
    let urls = job["imageUrls"].as_array().expect("urls");
    for url in urls.iter().chain([&job["imageUrl"]]) {
        let picture = system.client.get(url.as_str().expect("text")).send().await.expect("an answer");
        let picture = image::load_from_memory(&picture.bytes().await.expect("bytes")).expect("a picture");
        assert_eq!(picture.dimensions(), (640, 400), "the exact size, whatever the model drew");
    }

    let mut drawings = vertex.drawings().await;
    drawings.sort_by_key(|request| body_of(request)["generationConfig"]["seed"].as_u64());
    let path = format!("/v1/projects/{PROJECT}/locations/global/publishers/google/models/{FLASH}:generateContent");
    for (request, seed) in drawings.iter().zip([7, 8]) {
        assert_eq!((request.method.as_str(), request.url.path()), ("POST", path.as_str()));
        assert_eq!(request.headers["authorization"], "Bearer ya29.e2e");
        assert_eq!(request.headers["content-type"], "application/json; charset=utf-8");
        let expected = json!({
            "contents": [{ "role": "user", "parts": [{ "text": prompt }] }],
            "generationConfig": {
                "responseModalities": ["IMAGE", "TEXT"],
                "imageConfig": {
                    "aspectRatio": "3:2", "imageSize": "1K", "imageOutputOptions": { "mimeType": "image/png" },
                },
                "seed": seed,
            },
        });
        assert_eq!(body_of(request), expected);
    }
    assert_eq!((drawings.len(), urls.len()), (2, 2));
    assert_eq!(vertex.received("/token").await.len(), 1, "one token for all");
    let logs = system.logs();
    assert!(!logs.contains("ya29.") && !logs.contains("hush"), "{logs}");
    system.finish().await;
}

/// The text of a request and its reference pictures.
fn parts(request: &wiremock::Request) -> (String, Vec<(u32, u32)>) {
    let said = body_of(request);
    let parts = said["contents"][0]["parts"].as_array().expect("parts");
    let shown = parts[1..].iter().map(|part| {
        let data = STANDARD.decode(text(&part["inlineData"], "data")).expect("base64");
        let format = image::guess_format(&data).expect("a format");
        assert_eq!(part["inlineData"]["mimeType"], format.to_mime_type());
        image::load_from_memory_with_format(&data, format).expect("a picture").dimensions()
    });
    (text(&parts[0], "text"), shown.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_to_gemini_contains_the_brand() {
    let vertex = Vertex::start().await;
    let system = vertex.system(&[]).await;
    let dir = tempfile::tempdir().expect("a directory");
    let files = pictures(dir.path(), 600);
    let (data, url) = (system.data_dir(), system.gateway.clone());
    let train = ["train", "Acme", "--color", "#FF6600", "--user", "ada", "--url", &url, "--json"];
    let trained = run(&data, &[], &train, &files).await;
    assert!(trained.status.success(), "{}: {}", stderr(&trained), system.logs());
    let brand = printed(&trained);

    let told = |request: &wiremock::Request, prompt: &str, prompt_of: &Value| {
        let (words, shown) = parts(request);
        assert_eq!(shown, [(600, 600); 4], "four of the five, as they are");
        let begins = format!("{prompt}, in the visual style of the brand Acme, in the colours #ff6600, ");
        assert!(words.starts_with(&begins), "{words}");
        assert!(words.contains("The 4 attached pictures show how to draw, not what"), "{words}");
        assert!(prompt_of.is_null() || *prompt_of == words, "{prompt_of}");
    };
    let samples = vertex.drawings().await;
    assert_eq!(samples.len(), 3, "the samples, by the same engine");
    for (request, prompt) in samples.iter().zip(SAMPLE_PROMPTS) {
        told(request, prompt, &Value::Null);
        assert_eq!(body_of(request)["generationConfig"]["imageConfig"]["imageSize"], "512");
    }

    let body = json!({ "userId": "ada", "prompt": "a fox", "styleId": brand["brandId"], "width": 256, "height": 256 });
    let id = text(&system.post("/generate", &body).await.1, "illustrationId");
    let job = system.finished("ada", &id).await;
    assert_eq!((&job["status"], &job["modelUsed"]), (&"completed".into(), &FLASH.into()), "{job}");
    assert_eq!(job["costUsd"], 0.045);
    told(&vertex.drawings().await[3], "a fox", &job["finalPrompt"]);
    system.finish().await;
}
