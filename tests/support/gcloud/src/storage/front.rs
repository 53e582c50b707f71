//! The proxy in front of the server.

use std::sync::{Arc, PoisonError, atomic::Ordering};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, Uri, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{Front, Recorded, signature::Refusal};

type ProxyResult = Result<Response, Refusal>;

const MISSING: Refusal = Refusal(404, "NoSuchKey");
const UNMET: Refusal = Refusal(412, "PreconditionFailed");

/// Answers a request.
pub(super) async fn answer(State(front): State<Arc<Front>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else { return StatusCode::BAD_REQUEST.into_response() };
    let Parts { method, uri, headers, .. } = parts;
    let recorded = Recorded { method, uri, headers, body };
    front.requests.lock().unwrap_or_else(PoisonError::into_inner).push(recorded.clone());
    let Recorded { method, uri, headers, body } = recorded;
    let is_json = ["/storage/", "/upload/", "/download/"].iter().any(|api| uri.path().starts_with(api));
    let answer = if is_json {
        front.json(&method, &uri, &headers, body).await
    } else {
        front.xml(&method, &uri, &headers, body).await
    };
    answer.unwrap_or_else(|refusal| refused(refusal, is_json))
}

impl Front {
    /// The JSON API: the conditions of copies and deletes.
    async fn json(&self, method: &Method, uri: &Uri, headers: &HeaderMap, body: Bytes) -> ProxyResult {
        let condition = parameter(uri, "ifGenerationMatch");
        let target = match uri.path().split_once("/rewriteTo/") {
            Some((_, target)) if method == Method::POST => Some(format!("/storage/v1/{target}")),
            _ => (method == Method::DELETE).then(|| uri.path().to_owned()),
        };
        let (Some(target), Some(condition)) = (target, condition) else {
            return self.forward(method, uri, headers, body).await;
        };
        let turn = self.turn.lock().await;
        let generation = self.generation(&target).await?;
        let holds = match generation.as_deref() {
            None if condition == "0" => true,
            None => return Err(MISSING),
            Some(generation) => generation == condition,
        };
        if !holds {
            return Err(UNMET);
        }
        let answer = self.forward(method, uri, headers, body).await;
        drop(turn);
        answer
    }

    /// The XML API, for signed URLs.
    async fn xml(&self, method: &Method, uri: &Uri, headers: &HeaderMap, body: Bytes) -> ProxyResult {
        if parameter(uri, "X-Goog-Signature").is_none() {
            let may = self.public.load(Ordering::SeqCst) && [Method::GET, Method::HEAD].contains(method);
            return if may {
                self.forward(method, uri, headers, body).await
            } else {
                Err(Refusal(403, "AccessDenied"))
            };
        }
        self.key.check(method, uri, headers, self.now())?;
        if method != Method::PUT {
            return self.forward(method, uri, headers, body).await;
        }
        if let Some(range) = text(headers, "x-goog-content-length-range") {
            let mut bounds = range.split(',').map(|bound| bound.trim().parse::<usize>().unwrap_or_default());
            let (least, most) = (bounds.next().unwrap_or_default(), bounds.next().unwrap_or_default());
            if body.len() > most {
                return Err(Refusal(400, "EntityTooLarge"));
            }
            if body.len() < least {
                return Err(Refusal(400, "EntityTooSmall"));
            }
        }
        let turn = self.turn.lock().await;
        if text(headers, "x-goog-if-generation-match") == Some("0") {
            let Some((bucket, object)) = uri.path().trim_start_matches('/').split_once('/') else {
                return Err(MISSING);
            };
            let object = format!("/storage/v1/b/{bucket}/o/{}", object.replace('/', "%2F"));
            if self.generation(&object).await?.is_some() {
                return Err(UNMET);
            }
        }
        let answer = self.forward(method, uri, headers, body).await;
        drop(turn);
        answer
    }

    /// The generation of the object, if it exists.
    async fn generation(&self, path: &str) -> Result<Option<String>, Refusal> {
        let answer = self.client.get(format!("{}{path}", self.server)).send().await.map_err(|_| unreachable())?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let object: Value = answer.json().await.map_err(|_| unreachable())?;
        Ok(object["generation"].as_str().map(str::to_owned))
    }

    async fn forward(&self, method: &Method, uri: &Uri, headers: &HeaderMap, body: Bytes) -> ProxyResult {
        let mut headers = headers.clone();
        // Headers of the connection; the client sets its own.
        for name in [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION] {
            headers.remove(name);
        }
        let request = self.client.request(method.clone(), format!("{}{uri}", self.server));
        let answer = request.headers(headers).body(body).send().await.map_err(|_| unreachable())?;
        let (status, mut headers) = (answer.status(), answer.headers().clone());
        headers.remove(header::TRANSFER_ENCODING);
        headers.remove(header::CONNECTION);
        let body = if method == Method::HEAD {
            Body::empty()
        } else {
            headers.remove(header::CONTENT_LENGTH);
            Body::from(answer.bytes().await.map_err(|_| unreachable())?)
        };
        Ok((status, headers, body).into_response())
    }

    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "URLs are signed by the clock of this machine")]
        let now = Timestamp::now();
        now + SignedDuration::from_secs(i64::try_from(self.ahead.load(Ordering::SeqCst)).unwrap_or_default())
    }
}

fn unreachable() -> Refusal {
    Refusal(503, "ServiceUnavailable")
}

fn parameter<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    uri.query()?.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn refused(Refusal(status, code): Refusal, is_json: bool) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if is_json {
        let body = serde_json::json!({ "error": { "code": status.as_u16(), "message": code } });
        return (status, axum::Json(body)).into_response();
    }
    let body = format!("<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code></Error>");
    (status, [(header::CONTENT_TYPE, "application/xml; charset=UTF-8")], body).into_response()
}
