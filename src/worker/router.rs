//! The worker's HTTP endpoints: pushes of Pub/Sub or the embedded broker, sweeps of the scheduler, and probes.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::json;
use tower_http::catch_panic::CatchPanicLayer;

use super::{Worker, observe, push};
use crate::{
    domain::{kind::JobKind, message::PushOutcome},
    identity::IdentityError,
    jobs::BreakerStatus,
};

/// Seconds after which a refused caller may try again. Pub/Sub ignores this and uses its own backoff.
const RETRY_AFTER: &str = "5";

/// The worker's endpoints.
pub fn router(worker: Worker) -> Router {
    let push_routes = JobKind::ALL.into_iter().fold(Router::new(), |routes, kind| {
        let receive = move |State(worker): State<Worker>, request: Request| async move {
            push::receive(worker, request, kind).await.map_or_else(IntoResponse::into_response, reply)
        };
        routes.route(kind.endpoint(), post(receive))
    });
    push_routes
        .route("/sweep", post(sweep))
        .route_layer(middleware::from_fn_with_state(worker.clone(), authenticate))
        .route("/ready", get(ready))
        .layer(middleware::from_fn_with_state(worker.clone(), limit_requests))
        // Outside the limit: an orchestrator kills a busy process that does not answer its probe.
        .route("/health", get(health))
        .layer(CatchPanicLayer::custom(internal_error))
        .layer(middleware::from_fn_with_state(worker.clone(), observe::observe))
        .with_state(worker)
}

/// Refuses a request if too many are in progress.
async fn limit_requests(State(worker): State<Worker>, request: Request, next: Next) -> Response {
    let Some(permits) = &worker.permits else { return next.run(request).await };
    let Ok(_permit) = permits.try_acquire() else { return refuse("too many requests at once") };
    next.run(request).await
}

/// Refuses callers that may not push. Looks at the headers only, so that a stranger cannot make the worker read a body.
async fn authenticate(State(worker): State<Worker>, request: Request, next: Next) -> Response {
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

/// Replies to a request whose handler panicked. The message goes to the log and not to the caller.
#[expect(clippy::needless_pass_by_value, reason = "`CatchPanicLayer` calls this signature")]
fn internal_error(payload: Box<dyn std::any::Any + Send>) -> Response {
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref().map(String::as_str));
    tracing::error!(panic = text.unwrap_or("not a string"), "a handler panicked");
    let body = Json(json!({ "outcome": "refused", "reason": "internal" }));
    (StatusCode::INTERNAL_SERVER_ERROR, body).into_response()
}

/// Tells a pushing queue what to do with its message: a success status acknowledges it, 503 refuses it.
fn reply(outcome: PushOutcome) -> Response {
    match outcome {
        PushOutcome::Acknowledged(outcome) => Json(json!({ "outcome": outcome })).into_response(),
        PushOutcome::Refused(reason) => refuse(reason),
    }
}

fn refuse(reason: &str) -> Response {
    let body = Json(json!({ "outcome": "refused", "reason": reason }));
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, RETRY_AFTER)], body).into_response()
}

async fn sweep(State(worker): State<Worker>) -> Response {
    // A task of its own, because this future is dropped when the caller disconnects; the steps after a commit must run.
    let maintenance = Arc::clone(&worker.maintenance);
    match worker.attempts.spawn(async move { maintenance.sweep().await }).await {
        Ok(Ok(report)) => Json(report).into_response(),
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
    if !failing.is_empty() {
        let failing: Vec<_> = failing.iter().map(|(backend, error)| format!("{backend} {}", error.kind)).collect();
        return refuse(&format!("not ready: {}", failing.join(", ")));
    }
    // A paused engine does not make the worker unready: the worker claims no jobs for it and works for the others.
    let engines = worker.execution.breakers();
    let misconfigured = engines.iter().filter(|engine| engine.misconfigured).map(misconfiguration);
    let warnings: Vec<_> = misconfigured.chain(worker.execution.engine_warnings()).collect();
    let free_slots = worker.slots.available_permits();
    let body = json!({ "status": "ready", "freeSlots": free_slots, "engines": engines, "warnings": warnings });
    Json(body).into_response()
}

fn misconfiguration(breaker: &BreakerStatus) -> String {
    let reason = breaker.reason.as_ref().map_or("the reason is unknown", |reason| reason.message.as_str());
    format!("{} is misconfigured and its jobs wait: {reason}", breaker.engine)
}
