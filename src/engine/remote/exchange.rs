//! One request and its answer, within the limits of a call.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use reqwest::{Client, Request, Response};

use super::Limits;
use crate::domain::failure::{AttemptFailure, ErrorCode};

/// An answer, read to its end.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Reply {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Sends a request of this attempt to `who` and reads the answer, never more of it than the limit.
pub(super) async fn exchange(
    http: &Client,
    request: Request,
    who: &str,
    limits: &Limits,
    attempt: u32,
) -> Result<Reply, AttemptFailure> {
    let host = request.url().host_str().unwrap_or_default().to_owned();
    let exchanged = async {
        let response = http.execute(request).await.map_err(|error| broken(who, &host, error))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = read(response, who, &host, limits.answer, attempt).await?;
        Ok(Reply { status, headers, body })
    };
    tokio::time::timeout(limits.call, exchanged).await.unwrap_or_else(|_| {
        let message = format!("{who} did not answer within {:?}", limits.call);
        Err(AttemptFailure::retry(ErrorCode::EngineTimeout, message))
    })
}

async fn read(
    mut response: Response,
    who: &str,
    host: &str,
    limit: usize,
    attempt: u32,
) -> Result<Bytes, AttemptFailure> {
    let too_long = || AttemptFailure::unusable(attempt, format!("{who} answers with more than {limit} bytes"));
    if response.content_length().is_some_and(|length| length > limit as u64) {
        return Err(too_long());
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| broken(who, host, error))? {
        if body.len() + chunk.len() > limit {
            return Err(too_long());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// The address is left out but for its host: what else it says is the operator's to know.
fn broken(who: &str, host: &str, error: reqwest::Error) -> AttemptFailure {
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    if error.is_timeout() {
        return AttemptFailure::retry(ErrorCode::EngineTimeout, format!("{who} at {host} takes too long: {cause}"));
    }
    let what = if error.is_connect() { "cannot be reached" } else { "broke the connection off" };
    AttemptFailure::retry(ErrorCode::EngineUnavailable, format!("{who} at {host} {what}: {cause}"))
}
