//! The choice of the engine, and jobs while it may not be called.

use serde_json::{Value, json};
use wiremock::ResponseTemplate;

use super::{
    vertex::{FLASH, PRO, Vertex},
    waits, warning, worker,
};
use crate::support::{System, text};

/// Once open, a breaker stays so for the rest of a test.
const PATIENT: [(&str, &str); 2] = [("MEDIAFORGE_BREAKER__COOLDOWN", "10m"), ("MEDIAFORGE_BREAKER__CAP", "10m")];
const STAND_IN: (&str, &str) = ("MEDIAFORGE_ENGINE__FALLBACK", "preview");

async fn drawn_in(system: &System, style: &str) -> Value {
    let body = json!({ "userId": "ada", "prompt": "a fox", "styleId": style, "width": 256, "height": 256 });
    let id = text(&system.post("/generate", &body).await.1, "illustrationId");
    let job = system.finished("ada", &id).await;
    assert_eq!(job["status"], "completed", "{job}");
    job
}

#[tokio::test(flavor = "multi_thread")]
async fn a_style_may_have_an_engine_of_its_own() {
    let vertex = Vertex::start().await;
    let system = vertex.system(&[("MEDIAFORGE_STYLES__WATERCOLOR__ENGINE", "best")]).await;
    assert_eq!(drawn_in(&system, "watercolor").await["modelUsed"], PRO);
    let plain = drawn_in(&system, "flat-2d").await;
    assert_eq!((&plain["modelUsed"], &plain["costUsd"]), (&FLASH.into(), &0.045.into()));
    assert_eq!(vertex.drawn_by().await, [PRO, FLASH]);
    for model in [PRO, FLASH] {
        assert_eq!(
            vertex.received(&format!("/v1/publishers/google/models/{model}")).await.len(),
            1,
            "looked for at the start"
        );
    }
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fallback_draws_for_an_overloaded_or_misconfigured_engine() {
    for (status, reason) in [(429, "RESOURCE_EXHAUSTED"), (403, "PERMISSION_DENIED")] {
        let vertex = Vertex::start().await;
        vertex.refuse(FLASH, status, reason, "not today");
        let system = vertex.system(&[PATIENT[0], PATIENT[1], STAND_IN]).await;
        for _ in 0..2 {
            let job = drawn_in(&system, "flat-2d").await;
            assert_eq!((&job["modelUsed"], &job["attempt"]), (&"preview".into(), &1.into()), "{status}: {job}");
            assert_eq!(job["costUsd"], 0.0, "{job}");
        }
        assert_eq!(vertex.drawings().await.len(), 1, "{status}: asked once, and then left alone");
        let ready = worker(&system).await;
        let breaker = &ready["engines"][0];
        assert_eq!(
            (&breaker["engine"], &breaker["state"]),
            (&format!("gemini/{FLASH}").into(), &"open".into()),
            "{ready}"
        );
        assert_eq!(breaker["misconfigured"], status == 403);
        if status == 403 {
            assert!(warning(&system, "is misconfigured").await.contains("roles/aiplatform.user"));
        }
        system.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_job_does_not_go_to_the_fallback() {
    let vertex = Vertex::start().await;
    vertex.next([ResponseTemplate::new(503), ResponseTemplate::new(500)]);
    let system = vertex.system(&[STAND_IN]).await;
    let job = drawn_in(&system, "flat-2d").await;
    assert_eq!((&job["modelUsed"], &job["attempt"]), (&FLASH.into(), &3.into()), "{job}");
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_fallback_jobs_wait_for_the_engine() {
    let vertex = Vertex::start().await;
    vertex.refuse(FLASH, 429, "RESOURCE_EXHAUSTED", "Quota exceeded for online_prediction_requests_per_base_model");
    let system = vertex.system(&[]).await;
    let ids = [system.submit("ada", "a fox").await, system.submit("ada", "a cat").await];
    for id in &ids {
        let job = waits(&system, id, "rate_limited").await;
        assert_eq!(job["attempt"], 0, "{job}");
    }
    assert_eq!(system.credits("ada").await, (998, 2, 0, 1000));
    vertex.is_well_again();
    for id in &ids {
        let job = system.finished("ada", id).await;
        assert_eq!(
            (&job["status"], &job["attempt"], &job["modelUsed"]),
            (&"completed".into(), &1.into(), &FLASH.into())
        );
    }
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_model_is_reported_and_costs_no_attempt() {
    let vertex = Vertex::start().await;
    let model = "gemini-gone";
    vertex.refuse(model, 404, "NOT_FOUND", "Publisher Model was not found");
    let system = vertex.system(&[("MEDIAFORGE_ENGINE__GEMINI__MODEL", model)]).await;
    let seen = warning(&system, &format!("has no model {model}")).await;
    assert!(seen.contains("engine.gemini.model"), "told at the start, before anybody asks for a picture: {seen}");
    let id = system.submit("ada", "a fox").await;
    let job = waits(&system, &id, "engine_misconfigured").await;
    assert_eq!(job["attempt"], 0, "{job}");
    assert!(warning(&system, "is misconfigured").await.contains(model));
    vertex.is_well_again();
    let job = system.finished("ada", &id).await;
    assert_eq!((&job["status"], &job["attempt"]), (&"completed".into(), &1.into()), "{job}");
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_models_service_is_reported() {
    let vertex = Vertex::start().await;
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("mediaforge.toml");
    let models = format!(
        "[engine]\nmodels = [{{ id = \"{FLASH}\", micro_usd = {{ any = 1000 }}, retires = \"2026-01-31\" }}]\n"
    );
    std::fs::write(&file, models).expect("a file");
    let system = vertex.system(&[("MEDIAFORGE_CONFIG", file.to_str().expect("text"))]).await;
    let told = warning(&system, "has ended on 2026-01-31").await;
    assert!(told.contains(FLASH) && told.contains("engine.aliases"), "{told}");
    // It draws as long as the provider serves it.
    assert_eq!(drawn_in(&system, "flat-2d").await["costUsd"], 0.001);
    system.finish().await;
}
