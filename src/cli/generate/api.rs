//! The gateway as this command sees it.

use std::{fmt::Write as _, net::IpAddr, time::Duration};

use anyhow::Context as _;
use eventsource_stream::Eventsource as _;
use futures::{Stream, StreamExt as _};
use reqwest::{RequestBuilder, Response, header};
use serde::Deserialize;
use serde_json::Value;

use super::super::{Exit, Failure};

/// A gateway sends a comment every 15 s; one that is silent for three of them is gone.
const SILENCE: Duration = Duration::from_secs(45);
/// How often a submit is repeated; its idempotency key makes that safe.
const SUBMIT_TRIES: u32 = 5;
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// A job as the API shows it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Job {
    pub(super) illustration_id: String,
    pub(super) status: String,
    #[serde(default)]
    pub(super) attempt: u32,
    pub(super) progress: Option<Fraction>,
    #[serde(default)]
    pub(super) image_urls: Vec<String>,
    pub(super) error: Option<JobError>,
    /// All of it, for `--json`.
    #[serde(skip)]
    pub(super) raw: Value,
}

/// How much of it is done.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Fraction {
    pub(super) fraction: f64,
}

/// Why it failed.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct JobError {
    pub(super) code: String,
    pub(super) message: String,
}

impl Job {
    /// The job in `text`, if that is one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let raw: Value = serde_json::from_str(text).ok()?;
        Some(Self { raw: raw.clone(), ..serde_json::from_value(raw).ok()? })
    }

    pub(super) fn is_completed(&self) -> bool {
        self.status == "completed"
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.status.as_str(), "completed" | "failed" | "cancelled")
    }
}

/// Why a request has no good answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// No answer.
    #[error("{0}")]
    Unreachable(#[source] reqwest::Error),
    /// An answer that says no.
    #[error("{}", .0.text())]
    Refused(Refusal),
}

impl From<reqwest::Error> for ApiError {
    fn from(error: reqwest::Error) -> Self {
        Self::Unreachable(error)
    }
}

impl ApiError {
    /// Whether the same request may succeed later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Refused(refusal) => matches!(refusal.status, 408 | 409 | 429 | 500..),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unreachable(_) => None,
            Self::Refused(refusal) => refusal.retry_after,
        }
    }

    /// For the person, with its exit code and advice.
    pub(super) fn explain(self, url: &url::Url) -> Failure {
        match self {
            Self::Unreachable(error) => {
                let mut cause: &dyn std::error::Error = &error;
                while let Some(deeper) = cause.source() {
                    cause = deeper;
                }
                Failure::new(Exit::Unavailable, format!("cannot reach {url}: {cause}"))
                    .hint("`mediaforge serve` runs a service on this machine; --url names another")
            }
            Self::Refused(refusal) => {
                let mut failure = Failure::new(Exit::of_status(refusal.status), refusal.text());
                if let Some(after) = refusal.retry_after {
                    failure = failure.hint(format!("try again in {} s", after.as_secs().max(1)));
                }
                if let Some(elsewhere) = refusal.elsewhere {
                    failure = failure.hint(format!("it sends callers to {elsewhere}: give that address to --url"));
                }
                if let Some(id) = refusal.problem.request_id {
                    failure = failure.hint(format!("the request was {id}"));
                }
                failure
            }
        }
    }
}

/// An answer that says no, as RFC 9457 has it.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    retry_after: Option<Duration>,
    /// Where the service says it is instead.
    elsewhere: Option<String>,
    problem: Problem,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Problem {
    title: Option<String>,
    detail: Option<String>,
    request_id: Option<String>,
    errors: Vec<FieldProblem>,
}

#[derive(Debug, Deserialize)]
struct FieldProblem {
    detail: String,
    pointer: String,
}

impl Refusal {
    async fn of(response: Response) -> Self {
        let status = response.status().as_u16();
        let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let seconds = text(header::RETRY_AFTER).and_then(|seconds| seconds.parse().ok());
        let elsewhere = text(header::LOCATION).map(str::to_owned);
        let problem = response.bytes().await.ok().and_then(|body| serde_json::from_slice(&body).ok());
        Self { status, retry_after: seconds.map(Duration::from_secs), elsewhere, problem: problem.unwrap_or_default() }
    }

    fn text(&self) -> String {
        let said = self.problem.detail.as_ref().or(self.problem.title.as_ref());
        let mut text =
            said.cloned().unwrap_or_else(|| format!("the service answered {} without saying why", self.status));
        for error in &self.problem.errors {
            let _ = write!(text, "\n  {}: {}", argument(&error.pointer), error.detail); // writing to a String cannot fail
        }
        text
    }
}

/// The argument of this command behind a field of the request.
fn argument(pointer: &str) -> String {
    match pointer {
        "/prompt" => "PROMPT".to_owned(),
        "/styleId" => "--style".to_owned(),
        "/width" => "--size (width)".to_owned(),
        "/height" => "--size (height)".to_owned(),
        "/count" => "--count".to_owned(),
        "/seed" => "--seed".to_owned(),
        "/userId" => "--user".to_owned(),
        other => other.to_owned(),
    }
}

/// A client of one gateway.
pub(super) struct Api {
    client: reqwest::Client,
    base: url::Url,
    user: Option<String>,
}

impl Api {
    pub(super) fn new(base: &url::Url, user: Option<String>) -> anyhow::Result<Self> {
        let client = client(base).context("cannot set up HTTP")?;
        Ok(Self { client, base: base.clone(), user })
    }

    pub(super) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    pub(super) fn url(&self) -> &url::Url {
        &self.base
    }

    /// Hands the request over, again and again where that may help, and returns the job's id.
    pub(super) async fn submit(&self, body: &Value, key: &str) -> Result<String, Failure> {
        let mut tries = 0;
        loop {
            tries += 1;
            let error = match self.submit_once(body, key).await {
                Ok(id) => return Ok(id),
                Err(error) => error,
            };
            // Nobody listens: waiting a few seconds for somebody to start a service is no use.
            let absent = matches!(&error, ApiError::Unreachable(cause) if cause.is_connect());
            let wait = error.retry_after().unwrap_or_else(|| Duration::from_millis(250 << tries));
            if absent || !error.may_pass() || tries == SUBMIT_TRIES || wait > LONGEST_WAIT {
                return Err(error.explain(&self.base));
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn submit_once(&self, body: &Value, key: &str) -> Result<String, ApiError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Accepted {
            illustration_id: String,
        }
        let request = self.client.post(self.at("generate")).header("Idempotency-Key", format!("\"{key}\"")).json(body);
        let accepted: Accepted = send(request).await?.json().await?;
        Ok(accepted.illustration_id)
    }

    /// The job's changes, its current state first; `after` is the id of the last event seen.
    pub(super) async fn events(
        &self,
        id: &str,
        after: Option<&str>,
    ) -> Result<impl Stream<Item = Option<eventsource_stream::Event>> + use<>, ApiError> {
        let mut request = self.asked(self.client.get(self.at(&format!("illustrations/{id}/events"))));
        request = request.header(header::ACCEPT, "text/event-stream");
        if let Some(after) = after {
            request = request.header("Last-Event-ID", after);
        }
        let response = send(request).await?;
        Ok(response.bytes_stream().eventsource().map(Result::ok))
    }

    /// Asks for the job's end.
    pub(super) async fn cancel(&self, id: &str) -> Result<(), ApiError> {
        send(self.asked(self.client.post(self.at(&format!("illustrations/{id}/cancel"))))).await.map(|_| ())
    }

    /// A file of the job; its address may be relative to the gateway's.
    pub(super) async fn download(&self, address: &str) -> Result<Response, ApiError> {
        let url = self.base.join(address).unwrap_or_else(|_| self.at(address));
        send(self.client.get(url)).await
    }

    fn at(&self, path: &str) -> url::Url {
        let mut url = self.base.clone();
        // A gateway below a path keeps it: /forge and generate make /forge/generate.
        url.set_path(&format!("{}/{path}", self.base.path().trim_end_matches('/')));
        url
    }

    fn asked(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.user {
            Some(user) => request.query(&[("userId", user)]),
            None => request,
        }
    }
}

/// A client for `base`. Proxies of the environment are for the world outside, not for this machine.
pub(super) fn client(base: &url::Url) -> reqwest::Result<reqwest::Client> {
    let here = base.host_str().is_some_and(|host| {
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    });
    crate::http::client_with(|builder| {
        let builder = builder.read_timeout(SILENCE);
        if here { builder.no_proxy() } else { builder }
    })
}

async fn send(request: RequestBuilder) -> Result<Response, ApiError> {
    let response = request.send().await?;
    if response.status().is_success() { Ok(response) } else { Err(ApiError::Refused(Refusal::of(response).await)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_lists_every_field_by_the_name_of_its_argument() {
        let body = r#"{"title":"Invalid","detail":"two fields are wrong","code":"invalid","requestId":"r1","success":false,
            "errors":[{"pointer":"/width","detail":"must be a whole number from 256 to 2048"},{"pointer":"/styleId","detail":"unknown style"}]}"#;
        let refusal =
            Refusal { status: 422, retry_after: None, elsewhere: None, problem: serde_json::from_str(body).unwrap() };
        let failure = ApiError::Refused(refusal).explain(&"http://127.0.0.1:1".parse().unwrap());
        assert_eq!(failure.exit, Exit::Usage);
        assert_eq!(
            failure.message,
            "two fields are wrong\n  --size (width): must be a whole number from 256 to 2048\n  --style: unknown style"
        );
        assert_eq!(failure.hints, ["the request was r1"]);
    }

    #[test]
    fn paths_stay_below_the_base() {
        let api = Api::new(&"http://127.0.0.1:1/forge/".parse().unwrap(), None).unwrap();
        assert_eq!(api.at("generate").as_str(), "http://127.0.0.1:1/forge/generate");
    }

    #[test]
    fn what_is_no_job_is_no_job() {
        assert!(Job::parse("{}").is_none());
        let job = Job::parse(r#"{"illustrationId":"ill_1","status":"processing","progress":{"fraction":0.5},"x":1}"#)
            .unwrap();
        assert!(!job.is_over());
        assert_eq!(job.raw["x"], 1);
    }
}
