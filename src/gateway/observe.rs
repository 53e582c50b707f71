//! Around every request: its id, its trace, its span, its line in the log; and around every answer: the headers that
//! all have, and the document of a problem.

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
use crate::domain::{clock::Random, ids, trace::TraceContext};

/// Names a request, in answers and in the log.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Browsers that came by https once do not come by http for a year.
const ONLY_HTTPS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// What JSON and redirects may load and be framed by: nothing.
const API_POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

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
    // The pattern, neither the path nor the query: they may carry what the log is not to know (tokens), without a bound.
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
        let mut response = complete(response, uri.path(), request_id);
        if is_https {
            response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, ONLY_HTTPS);
        }
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

/// A panic is a defect: the log gets its message, the client does not.
#[expect(clippy::needless_pass_by_value, reason = "the shape that `CatchPanicLayer` calls")]
pub(super) fn panicked(payload: Box<dyn std::any::Any + Send>) -> Response {
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("of a kind that is no text");
    tracing::error!(panic = message, "a handler panicked");
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}

fn complete(response: Response, path: &str, request_id: HeaderValue) -> Response {
    let (mut parts, mut body) = response.into_parts();
    let is_problem = parts.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == problem::CONTENT_TYPE);
    let found = parts.extensions.get::<Problem>().cloned();
    let problem = found.or_else(|| Problem::of_status(parts.status).filter(|_| !is_problem));
    if let Some(problem) = problem {
        body = Body::from(problem.document(path, request_id.to_str().unwrap_or_default()));
        parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(problem::CONTENT_TYPE));
        parts.headers.remove(header::CONTENT_LENGTH);
        parts.extensions.insert(problem);
    }
    let headers = &mut parts.headers;
    headers.insert(REQUEST_ID, request_id);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    // A route that knows better has said so.
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(API_POLICY);
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    Response::from_parts(parts, body)
}

/// The client's trace goes on here; nobody vouches for it, so all it can do is tie log lines together.
fn trace(headers: &HeaderMap, random: &dyn Random) -> TraceContext {
    let given = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    given.map_or_else(|| TraceContext::root(random), |trace: TraceContext| trace.child(random))
}

fn request_id(headers: &HeaderMap, random: &dyn Random) -> HeaderValue {
    let id = ids::request_id(headers.get(REQUEST_ID).map(HeaderValue::as_bytes), random);
    HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("req_unknown"))
}

/// Whether browsers come by https. A client that claims it falsely gets a header that no browser heeds over http.
fn is_https(gateway: &GatewayState, headers: &HeaderMap) -> bool {
    let public = gateway.0.public_url.as_deref().is_some_and(|url| url.starts_with("https://"));
    public || headers.get(FORWARDED_PROTO).is_some_and(|proto| proto == "https")
}
