//! The one client of Google's REST APIs: Vertex AI and Cloud Storage.

use std::{sync::Arc, time::Duration};

use reqwest::{Client, RequestBuilder};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::token::{Authorization, TokenError, TokenSource};
use crate::{
    http::{self, ExchangeError, HttpResponse, Limits},
    net,
};

/// Sends requests with this process's access token. Clones share connections and tokens.
#[derive(Clone)]
pub struct RestClient {
    http: Client,
    tokens: Option<Arc<dyn TokenSource>>,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    /// There is no access token; nothing was sent.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The exchange failed.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// The request is not one: a defect, or an address that no request can be sent to.
    #[error("not a request: {0}")]
    Request(reqwest::Error),
}

impl RestClient {
    /// Without `tokens`, requests carry no `Authorization`, as emulators want it.
    pub fn new(http: Client, tokens: Option<Arc<dyn TokenSource>>) -> Self {
        Self { http, tokens }
    }

    /// Sends the request that `build` makes. After a 401 it is sent once more, with a new token: Google can withdraw a
    /// token before its time. The limits apply to each exchange; a response of any status is `Ok`.
    pub async fn send(
        &self,
        limits: Limits,
        build: impl Fn(&Client) -> RequestBuilder,
    ) -> Result<HttpResponse, RestError> {
        let mut is_first = true;
        loop {
            let mut request = build(&self.http).build().map_err(RestError::Request)?;
            let authorization = self.authorization(request.url()).await?;
            let generation = authorization.as_ref().map(|authorization| authorization.generation);
            if let Some(Authorization { headers, .. }) = authorization {
                request.headers_mut().extend(headers);
            }
            let response = http::exchange(&self.http, request, limits).await?;
            match (&self.tokens, generation) {
                (Some(tokens), Some(generation)) if response.status == 401 && is_first => {
                    tokens.refused(generation).await;
                    is_first = false;
                }
                _ => return Ok(response),
            }
        }
    }

    /// `None` for an address to which a token would travel in the clear.
    async fn authorization(&self, address: &Url) -> Result<Option<Authorization>, TokenError> {
        match &self.tokens {
            Some(tokens) if is_private(address) => tokens.authorization().await.map(Some),
            _ => Ok(None),
        }
    }
}

/// Whether nothing between here and the address can read what is sent.
fn is_private(address: &Url) -> bool {
    address.scheme() == "https" || net::is_loopback(address)
}

/// An error as Google's APIs write it: `google.rpc.Status` in JSON.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ApiError {
    /// The name of the code, such as `RESOURCE_EXHAUSTED`. Cloud Storage has none.
    pub status: String,
    /// For people.
    pub message: String,
    details: Vec<Value>,
}

impl ApiError {
    /// The error of a response's body; all empty when the body has none.
    pub fn read(body: &[u8]) -> Self {
        let body = match serde_json::from_slice(body) {
            // A streaming method answers with an array.
            Ok(Value::Array(responses)) => responses.into_iter().next().unwrap_or_default(),
            body => body.unwrap_or_default(),
        };
        body.get("error").and_then(|error| Self::deserialize(error).ok()).unwrap_or_default()
    }

    /// `ErrorInfo.reason`, such as `SERVICE_DISABLED`.
    pub fn reason(&self) -> Option<&str> {
        self.detail("google.rpc.ErrorInfo")?["reason"].as_str()
    }

    /// When to try again: the longer of the header and `RetryInfo.retryDelay` (`12s`, `0.5s`).
    pub fn retry_after(&self, response: &HttpResponse) -> Option<Duration> {
        let delay = || {
            let seconds: f64 =
                self.detail("google.rpc.RetryInfo")?["retryDelay"].as_str()?.strip_suffix('s')?.parse().ok()?;
            Duration::try_from_secs_f64(seconds).ok().map(http::longest_wait)
        };
        http::retry_after(&response.headers).max(delay())
    }

    fn detail(&self, name: &str) -> Option<&Value> {
        self.details.iter().find(|detail| detail["@type"].as_str().is_some_and(|kind| kind.ends_with(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_do_not_travel_in_the_clear() {
        for (address, private) in [
            ("https://vertex.example.com", true),
            ("http://127.0.0.1:8080", true),
            ("http://[::1]:8080", true),
            ("http://localhost:8080", true),
            ("http://vertex.example.com", false),
            ("http://10.0.0.1", false),
            ("http://localhost.example.com", false),
        ] {
            assert_eq!(is_private(&address.parse().unwrap()), private, "{address}");
        }
    }

    #[test]
    fn an_error_is_read_from_an_object_and_from_an_array() {
        let details = r#"[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"SERVICE_DISABLED"}]"#;
        let error = format!(r#"{{"error":{{"code":403,"status":"X","message":"no","details":{details}}}}}"#);
        for body in [error.clone(), format!("[{error}]")] {
            let error = ApiError::read(body.as_bytes());
            assert_eq!((error.status.as_str(), error.message.as_str()), ("X", "no"), "{body}");
            assert_eq!(error.reason(), Some("SERVICE_DISABLED"));
        }
        for body in ["", "<html>", "[]", "{}", r#"{"error":"no"}"#] {
            assert_eq!(ApiError::read(body.as_bytes()), ApiError::default(), "{body}");
        }
    }

    #[test]
    fn the_longer_of_two_waits_counts() {
        let details =
            r#"{"error":{"details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"12.5s"}]}}"#;
        for (header, body, millis) in [
            (None, "", None),
            (Some("7"), "not json", Some(7_000)),
            (None, details, Some(12_500)),
            (Some("60"), details, Some(60_000)),
            (Some("7"), details, Some(12_500)),
        ] {
            let headers = header.map(|value: &str| (::http::header::RETRY_AFTER, value.parse().unwrap()));
            let headers = headers.into_iter().collect();
            let response = HttpResponse { status: 429, headers, body: body.to_owned().into() };
            let after = ApiError::read(&response.body).retry_after(&response);
            assert_eq!(after, millis.map(Duration::from_millis), "{header:?} {body}");
        }
    }
}
