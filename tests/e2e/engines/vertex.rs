//! A server with the documented behaviour of Vertex AI and Google's token endpoint, with scripted refusals.

use std::{
    collections::{BTreeMap, VecDeque},
    io::Cursor,
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use image::{ImageFormat, RgbImage};
use serde_json::{Value, json};
use tempfile::TempDir;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate, matchers::any};

use crate::support::{System, Topology};

pub const PROJECT: &str = "acme-pictures";
pub const FLASH: &str = "gemini-3.1-flash-image";
pub const PRO: &str = "gemini-3-pro-image";

/// The server.
pub struct Vertex {
    server: MockServer,
    plan: Arc<Plan>,
    dir: TempDir,
}

/// Its responses other than pictures.
#[derive(Default)]
struct Plan {
    next: Mutex<VecDeque<ResponseTemplate>>,
    refused: Mutex<BTreeMap<String, ResponseTemplate>>,
}

struct Answers(Arc<Plan>);

impl Respond for Answers {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let path = request.url.path();
        if path == "/token" {
            let token = json!({ "access_token": "ya29.e2e", "expires_in": 3600, "token_type": "Bearer" });
            return ResponseTemplate::new(200).set_body_json(token);
        }
        let Some((_, named)) = path.rsplit_once("/publishers/google/models/") else {
            return ResponseTemplate::new(404);
        };
        let model = named.split(':').next().unwrap_or(named);
        let refused = self.0.refused.lock().expect("a lock").get(model).cloned();
        match (request.method.as_str(), named.ends_with(":generateContent")) {
            ("POST", true) => {
                let next = self.0.next.lock().expect("a lock").pop_front();
                next.or(refused)
                    .unwrap_or_else(|| ResponseTemplate::new(200).set_body_json(picture_for(&body_of(request))))
            }
            // A check fails only for a missing model.
            ("GET", false) => refused.filter(|_| model.ends_with("-gone")).unwrap_or_else(|| {
                ResponseTemplate::new(200).set_body_json(json!({ "name": format!("publishers/google/models/{model}") }))
            }),
            _ => ResponseTemplate::new(405),
        }
    }
}

impl Vertex {
    pub async fn start() -> Self {
        let (server, plan) = (MockServer::start().await, Arc::<Plan>::default());
        Mock::given(any()).respond_with(Answers(Arc::clone(&plan))).mount(&server).await;
        let dir = tempfile::tempdir().expect("a directory");
        let credentials = json!({
            "type": "authorized_user", "client_id": "id", "client_secret": "hush-secret",
            "refresh_token": "hush-refresh", "token_uri": format!("{}/token", server.uri()),
        });
        std::fs::write(dir.path().join("adc.json"), credentials.to_string()).expect("a file");
        Self { server, plan, dir }
    }

    /// The variables that make it the only engine.
    pub fn variables(&self) -> Vec<(String, String)> {
        let adc = self.dir.path().join("adc.json").display().to_string();
        [
            ("MEDIAFORGE_ENGINE__DEFAULT", "gemini".to_owned()),
            ("MEDIAFORGE_ENGINE__GEMINI__ENDPOINT", self.server.uri()),
            ("MEDIAFORGE_GCP__PROJECT", PROJECT.to_owned()),
            ("MEDIAFORGE_TRAINER__MOCK__DURATION", "300ms".to_owned()),
            ("GOOGLE_APPLICATION_CREDENTIALS", adc),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// A system that draws with it, with these additional variables.
    pub async fn system(&self, more: &[(&str, &str)]) -> System {
        let own = self.variables();
        let own = own.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        System::start(Topology::OneProcess, &own.chain(more.iter().copied()).collect::<Vec<_>>()).await
    }

    /// Scripts its next responses to drawing calls.
    pub fn next(&self, answers: impl IntoIterator<Item = ResponseTemplate>) {
        self.plan.next.lock().expect("a lock").extend(answers);
    }

    /// Refuses a model with this response until it is restored.
    pub fn refuse(&self, model: &str, status: u16, reason: &str, message: &str) {
        let error = json!({ "error": { "code": status, "status": reason, "message": message } });
        let answer = ResponseTemplate::new(status).set_body_json(error);
        self.plan.refused.lock().expect("a lock").insert(model.to_owned(), answer);
    }

    pub fn is_well_again(&self) {
        self.plan.refused.lock().expect("a lock").clear();
    }

    /// The requests whose paths have this end.
    pub async fn received(&self, end: &str) -> Vec<Request> {
        let requests = self.server.received_requests().await.expect("recorded");
        requests.into_iter().filter(|request| request.url.path().ends_with(end)).collect()
    }

    /// The drawing calls, in order.
    pub async fn drawings(&self) -> Vec<Request> {
        self.received(":generateContent").await
    }

    /// The models of the drawing calls.
    pub async fn drawn_by(&self) -> Vec<String> {
        let name = |request: &Request| {
            let path = request.url.path().trim_end_matches(":generateContent");
            path.rsplit('/').next().unwrap_or_default().to_owned()
        };
        self.drawings().await.iter().map(name).collect()
    }
}

/// The body of a request.
pub fn body_of(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap_or_default()
}

/// A response with these parts.
pub fn answer(parts: &Value, finish: &str) -> ResponseTemplate {
    let content = json!({ "role": "model", "parts": parts });
    ResponseTemplate::new(200).set_body_json(json!({ "candidates": [{ "content": content, "finishReason": finish }] }))
}

/// A picture of some shape and size, never exactly the requested ones, as with the real service.
fn picture_for(request: &Value) -> Value {
    let seed = request["generationConfig"]["seed"].as_u64().unwrap_or(0);
    let [red, green, ..] = seed.to_le_bytes();
    let mut bytes = Cursor::new(Vec::new());
    let image = RgbImage::from_fn(1248, 832, |x, _| image::Rgb([red, green, u8::try_from(x % 256).unwrap_or(0)]));
    image.write_to(&mut bytes, ImageFormat::Jpeg).expect("a picture");
    // The declared type is the requested one, whatever the bytes are.
    let blob = json!({ "mimeType": "image/png", "data": STANDARD.encode(bytes.into_inner()) });
    let parts = json!([{ "text": "thinking", "thought": true }, { "inlineData": blob }]);
    json!({ "candidates": [{ "content": { "role": "model", "parts": parts }, "finishReason": "STOP" }] })
}
