//! The gateway as these commands see it.

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

/// A gateway sends a comment every 15 s; one that is silent for three of them is gone.
const SILENCE: Duration = Duration::from_secs(45);
/// How often a request is repeated that may be.
const TRIES: u32 = 5;
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// A style on offer.
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
    /// `Authorization`, for this gateway alone.
    authorization: Option<HeaderValue>,
}

impl Api {
    pub(in crate::cli) fn new(base: &url::Url, user: Option<String>) -> anyhow::Result<Self> {
        let client = client(base, Some(SILENCE)).context("cannot set up HTTP")?;
        Ok(Self { client, base: base.clone(), user, authorization: None })
    }

    /// The same for a caller with this token.
    pub(in crate::cli) fn with_token(self, token: &Secret) -> Result<Self, Failure> {
        if self.base.scheme() != "https" && !crate::net::is_loopback(&self.base) {
            let text = format!("a token is not sent to {} in the clear", self.base);
            return Err(Failure::new(Exit::Usage, text).hint("give an https:// address to --url"));
        }
        let value = HeaderValue::try_from(format!("Bearer {}", token.reveal()));
        let mut value = value.map_err(|_| Failure::new(Exit::Usage, "the token has characters that no token has"))?;
        value.set_sensitive(true);
        Ok(Self { authorization: Some(value), ..self })
    }

    /// The request with the caller's token, where it goes to this gateway: nobody else gets to see it.
    pub(in crate::cli) fn signed(&self, to: &url::Url, request: RequestBuilder) -> RequestBuilder {
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

    /// Does `once` again and again where that may help.
    pub(in crate::cli) async fn repeated<T>(
        &self,
        mut once: impl AsyncFnMut() -> Result<T, ApiError>,
    ) -> Result<T, Failure> {
        let mut tries = 0;
        loop {
            tries += 1;
            let error = match once().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            // Nobody listens: waiting a few seconds for somebody to start a service is no use.
            let absent = matches!(&error, ApiError::Unreachable(cause) if cause.is_connect());
            let wait = error.retry_after().unwrap_or_else(|| Duration::from_millis(250 << tries));
            if absent || !error.may_pass() || tries == TRIES || wait > LONGEST_WAIT {
                return Err(error.explain(&self.base));
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Hands the request over and returns the job's id. Its key makes it safe to repeat.
    pub(super) async fn submit(&self, kind: JobKind, body: &Value, key: &str) -> Result<String, Failure> {
        self.repeated(async || {
            let request = self.to(reqwest::Method::POST, kind.submit_path());
            let request = request.header("Idempotency-Key", format!("\"{key}\"")).json(body);
            let accepted: Value = send(request).await?.json().await?;
            Ok(accepted[kind.id_field()].as_str().unwrap_or_default().to_owned())
        })
        .await
    }

    /// Asks `path` with this body and without any effect there.
    pub(in crate::cli) async fn post<T: for<'de> Deserialize<'de>>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        body: &Value,
    ) -> Result<T, ApiError> {
        Ok(send(self.to(reqwest::Method::POST, path).query(query).json(body)).await?.json().await?)
    }

    /// The job, if there is one of that id for this caller.
    pub(super) async fn job(&self, kind: JobKind, id: &str) -> Result<Option<Job>, ApiError> {
        let request = self.asked(reqwest::Method::GET, &format!("{}/{id}", kind.collection()));
        match send(request).await {
            Ok(answer) => Ok(Job::of(kind, answer.json().await?)),
            Err(ApiError::Refused(refusal)) if refusal.status == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The styles this caller may use, brands among them.
    pub(in crate::cli) async fn styles(&self) -> Result<Vec<Style>, ApiError> {
        #[derive(Deserialize)]
        struct Styles {
            data: Vec<Style>,
        }
        let styles: Styles = send(self.asked(reqwest::Method::GET, "styles")).await?.json().await?;
        Ok(styles.data)
    }

    /// The job's changes, its current state first; `after` is the id of the last event seen.
    pub(super) async fn events(
        &self,
        kind: JobKind,
        id: &str,
        after: Option<&str>,
    ) -> Result<impl Stream<Item = Option<eventsource_stream::Event>> + use<>, ApiError> {
        let mut request = self.asked(reqwest::Method::GET, &format!("{}/{id}/events", kind.collection()));
        request = request.header(header::ACCEPT, "text/event-stream");
        if let Some(after) = after {
            request = request.header("Last-Event-ID", after);
        }
        let response = send(request).await?;
        Ok(response.bytes_stream().eventsource().map(Result::ok))
    }

    /// Asks for the job's end.
    pub(super) async fn cancel(&self, kind: JobKind, id: &str) -> Result<(), ApiError> {
        send(self.asked(reqwest::Method::POST, &format!("{}/{id}/cancel", kind.collection()))).await.map(|_| ())
    }

    /// A file of the job.
    pub(super) async fn download(&self, address: &str) -> Result<Response, ApiError> {
        let url = self.absolute(address);
        let request = self.client.get(url.clone());
        // An address with a token of its own takes no other.
        let has_token = url.query_pairs().any(|(name, _)| name == "token");
        send(if has_token { request } else { self.signed(&url, request) }).await
    }

    /// An address as the service gives it, which may be relative to its own.
    pub(in crate::cli) fn absolute(&self, address: &str) -> url::Url {
        self.base.join(address).unwrap_or_else(|_| self.at(address))
    }

    fn at(&self, path: &str) -> url::Url {
        let mut url = self.base.clone();
        // A gateway below a path keeps it: /forge and /generate make /forge/generate.
        url.set_path(&format!("{}/{}", self.base.path().trim_end_matches('/'), path.trim_start_matches('/')));
        url
    }

    fn to(&self, method: reqwest::Method, path: &str) -> RequestBuilder {
        let url = self.at(path);
        self.signed(&url, self.client.request(method, url.clone()))
    }

    fn asked(&self, method: reqwest::Method, path: &str) -> RequestBuilder {
        let request = self.to(method, path);
        match &self.user {
            Some(user) => request.query(&[("userId", user)]),
            None => request,
        }
    }
}

/// A client for `base`; an answer that is silent for longer than `silence` is given up. Proxies of the environment are
/// for the world outside, not for this machine.
pub(in crate::cli) fn client(base: &url::Url, silence: Option<Duration>) -> reqwest::Result<reqwest::Client> {
    let here = crate::net::is_loopback(base);
    crate::http::client_with(|mut builder| {
        if let Some(silence) = silence {
            builder = builder.read_timeout(silence);
        }
        if here { builder.no_proxy() } else { builder }
    })
}

/// The answer, if it is a good one.
pub(in crate::cli) async fn send(request: RequestBuilder) -> Result<Response, ApiError> {
    let response = request.send().await?;
    if response.status().is_success() { Ok(response) } else { Err(ApiError::Refused(Refusal::of(response).await)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_base() {
        let api = Api::new(&"http://127.0.0.1:1/forge/".parse().unwrap(), None).unwrap();
        assert_eq!(api.at("generate").as_str(), "http://127.0.0.1:1/forge/generate");
    }

    #[test]
    fn a_token_goes_to_its_gateway_and_to_nobody_else() {
        let token = Secret::new("a.b.c");
        let api = |base: &str| Api::new(&base.parse().unwrap(), None).unwrap().with_token(&token);
        let api_here = api("http://127.0.0.1:1/forge/").unwrap();
        let sent = |to: &str| {
            let to: url::Url = to.parse().unwrap();
            let request = api_here.signed(&to, api_here.client.get(to.clone())).build().unwrap();
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
