//! The client of the gateway.

use std::time::Duration;

use anyhow::Context as _;
use eventsource_stream::Eventsource as _;
use futures::{Stream, StreamExt as _};
use reqwest::{RequestBuilder, Response, header, header::HeaderValue};
use serde::Deserialize;
use serde_json::Value;

use super::{
    super::{Exit, Failure},
    error::{ApiError, Refusal},
    state::Job,
};
use crate::{config::Secret, domain::kind::JobKind};

/// A gateway sends a comment every 15 s. After three missing ones it counts as gone.
const READ_TIMEOUT: Duration = Duration::from_secs(45);
/// Maximum number of times that a request is sent.
const TRIES: u32 = 5;
const MAX_WAIT: Duration = Duration::from_secs(20);

/// A style of the catalogue, or a brand.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct Style {
    pub(in crate::cli) style_id: String,
    pub(in crate::cli) name: String,
}

/// A client of one gateway.
pub(in crate::cli) struct Api {
    client: reqwest::Client,
    base: url::Url,
    user: Option<String>,
    /// The `Authorization` header, sent to this gateway only.
    authorization: Option<HeaderValue>,
}

impl Api {
    pub(in crate::cli) fn new(base: &url::Url, user: Option<String>) -> anyhow::Result<Self> {
        let client = client(base, Some(READ_TIMEOUT)).context("cannot create the HTTP client")?;
        Ok(Self { client, base: base.clone(), user, authorization: None })
    }

    /// Adds the token of the caller.
    pub(in crate::cli) fn with_token(self, token: &Secret) -> Result<Self, Failure> {
        if self.base.scheme() != "https" && !crate::net::is_loopback(&self.base) {
            let text = format!("the token would be sent to {} unencrypted", self.base);
            return Err(Failure::new(Exit::Usage, text).hint("use an https:// address for --url"));
        }
        let value = HeaderValue::try_from(format!("Bearer {}", token.reveal()));
        let mut value = value.map_err(|_| Failure::new(Exit::Usage, "the token contains invalid characters"))?;
        value.set_sensitive(true);
        Ok(Self { authorization: Some(value), ..self })
    }

    /// Adds the token of the caller if the request goes to this gateway. Other servers must not see it.
    pub(in crate::cli) fn authorized(&self, to: &url::Url, request: RequestBuilder) -> RequestBuilder {
        match &self.authorization {
            Some(value) if to.origin() == self.base.origin() => request.header(header::AUTHORIZATION, value),
            _ => request,
        }
    }

    pub(in crate::cli) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    pub(in crate::cli) fn url(&self) -> &url::Url {
        &self.base
    }

    /// Sends a request, and sends it again after errors that may be temporary.
    pub(in crate::cli) async fn with_retries<T>(
        &self,
        mut send: impl AsyncFnMut() -> Result<T, ApiError>,
    ) -> Result<T, Failure> {
        let mut tries = 0;
        loop {
            tries += 1;
            let error = match send().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            // If nothing listens there, waiting a few seconds does not help.
            let refused = matches!(&error, ApiError::Unreachable(cause) if cause.is_connect());
            let wait = error.retry_after().unwrap_or_else(|| Duration::from_millis(250 << tries));
            if refused || !error.is_transient() || tries == TRIES || wait > MAX_WAIT {
                return Err(error.explain(&self.base));
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Submits a job and returns its id. The key makes it safe to repeat the request.
    pub(super) async fn submit(&self, kind: JobKind, body: &Value, key: &str) -> Result<String, Failure> {
        self.with_retries(async || {
            let request = self.request(reqwest::Method::POST, kind.submit_path());
            let request = request.header("Idempotency-Key", format!("\"{key}\"")).json(body);
            let accepted: Value = send(request).await?.json().await?;
            Ok(accepted[kind.id_field()].as_str().unwrap_or_default().to_owned())
        })
        .await
    }

    /// Sends a POST request that is safe to repeat.
    pub(in crate::cli) async fn post<T: for<'de> Deserialize<'de>>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        body: &Value,
    ) -> Result<T, ApiError> {
        Ok(send(self.request(reqwest::Method::POST, path).query(query).json(body)).await?.json().await?)
    }

    /// The job, if the caller has a job with this id.
    pub(super) async fn job(&self, kind: JobKind, id: &str) -> Result<Option<Job>, ApiError> {
        let request = self.request_as_user(reqwest::Method::GET, &format!("{}/{id}", kind.collection()));
        match send(request).await {
            Ok(answer) => Ok(Job::from_json(kind, answer.json().await?)),
            Err(ApiError::Refused(refusal)) if refusal.status == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The styles that the caller may use, including brands.
    pub(in crate::cli) async fn styles(&self) -> Result<Vec<Style>, ApiError> {
        #[derive(Deserialize)]
        struct Styles {
            data: Vec<Style>,
        }
        let styles: Styles = send(self.request_as_user(reqwest::Method::GET, "styles")).await?.json().await?;
        Ok(styles.data)
    }

    /// The changes of the job, starting with its current state; `after` is the id of the last received event.
    pub(super) async fn events(
        &self,
        kind: JobKind,
        id: &str,
        after: Option<&str>,
    ) -> Result<impl Stream<Item = Option<eventsource_stream::Event>> + use<>, ApiError> {
        let mut request = self.request_as_user(reqwest::Method::GET, &format!("{}/{id}/events", kind.collection()));
        request = request.header(header::ACCEPT, "text/event-stream");
        if let Some(after) = after {
            request = request.header("Last-Event-ID", after);
        }
        let response = send(request).await?;
        Ok(response.bytes_stream().eventsource().map(Result::ok))
    }

    /// Requests the cancellation of the job.
    pub(super) async fn cancel(&self, kind: JobKind, id: &str) -> Result<(), ApiError> {
        send(self.request_as_user(reqwest::Method::POST, &format!("{}/{id}/cancel", kind.collection())))
            .await
            .map(|_| ())
    }

    /// Downloads a file of the job.
    pub(super) async fn download(&self, address: &str) -> Result<Response, ApiError> {
        let url = self.absolute(address);
        let request = self.client.get(url.clone());
        // An address that already contains a token gets no other one.
        let has_token = url.query_pairs().any(|(name, _)| name == "token");
        send(if has_token { request } else { self.authorized(&url, request) }).await
    }

    /// Resolves an address from the service, which may be relative.
    pub(in crate::cli) fn absolute(&self, address: &str) -> url::Url {
        self.base.join(address).unwrap_or_else(|_| self.endpoint(address))
    }

    fn endpoint(&self, path: &str) -> url::Url {
        let mut url = self.base.clone();
        // Keeps the path of the gateway: /forge and /generate become /forge/generate.
        url.set_path(&format!("{}/{}", self.base.path().trim_end_matches('/'), path.trim_start_matches('/')));
        url
    }

    fn request(&self, method: reqwest::Method, path: &str) -> RequestBuilder {
        let url = self.endpoint(path);
        self.authorized(&url, self.client.request(method, url.clone()))
    }

    fn request_as_user(&self, method: reqwest::Method, path: &str) -> RequestBuilder {
        let request = self.request(method, path);
        match &self.user {
            Some(user) => request.query(&[("userId", user)]),
            None => request,
        }
    }
}

/// A client for `base`. A response fails if no data arrives for `read_timeout`. Proxies from the environment are not used
/// for this machine.
pub(in crate::cli) fn client(base: &url::Url, read_timeout: Option<Duration>) -> reqwest::Result<reqwest::Client> {
    let is_local = crate::net::is_loopback(base);
    crate::http::client_with(|mut builder| {
        if let Some(timeout) = read_timeout {
            builder = builder.read_timeout(timeout);
        }
        if is_local { builder.no_proxy() } else { builder }
    })
}

/// Sends a request and returns the response if its status is a success.
pub(in crate::cli) async fn send(request: RequestBuilder) -> Result<Response, ApiError> {
    let response = request.send().await?;
    if response.status().is_success() {
        Ok(response)
    } else {
        Err(ApiError::Refused(Refusal::from_response(response).await))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_below_the_base() {
        let api = Api::new(&"http://127.0.0.1:1/forge/".parse().unwrap(), None).unwrap();
        assert_eq!(api.endpoint("generate").as_str(), "http://127.0.0.1:1/forge/generate");
    }

    #[test]
    fn a_token_is_sent_to_its_gateway_only() {
        let token = Secret::new("a.b.c");
        let api = |base: &str| Api::new(&base.parse().unwrap(), None).unwrap().with_token(&token);
        let api_here = api("http://127.0.0.1:1/forge/").unwrap();
        let sent = |to: &str| {
            let to: url::Url = to.parse().unwrap();
            let request = api_here.authorized(&to, api_here.client.get(to.clone())).build().unwrap();
            request.headers().get(header::AUTHORIZATION).cloned()
        };
        let value = sent("http://127.0.0.1:1/media/x.png").unwrap();
        assert_eq!(value, "Bearer a.b.c");
        assert!(!format!("{value:?}").contains("a.b.c"));
        assert_eq!(sent("http://127.0.0.1:2/media/x.png"), None);
        assert_eq!(sent("https://storage.googleapis.com/bucket/x.png"), None);
        assert!(api("https://api.example").is_ok());
        let failure = api("http://api.example").err().unwrap();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(!failure.message.contains("a.b.c"), "{}", failure.message);
    }
}
