//! The outermost layer of the router: the request id, and the headers of every response.

use axum::{
    extract::{Request, State},
    http::HeaderValue,
    middleware::Next,
    response::Response,
};
use tracing::Instrument as _;

use super::Worker;
use crate::{
    domain::ids,
    server::{self, REQUEST_ID},
};

pub(super) async fn observe(State(worker): State<Worker>, request: Request, next: Next) -> Response {
    let given = request.headers().get(REQUEST_ID).map(HeaderValue::as_bytes);
    let id = ids::request_id(given, &*worker.random);
    let is_https = server::is_forwarded_https(request.headers());
    let span = tracing::info_span!("request", request_id = %id);
    let mut response = next.run(request).instrument(span).await;
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("req_unknown")));
    server::add_security_headers(headers, is_https);
    response
}
