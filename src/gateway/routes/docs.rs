//! `/openapi.json`, and `/docs`, the page that shows it.

use axum::{
    Router,
    http::{HeaderValue, header},
    middleware,
    response::{IntoResponse as _, Redirect, Response},
    routing::get,
};
use bytes::Bytes;
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::gateway::GatewayState;

/// Allows the page's own scripts and the inline styles that they write, and nothing from other origins.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'",
);
const PAGE: &str = "/docs/";
const DOCUMENT: &str = "/openapi.json";

/// The pages for developers who use the API.
pub(in crate::gateway) fn router(description: &OpenApi) -> Router<GatewayState> {
    // Rendered once, because it does not change while the process runs.
    let document = Bytes::from(description.to_pretty_json().unwrap_or_default());
    let config = Config::from(DOCUMENT).try_it_out_enabled(true).display_request_duration(true).validator_url("none");
    let page = Router::from(SwaggerUi::new("/docs").config(config)).layer(middleware::map_response(with_page_policy));
    Router::new()
        .route("/", get(|| async { Redirect::temporary(PAGE) }))
        .route(DOCUMENT, get(move || async move { json(document) }))
        .merge(page)
}

fn json(document: Bytes) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, document).into_response()
}

async fn with_page_policy(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, PAGE_POLICY);
    response
}
