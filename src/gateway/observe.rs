//! Gives every request an id, a trace, a span and a log line, and every response the common headers and, for an error, the
//! problem document.

use axum::{
    body::Body,
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::Response,
};
use tokio::time::Instant;
use tracing::{Instrument as _, field};

use super::{
    GatewayState,
    problem::{self, Problem},
};
use crate::{
    domain::{clock::Random, ids, trace::TraceContext},
    server::{self, REQUEST_ID},
};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The outermost layer.
pub(super) async fn observe(State(gateway): State<GatewayState>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let random = gateway.random();
    let trace = trace(request.headers(), random);
    let request_id = request_id(request.headers(), random);
    let is_https = is_https(&gateway, request.headers());
    let method = request.method().clone();
    let uri = request.uri().clone();
    let matched = request.extensions().get::<MatchedPath>().cloned();
    // Log the route pattern instead of path and query, which may contain tokens and have unbounded length.
    let route = matched.as_ref().map_or("unmatched", MatchedPath::as_str);
    let span = tracing::info_span!(
        "request",
        trace_id = field::Empty,
        request_id = %request_id.to_str().unwrap_or_default(),
        %method,
        route
    );
    if !span.is_disabled() {
        span.record("trace_id", trace.trace_id());
    }
    request.extensions_mut().insert(trace);
    async {
        let response = next.run(request).await;
        let response = complete(response, uri.path(), request_id, is_https);
        let status = response.status();
        let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let code = response.extensions().get::<Problem>().map(Problem::code);
        match status.as_u16() {
            500.. => tracing::warn!(status = status.as_u16(), ms, code, "request failed"),
            400.. => tracing::info!(status = status.as_u16(), ms, code, "request refused"),
            _ => tracing::debug!(status = status.as_u16(), ms, "request answered"),
        }
        response
    }
    .instrument(span)
    .await
}

/// Logs the message of a panic; the client does not receive it.
#[expect(clippy::needless_pass_by_value, reason = "the signature that `CatchPanicLayer` requires")]
pub(super) fn panicked(payload: Box<dyn std::any::Any + Send>) -> Response {
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("the panic has no text");
    tracing::error!(panic = message, "a handler panicked");
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}

fn complete(response: Response, path: &str, request_id: HeaderValue, is_https: bool) -> Response {
    let (mut parts, mut body) = response.into_parts();
    let is_problem = parts.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == problem::CONTENT_TYPE);
    let problem = parts.extensions.get::<Problem>().cloned();
    let problem = problem.or_else(|| Problem::of_status(parts.status).filter(|_| !is_problem));
    if let Some(problem) = problem {
        body = Body::from(problem.document(path, request_id.to_str().unwrap_or_default()));
        parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(problem::CONTENT_TYPE));
        parts.headers.remove(header::CONTENT_LENGTH);
        parts.extensions.insert(problem);
    }
    parts.headers.insert(REQUEST_ID, request_id);
    server::add_security_headers(&mut parts.headers, is_https);
    Response::from_parts(parts, body)
}

/// Continues the client's trace. It is not trusted: it only connects log lines.
fn trace(headers: &HeaderMap, random: &dyn Random) -> TraceContext {
    let given = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    given.map_or_else(|| TraceContext::root(random), |trace: TraceContext| trace.child(random))
}

fn request_id(headers: &HeaderMap, random: &dyn Random) -> HeaderValue {
    let id = ids::request_id(headers.get(REQUEST_ID).map(HeaderValue::as_bytes), random);
    HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("req_unknown"))
}

fn is_https(gateway: &GatewayState, headers: &HeaderMap) -> bool {
    let is_public = gateway.0.public_url.as_deref().is_some_and(|url| url.starts_with("https://"));
    is_public || server::is_forwarded_https(headers)
}
