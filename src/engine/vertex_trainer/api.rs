//! Calls of Google's REST APIs, with what their failures mean for a training.

use std::time::Duration;

use reqwest::{Client, RequestBuilder};
use serde::de::DeserializeOwned;

use crate::{
    domain::failure::{AttemptFailure, Disposition, ErrorCode},
    engine::failures,
    google::rest::{ApiError, RestClient},
    http::{HttpResponse, Limits, excerpt},
};

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// One of Google's services.
#[derive(Clone, Copy)]
pub(super) struct Api<'a> {
    pub(super) rest: &'a RestClient,
    /// Its name, for messages.
    pub(super) service: &'static str,
}

impl Api<'_> {
    /// A response of any status, with a body of at most `max_bytes`.
    pub(super) async fn send(
        &self,
        max_bytes: usize,
        request: impl Fn(&Client) -> RequestBuilder,
    ) -> Result<HttpResponse, AttemptFailure> {
        let sent = self.rest.send(Limits { timeout: TIMEOUT, max_bytes }, request).await;
        sent.map_err(|error| {
            tracing::debug!(%error, service = self.service, "a request got no response");
            failures::of_rest(self.service, &error, 1)
        })
    }

    /// The body of a successful response.
    pub(super) fn parse<T: DeserializeOwned>(&self, response: &HttpResponse) -> Result<T, AttemptFailure> {
        serde_json::from_slice(&response.body).map_err(|error| {
            tracing::error!(%error, service = self.service, "a response has an unexpected shape");
            let message = format!("an answer of {} was not understood", self.service);
            AttemptFailure::retry(ErrorCode::EngineError, message)
        })
    }

    /// What a refusal means. `help` tells the operator what to check.
    pub(super) fn refusal(&self, response: &HttpResponse, help: &str) -> AttemptFailure {
        let error = ApiError::read(&response.body);
        let (service, status, message) = (self.service, response.status, excerpt(&error.message));
        tracing::warn!(status, message, service, "a request was refused");
        let after = error.retry_after(response);
        match status {
            429 => AttemptFailure::throttled(format!("{service} has no capacity or quota left"), after),
            401 => AttemptFailure::misconfigured(format!("{service} refuses the credentials (401); renew them")),
            403 if error.reason() == Some("SERVICE_DISABLED") => {
                AttemptFailure::misconfigured(format!("enable the API of {service} in the project: {message}"))
            }
            400 | 403 | 404 => {
                AttemptFailure::misconfigured(format!("{service} refuses ({status}): {help}. It says: {message}"))
            }
            408 | 409 | 500..=599 => {
                let failure =
                    AttemptFailure::retry(ErrorCode::EngineUnavailable, format!("{service} is not available"));
                AttemptFailure { disposition: Disposition::Retry { after }, ..failure }
            }
            status => AttemptFailure::retry(ErrorCode::EngineError, format!("{service} answered {status}")),
        }
    }
}
