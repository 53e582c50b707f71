//! `GET /health`: the process is alive. `GET /ready`: its backends respond.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    domain::Timestamp,
    gateway::{
        GatewayState,
        problem::{Code, InvalidField, Problem},
    },
};

/// The state of the process.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::gateway) struct Health {
    #[schema(example = "healthy")]
    status: &'static str,
    #[schema(example = "gateway")]
    service: &'static str,
    #[schema(example = "0.1.0")]
    version: &'static str,
    timestamp: Timestamp,
}

/// The state of the gateway and its backends.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::gateway) struct Readiness {
    #[schema(example = "ready")]
    status: &'static str,
    #[schema(example = "gateway")]
    service: &'static str,
    checks: ReadinessChecks,
}

/// The state of each backend.
#[derive(Debug, Serialize, ToSchema)]
struct ReadinessChecks {
    #[schema(example = "ok")]
    store: &'static str,
    #[schema(example = "ok")]
    queue: &'static str,
    #[schema(example = "ok")]
    media: &'static str,
}

/// Check whether the process is alive
///
/// Does not check the backends: a failing database is not a reason to restart this process.
#[utoipa::path(
    get,
    operation_id = "getHealth",
    path = "/health",
    tag = "service",
    responses((status = 200, description = "The process is alive.", body = Health))
)]
pub(in crate::gateway) async fn health(State(gateway): State<GatewayState>) -> Json<Health> {
    let version = gateway.0.version;
    Json(Health { status: "healthy", service: "gateway", version, timestamp: gateway.now() })
}

/// Check whether the gateway can serve requests
///
/// Checks all backends.
#[utoipa::path(
    get,
    operation_id = "getReady",
    path = "/ready",
    tag = "service",
    responses(
        (status = 200, description = "All backends respond.", body = Readiness),
        (status = 503, description = "The gateway is shutting down, or a backend does not respond: `errors` names it."),
    )
)]
pub(in crate::gateway) async fn ready(State(gateway): State<GatewayState>) -> Result<Json<Readiness>, Problem> {
    if gateway.drain().is_cancelled() {
        return Err(Problem::new(Code::Draining, "this gateway is shutting down"));
    }
    let failing = gateway.readiness().failing_backends().await;
    if failing.is_empty() {
        let checks = ReadinessChecks { store: "ok", queue: "ok", media: "ok" };
        return Ok(Json(Readiness { status: "ready", service: "gateway", checks }));
    }
    // The response is public, so it contains only the kind of each error. The log has the rest.
    let kinds: Vec<_> = failing.iter().map(|(backend, error)| format!("{backend} {}", error.kind)).collect();
    let errors = failing.iter().map(|(backend, error)| InvalidField {
        pointer: format!("/{backend}"),
        detail: error.kind.to_string(),
        location: Some("backend"),
    });
    Err(Problem::new(Code::NotReady, kinds.join("; ")).with_errors(errors.collect()))
}
