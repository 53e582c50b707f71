//! `GET /health`: the process lives. `GET /ready`: and so does what it needs.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    domain::Timestamp,
    gateway::{
        GatewayState,
        problem::{Code, Problem, WrongField},
    },
};

/// The process is alive.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Health)]
pub(in crate::gateway) struct Health {
    #[schema(example = "healthy")]
    status: &'static str,
    #[schema(example = "gateway")]
    service: &'static str,
    #[schema(example = "0.1.0")]
    version: &'static str,
    timestamp: Timestamp,
}

/// Everything the gateway needs answers.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Ready)]
pub(in crate::gateway) struct Ready {
    #[schema(example = "ready")]
    status: &'static str,
    #[schema(example = "gateway")]
    service: &'static str,
    checks: Checks,
}

/// The backends.
#[derive(Debug, Serialize, ToSchema)]
struct Checks {
    #[schema(example = "ok")]
    store: &'static str,
    #[schema(example = "ok")]
    queue: &'static str,
    #[schema(example = "ok")]
    media: &'static str,
}

/// Whether the process is alive
///
/// Touches nothing else: a process is not restarted because its database is.
#[utoipa::path(
    get,
    operation_id = "getHealth",
    path = "/health",
    tag = "service",
    responses((status = 200, description = "It is.", body = Health))
)]
pub(in crate::gateway) async fn health(State(gateway): State<GatewayState>) -> Json<Health> {
    let version = gateway.0.version;
    Json(Health { status: "healthy", service: "gateway", version, timestamp: gateway.now() })
}

/// Whether requests should be sent here
///
/// Asks the backends.
#[utoipa::path(
    get,
    operation_id = "getReady",
    path = "/ready",
    tag = "service",
    responses(
        (status = 200, description = "Everything needed answers.", body = Ready),
        (status = 503, description = "It is shutting down, or something needed does not answer: `errors` names it."),
    )
)]
pub(in crate::gateway) async fn ready(State(gateway): State<GatewayState>) -> Result<Json<Ready>, Problem> {
    if gateway.drain().is_cancelled() {
        return Err(Problem::new(Code::Draining, "this gateway is shutting down"));
    }
    let failing = gateway.readiness().failing_backends().await;
    if failing.is_empty() {
        let checks = Checks { store: "ok", queue: "ok", media: "ok" };
        return Ok(Json(Ready { status: "ready", service: "gateway", checks }));
    }
    // Anybody can read the answer: it has the kind of each error, and the log the rest.
    let named: Vec<_> = failing.iter().map(|(backend, error)| format!("{backend} {}", error.kind)).collect();
    let wrong = failing.iter().map(|(backend, error)| WrongField {
        pointer: format!("/{backend}"),
        detail: error.kind.to_string(),
        place: Some("backend"),
    });
    Err(Problem::new(Code::NotReady, named.join("; ")).with_errors(wrong.collect()))
}
