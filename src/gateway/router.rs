//! Every route of the API.

use axum::{
    Router,
    http::{HeaderName, Method, StatusCode, header},
    middleware,
    response::{IntoResponse as _, Response},
};
use tower_http::{catch_panic::CatchPanicLayer, cors::CorsLayer};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    GatewayState,
    admission::AdmitLayer,
    idempotency, observe, openapi, prefer,
    present::{BrandView, IllustrationView},
    problem::{Code, Problem},
    rate,
    routes::{credits, docs, events, generate, health, jobs, media, stream_tokens, styles, train, uploads},
};
use crate::server::REQUEST_ID;

/// The HTTP API as a service.
pub fn router(state: GatewayState) -> Router {
    let (api, description) = OpenApiRouter::with_openapi(openapi::base(&state))
        .routes(routes!(generate::generate))
        .merge(jobs::router::<IllustrationView<'static>>())
        .routes(routes!(uploads::create))
        .routes(routes!(uploads::put))
        .routes(routes!(train::train))
        .merge(jobs::router::<BrandView<'static>>())
        .routes(routes!(events::all_events))
        .routes(routes!(stream_tokens::for_all))
        .routes(routes!(styles::list))
        .routes(routes!(credits::get))
        .routes(routes!(health::health))
        .routes(routes!(health::ready))
        .routes(routes!(media::get))
        .split_for_parts();
    let description = openapi::complete(description, &state);
    let pages = docs::router(&description);
    api.merge(pages)
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer((CatchPanicLayer::custom(observe::panicked), AdmitLayer(state.clone())))
        .layer(cors(&state))
        .layer(middleware::from_fn_with_state(state.clone(), observe::observe))
        .with_state(state)
}

async fn no_such_route() -> Problem {
    Problem::new(Code::NotFound, "there is no such path; GET /openapi.json lists all paths")
}

/// axum adds the `Allow` header.
async fn no_such_method(method: Method) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    Problem::new(Code::MethodNotAllowed, format!("{method} is not allowed here; see the Allow header")).into_response()
}

fn cors(state: &GatewayState) -> tower::util::Either<CorsLayer, tower::layer::util::Identity> {
    if state.0.cors_origins.is_empty() {
        return tower::util::Either::Right(tower::layer::util::Identity::new());
    }
    let layer = CorsLayer::new()
        .allow_origin(state.0.cors_origins.clone())
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::RANGE,
            idempotency::IDEMPOTENCY_KEY,
            prefer::PREFER,
            REQUEST_ID,
            HeaderName::from_static("last-event-id"),
            HeaderName::from_static("traceparent"),
        ])
        .expose_headers([
            header::LOCATION,
            header::LINK,
            header::RETRY_AFTER,
            header::ETAG,
            header::CONTENT_RANGE,
            header::WWW_AUTHENTICATE,
            idempotency::IDEMPOTENCY_REPLAYED,
            prefer::PREFERENCE_APPLIED,
            rate::RATELIMIT,
            rate::RATELIMIT_POLICY,
            REQUEST_ID,
        ])
        .max_age(std::time::Duration::from_mins(10));
    tower::util::Either::Left(layer)
}
