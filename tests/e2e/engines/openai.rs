//! A server that implements `OpenAI`'s API, with a key that the configuration references.

use std::{collections::VecDeque, io::Cursor, sync::Mutex};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use image::{ImageFormat, RgbImage};
use serde_json::json;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate, matchers::any};

use super::vertex::body_of;
use crate::{
    support::{System, Topology},
    train_cli::{run, stderr},
};

const KEY: &str = "sk-e2e-hush-4711";

/// A server with these first responses, and then pictures.
struct Server(Mutex<VecDeque<ResponseTemplate>>);

impl Respond for Server {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        match (request.method.as_str(), request.url.path()) {
            ("GET", "/v1/models/sd-xl") => ResponseTemplate::new(200).set_body_json(json!({ "id": "sd-xl" })),
            ("POST", "/v1/images/generations") => self.0.lock().expect("a lock").pop_front().unwrap_or_else(|| {
                let mut bytes = Cursor::new(Vec::new());
                RgbImage::new(304, 272).write_to(&mut bytes, ImageFormat::Png).expect("a picture");
                let data = json!([{ "b64_json": STANDARD.encode(bytes.into_inner()) }]);
                ResponseTemplate::new(200).set_body_json(json!({ "created": 1, "data": data }))
            }),
            _ => ResponseTemplate::new(404),
        }
    }
}

async fn server(first: impl IntoIterator<Item = ResponseTemplate>) -> MockServer {
    let server = MockServer::start().await;
    let answers = Server(Mutex::new(first.into_iter().collect()));
    Mock::given(any()).respond_with(answers).mount(&server).await;
    server
}

fn variables(address: &str) -> Vec<(&'static str, String)> {
    vec![
        ("MEDIAFORGE_ENGINE__DEFAULT", "openai".to_owned()),
        ("MEDIAFORGE_ENGINE__OPENAI__BASE_URL", format!("{address}/v1")),
        ("MEDIAFORGE_ENGINE__OPENAI__MODEL", "sd-xl".to_owned()),
        ("MEDIAFORGE_ENGINE__OPENAI__KEY__ENV", "IMAGES_KEY".to_owned()),
        ("IMAGES_KEY", KEY.to_owned()),
        ("MEDIAFORGE_TELEMETRY__FILTER", "debug".to_owned()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_sent_and_never_shown() {
    // Some servers repeat the request.
    let says = json!({ "error": { "message": format!("cannot work now, Bearer {KEY}") } });
    let server = server([ResponseTemplate::new(500).set_body_json(says)]).await;
    let variables = variables(&server.uri());
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let system = System::start(Topology::OneProcess, &variables).await;
    let body = json!({ "userId": "ada", "prompt": "a fox", "styleId": "flat-2d", "width": 300, "height": 260 });
    let id = crate::support::text(&system.post("/generate", &body).await.1, "illustrationId");
    let events = system.all_events(&format!("/illustrations/{id}/events?userId=ada"), None).await;
    let job = system.finished("ada", &id).await;
    assert_eq!((&job["status"], &job["attempt"], &job["modelUsed"]), (&"completed".into(), &2.into(), &"sd-xl".into()));
    let told = events
        .iter()
        .any(|event| event.data["lastError"]["message"].as_str().is_some_and(|m| m.contains("[redacted]")));
    assert!(told, "the server's words, without the key: {events:?}");

    let requests = server.received_requests().await.expect("recorded");
    let drawings: Vec<_> = requests.iter().filter(|request| request.method.as_str() == "POST").collect();
    assert_eq!(drawings.len(), 2);
    for request in &requests {
        assert_eq!(request.headers["authorization"], format!("Bearer {KEY}"));
    }
    let expected = json!({
        "model": "sd-xl", "prompt": job["finalPrompt"], "n": 1, "size": "304x272", "response_format": "b64_json",
    });
    assert_eq!(body_of(drawings[1]), expected);

    for command in [&["config"][..], &["doctor", "engine"], &["doctor", "engine", "--json"]] {
        let output = run(&system.data_dir(), &variables, command, &[]).await;
        assert!(output.status.success(), "{}", stderr(&output));
        let printed = [output.stdout.clone(), output.stderr.clone()].concat();
        assert!(!String::from_utf8_lossy(&printed).contains(KEY), "{command:?}");
        assert!(String::from_utf8_lossy(&printed).contains("IMAGES_KEY"), "{command:?}: where it comes from");
    }
    let logs = system.logs();
    assert!(logs.contains("\"DEBUG\"") || logs.contains("DEBUG"), "everything is logged");
    assert!(!logs.contains(KEY), "{logs}");
    assert!(!format!("{events:?}{job}").contains(KEY));
    system.finish().await;
}
