//! Requests to Google's REST services, and what their refusals mean.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http::{HeaderMap, StatusCode};
use reqwest::{Client, RequestBuilder};
use serde::Deserialize;

use crate::{
    domain::failure::{AttemptFailure, Disposition, ErrorCode},
    google::token::TokenSource,
};

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Letters of a provider's message that are passed on.
const MESSAGE: usize = 300;

/// Sends requests with a token.
pub(super) struct Rest {
    pub(super) client: Client,
    /// `None` for a stand-in that asks for no token.
    pub(super) tokens: Option<Arc<dyn TokenSource>>,
}

/// What was answered.
pub(super) struct RestResponse {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// A refusal as Google writes it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Refusal {
    error: RefusalError,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RefusalError {
    message: String,
    details: Vec<Detail>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Detail {
    reason: String,
}

impl Rest {
    /// Sends what `request` makes, a second time with a new token when the first is refused. A body of more than `most`
    /// bytes is an error.
    pub(super) async fn send(
        &self,
        most: usize,
        request: impl Fn(&Client) -> RequestBuilder,
    ) -> Result<RestResponse, AttemptFailure> {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut sent = request(&self.client).timeout(TIMEOUT);
            let mut generation = None;
            if let Some(tokens) = &self.tokens {
                let authorization = tokens.authorization().await.map_err(|error| {
                    if error.is_transient {
                        AttemptFailure::retry(ErrorCode::EngineUnavailable, "no token for Google Cloud came")
                    } else {
                        AttemptFailure::misconfigured(format!("there are no credentials for Google Cloud: {error}"))
                    }
                })?;
                generation = Some(authorization.generation);
                sent = sent.headers(authorization.headers);
            }
            let answer = receive(sent, most).await?;
            match (&self.tokens, generation) {
                (Some(tokens), Some(generation)) if answer.status == StatusCode::UNAUTHORIZED && tries == 1 => {
                    tokens.refused(generation).await;
                }
                _ => return Ok(answer),
            }
        }
    }
}

async fn receive(request: RequestBuilder, most: usize) -> Result<RestResponse, AttemptFailure> {
    let unanswered = |error: reqwest::Error| {
        tracing::debug!(%error, "no answer of Google Cloud");
        AttemptFailure::retry(ErrorCode::EngineUnavailable, "Google Cloud does not answer")
    };
    let response = request.send().await.map_err(unanswered)?;
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = BytesMut::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        body.extend_from_slice(&chunk.map_err(unanswered)?);
        if body.len() > most {
            return Err(AttemptFailure::retry(ErrorCode::EngineError, "an answer of Google Cloud was too long"));
        }
    }
    Ok(RestResponse { status, headers, body: body.freeze() })
}

impl RestResponse {
    /// The body of an answer that is no refusal.
    pub(super) fn parsed<T: for<'a> Deserialize<'a>>(&self) -> Result<T, AttemptFailure> {
        serde_json::from_slice(&self.body).map_err(|error| {
            tracing::error!(%error, "an answer of Google Cloud is not what it should be");
            AttemptFailure::retry(ErrorCode::EngineError, "an answer of Google Cloud was not understood")
        })
    }

    /// What a refusal means. `help` says what an operator has to look at when nobody else can help.
    pub(super) fn refusal(&self, service: &str, help: &str) -> AttemptFailure {
        let refusal = serde_json::from_slice::<Refusal>(&self.body).unwrap_or_default().error;
        let message: String = refusal.message.chars().take(MESSAGE).collect();
        tracing::warn!(status = self.status.as_u16(), message, service, "a request was refused");
        match self.status.as_u16() {
            429 => AttemptFailure::throttled(format!("{service} has no capacity or quota left"), self.retry_after()),
            401 => AttemptFailure::misconfigured(format!("{service} refuses the credentials (401); renew them")),
            403 if refusal.details.iter().any(|detail| detail.reason == "SERVICE_DISABLED") => {
                AttemptFailure::misconfigured(format!("enable the API of {service} in the project: {message}"))
            }
            400 | 403 | 404 => {
                let status = self.status.as_u16();
                AttemptFailure::misconfigured(format!("{service} refuses ({status}): {help}. It says: {message}"))
            }
            408 | 409 | 500..=599 => {
                let failure =
                    AttemptFailure::retry(ErrorCode::EngineUnavailable, format!("{service} is not available"));
                AttemptFailure { disposition: Disposition::Retry { after: self.retry_after() }, ..failure }
            }
            status => AttemptFailure::retry(ErrorCode::EngineError, format!("{service} answered {status}")),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        let seconds = self.headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
        Some(Duration::from_secs(seconds))
    }
}
