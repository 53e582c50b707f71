//! The endpoints that Pub/Sub (or the embedded broker) and the scheduler call.

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::json;

use super::{Worker, delivery::Answer};
use crate::{domain::job::JobKind, jobs::Circuit};

/// Bytes of a push, at most: a Pub/Sub message of 10 MB is 13.4 MB of JSON, and a 413 would be a refusal for ever.
const PUSH_LIMIT: usize = 14 << 20;

/// Seconds a refused caller is asked to wait; Pub/Sub goes by its own backoff, other callers can use it.
const RETRY_AFTER: &str = "5";

/// The worker's endpoints.
pub fn router(worker: Worker) -> Router {
    Router::new()
        .route("/process-generation", post(process_generation))
        .route("/process-training", post(process_training))
        .route("/sweep", post(sweep))
        .route("/health", get(health))
        .route("/ready", get(ready))
        .layer(DefaultBodyLimit::max(PUSH_LIMIT))
        .with_state(worker)
}

async fn process_generation(State(worker): State<Worker>, body: Bytes) -> Response {
    respond(worker.deliver(&body, JobKind::Illustration).await)
}

async fn process_training(State(worker): State<Worker>, body: Bytes) -> Response {
    respond(worker.deliver(&body, JobKind::Brand).await)
}

fn respond(answer: Answer) -> Response {
    match answer {
        Answer::Acknowledged(outcome) => Json(json!({ "outcome": outcome })).into_response(),
        Answer::Refused(reason) => refuse(reason),
    }
}

fn refuse(reason: &str) -> Response {
    let body = Json(json!({ "outcome": "refused", "reason": reason }));
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, RETRY_AFTER)], body).into_response()
}

async fn sweep(State(worker): State<Worker>) -> Response {
    match worker.jobs.sweep().await {
        Ok(swept) => Json(swept).into_response(),
        Err(error) => {
            tracing::error!(%error, "sweep failed");
            refuse("the store does not answer")
        }
    }
}

async fn health(State(worker): State<Worker>) -> Response {
    let timestamp = worker.jobs.ports().clock.now();
    let version = env!("CARGO_PKG_VERSION");
    Json(json!({ "status": "healthy", "service": "worker", "version": version, "timestamp": timestamp }))
        .into_response()
}

async fn ready(State(worker): State<Worker>) -> Response {
    if worker.draining.is_cancelled() {
        return refuse("draining");
    }
    let ports = worker.jobs.ports();
    let (store, queue, media) = tokio::join!(ports.store.ping(), ports.queue.ping(), ports.media.ping());
    let failed: Vec<_> = [("store", store), ("queue", queue), ("media", media)]
        .into_iter()
        .filter_map(|(name, result)| result.err().map(|error| (name, error)))
        .collect();
    if failed.is_empty() {
        // An engine that is left alone does not make the worker unready: it claims nothing for it, and works for the others.
        let engines = worker.jobs.circuits();
        let warnings: Vec<_> = engines.iter().filter(|engine| engine.misconfigured).map(warning).collect();
        let slots = worker.slots.available_permits();
        let body = json!({ "status": "ready", "freeSlots": slots, "engines": engines, "warnings": warnings });
        return Json(body).into_response();
    }
    for (backend, error) in &failed {
        tracing::error!(backend, %error, "not ready");
    }
    let names: Vec<_> = failed.iter().map(|(name, _)| *name).collect();
    refuse(&format!("not ready: {}", names.join(", ")))
}

fn warning(circuit: &Circuit) -> String {
    let reason = circuit.reason.as_ref().map_or("no reason is known", |reason| reason.message.as_str());
    format!("{} is misconfigured and its jobs wait: {reason}", circuit.engine)
}
