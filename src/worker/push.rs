//! The endpoints that Pub/Sub (or the embedded broker) and the scheduler call.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::json;
use tokio::time::timeout;
use tower_http::catch_panic::CatchPanicLayer;

use super::{Worker, delivery::PushOutcome, observe};
use crate::{domain::kind::JobKind, identity::IdentityError, jobs::BreakerStatus};

/// Bytes of a push, at most: a Pub/Sub message of 10 MB is 13.4 MB of JSON, and a 413 would be a refusal for ever.
const PUSH_LIMIT: usize = 14 << 20;

/// Seconds a refused caller is asked to wait; Pub/Sub goes by its own backoff, other callers can use it.
const RETRY_AFTER: &str = "5";

/// The worker's endpoints.
pub fn router(worker: Worker) -> Router {
    Router::new()
        .route(JobKind::Illustration.endpoint(), post(process_generation))
        .route(JobKind::Brand.endpoint(), post(process_training))
        .route("/sweep", post(sweep))
        .route_layer(middleware::from_fn_with_state(worker.clone(), identified))
        .route("/ready", get(ready))
        .layer(middleware::from_fn_with_state(worker.clone(), in_turn))
        // Answered whatever happens: an orchestrator that hears nothing kills the process that is busy.
        .route("/health", get(health))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(worker.clone(), observe::observe))
        .with_state(worker)
}

async fn process_generation(State(worker): State<Worker>, request: Request) -> Response {
    process(worker, request, JobKind::Illustration).await
}

async fn process_training(State(worker): State<Worker>, request: Request) -> Response {
    process(worker, request, JobKind::Brand).await
}

async fn process(worker: Worker, request: Request, kind: JobKind) -> Response {
    let (parts, body) = request.into_parts();
    let announced = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > PUSH_LIMIT as u64) {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    }
    // Who sends a byte now and then is not to hold a connection, and a permit, for ever.
    match timeout(worker.settings.body_timeout, Limited::new(body, PUSH_LIMIT).collect()).await {
        Ok(Ok(body)) => respond(worker.deliver(&body.to_bytes(), kind).await),
        Ok(Err(error)) if error.is::<LengthLimitError>() => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Ok(Err(_)) => StatusCode::BAD_REQUEST.into_response(),
        Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
    }
}

/// Lets a request in unless too many are in hand.
async fn in_turn(State(worker): State<Worker>, request: Request, next: Next) -> Response {
    let Some(permits) = &worker.permits else { return next.run(request).await };
    let Ok(_permit) = permits.try_acquire() else { return refuse("too many requests at once") };
    next.run(request).await
}

/// Lets those in who may push, by their headers alone: nothing of a stranger's body is read.
async fn identified(State(worker): State<Worker>, request: Request, next: Next) -> Response {
    let Some(callers) = &worker.callers else { return next.run(request).await };
    match callers.verify(request.headers()).await {
        Ok(()) => next.run(request).await,
        Err(IdentityError::KeysUnavailable { .. }) => {
            tracing::warn!("callers cannot be identified: the keys of tokens were not fetched");
            refuse("the keys that tokens are signed with cannot be fetched")
        }
        Err(why) => {
            tracing::warn!(cause = %why, "caller not identified");
            let challenge = [(header::WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"")];
            let body = Json(json!({ "outcome": "refused", "reason": "unauthorized" }));
            (StatusCode::UNAUTHORIZED, challenge, body).into_response()
        }
    }
}

/// A panic is a defect: the log gets its message, the caller does not.
#[expect(clippy::needless_pass_by_value, reason = "the shape that `CatchPanicLayer` calls")]
fn panicked(payload: Box<dyn std::any::Any + Send>) -> Response {
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref().map(String::as_str));
    tracing::error!(panic = text.unwrap_or("of a kind that is no text"), "a handler panicked");
    let body = Json(json!({ "outcome": "refused", "reason": "internal" }));
    (StatusCode::INTERNAL_SERVER_ERROR, body).into_response()
}

fn respond(answer: PushOutcome) -> Response {
    match answer {
        PushOutcome::Acknowledged(outcome) => Json(json!({ "outcome": outcome })).into_response(),
        PushOutcome::Refused(reason) => refuse(reason),
    }
}

fn refuse(reason: &str) -> Response {
    let body = Json(json!({ "outcome": "refused", "reason": reason }));
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, RETRY_AFTER)], body).into_response()
}

async fn sweep(State(worker): State<Worker>) -> Response {
    // A task of its own: when the caller hangs up, this future is dropped, and what follows a commit must not be.
    let maintenance = Arc::clone(&worker.maintenance);
    match worker.attempts.spawn(async move { maintenance.sweep().await }).await {
        Ok(Ok(swept)) => Json(swept).into_response(),
        Ok(Err(error)) => {
            tracing::error!(%error, "sweep failed");
            refuse("the store does not answer")
        }
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => refuse("stopping"),
        },
    }
}

async fn health(State(worker): State<Worker>) -> Response {
    let timestamp = worker.clock.now();
    let version = env!("CARGO_PKG_VERSION");
    Json(json!({ "status": "healthy", "service": "worker", "version": version, "timestamp": timestamp }))
        .into_response()
}

async fn ready(State(worker): State<Worker>) -> Response {
    if worker.draining.is_cancelled() {
        return refuse("draining");
    }
    let failing = worker.readiness.failing_backends().await;
    if failing.is_empty() {
        // An engine that is left alone does not make the worker unready: it claims nothing for it, and works for the others.
        let engines = worker.execution.breakers();
        let misconfigured = engines.iter().filter(|engine| engine.misconfigured).map(warning);
        let warnings: Vec<_> = misconfigured.chain(worker.execution.engine_warnings()).collect();
        let slots = worker.slots.available_permits();
        let body = json!({ "status": "ready", "freeSlots": slots, "engines": engines, "warnings": warnings });
        return Json(body).into_response();
    }
    let named: Vec<_> = failing.iter().map(|(backend, error)| format!("{backend} {}", error.kind)).collect();
    refuse(&format!("not ready: {}", named.join(", ")))
}

fn warning(breaker: &BreakerStatus) -> String {
    let reason = breaker.reason.as_ref().map_or("no reason is known", |reason| reason.message.as_str());
    format!("{} is misconfigured and its jobs wait: {reason}", breaker.engine)
}
