//! Errors of requests to the gateway, and their messages and hints.

use std::{fmt::Write as _, time::Duration};

use reqwest::{Response, header};
use serde::Deserialize;

use super::super::{Exit, Failure};

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum ApiError {
    /// No response.
    #[error("{0}")]
    Unreachable(#[source] reqwest::Error),
    /// A response with an error status.
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
    pub(in crate::cli) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Refused(refusal) => matches!(refusal.status, 408 | 409 | 429 | 500..),
        }
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unreachable(_) => None,
            Self::Refused(refusal) => refusal.retry_after,
        }
    }

    /// Adds the exit code and hints.
    pub(in crate::cli) fn explain(self, url: &url::Url) -> Failure {
        match self {
            Self::Unreachable(error) => {
                let cause = crate::error::root_cause(&error);
                Failure::new(Exit::Unavailable, format!("cannot reach {url}: {cause}"))
                    .hint("start a service on this machine with `mediaforge serve`, or choose another one with --url")
            }
            Self::Refused(refusal) => {
                let mut failure = Failure::new(Exit::of_status(refusal.status), refusal.text());
                if refusal.status == 401 {
                    failure = failure.hint(
                        "pass a file with a valid ID token as --token-file, or set MEDIAFORGE_TOKEN; a Firebase token \
                         is valid for an hour",
                    );
                }
                if let Some(after) = refusal.retry_after {
                    failure = failure.hint(format!("try again in {} s", after.as_secs().max(1)));
                }
                if let Some(redirect) = refusal.redirect {
                    failure = failure.hint(format!("the service redirects to {redirect}: use that address for --url"));
                }
                if let Some(id) = refusal.problem.request_id {
                    failure = failure.hint(format!("request id: {id}"));
                }
                failure
            }
        }
    }
}

/// An error response: problem details as in RFC 9457.
#[derive(Debug)]
pub(in crate::cli) struct Refusal {
    pub(in crate::cli) status: u16,
    retry_after: Option<Duration>,
    /// The `Location` header of a redirect.
    redirect: Option<String>,
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
    pub(super) async fn from_response(response: Response) -> Self {
        let status = response.status().as_u16();
        let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let retry_after = crate::http::retry_after(response.headers());
        let redirect = text(header::LOCATION).map(str::to_owned);
        let problem = response.bytes().await.ok().and_then(|body| serde_json::from_slice(&body).ok());
        Self { status, retry_after, redirect, problem: problem.unwrap_or_default() }
    }

    fn text(&self) -> String {
        if let [only] = self.problem.errors.as_slice() {
            return format!("{}: {}", argument(&only.pointer), only.detail);
        }
        let summary = self.problem.detail.as_ref().or(self.problem.title.as_ref());
        let mut text =
            summary.cloned().unwrap_or_else(|| format!("the service answered {} without a reason", self.status));
        for error in &self.problem.errors {
            let _ = write!(text, "\n  {}: {}", argument(&error.pointer), error.detail); // writing to a String cannot fail
        }
        text
    }
}

/// The command-line argument that sets a field of the request.
fn argument(pointer: &str) -> String {
    match pointer {
        "/prompt" => "PROMPT".to_owned(),
        "/styleId" => "--style".to_owned(),
        "/width" => "--size (width)".to_owned(),
        "/height" => "--size (height)".to_owned(),
        "/count" => "--count".to_owned(),
        "/seed" => "--seed".to_owned(),
        "/userId" => "--user".to_owned(),
        "/brandName" => "NAME".to_owned(),
        "/brandColors" => "--color".to_owned(),
        "/trainingImages" => "IMAGES".to_owned(),
        other => match other.rsplit_once('/').map(|(list, n)| (list, n.parse::<usize>())) {
            Some(("/brandColors", Ok(n))) => format!("--color (number {})", n + 1),
            Some(("/trainingImages", Ok(n))) => format!("IMAGES (number {})", n + 1),
            _ => other.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_argument_of_every_field() {
        let body = r#"{"title":"Invalid","detail":"two fields are wrong","code":"invalid","requestId":"r1","success":false,
            "errors":[{"pointer":"/width","detail":"must be a whole number from 256 to 2048"},{"pointer":"/styleId","detail":"unknown style"}]}"#;
        let refusal =
            Refusal { status: 422, retry_after: None, redirect: None, problem: serde_json::from_str(body).unwrap() };
        let failure = ApiError::Refused(refusal).explain(&"http://127.0.0.1:1".parse().unwrap());
        assert_eq!(failure.exit, Exit::Usage);
        assert_eq!(
            failure.message,
            "two fields are wrong\n  --size (width): must be a whole number from 256 to 2048\n  --style: unknown style"
        );
        assert_eq!(failure.hints, ["request id: r1"]);
    }

    #[test]
    fn a_401_explains_how_to_send_a_token() {
        let refusal = Refusal { status: 401, retry_after: None, redirect: None, problem: Problem::default() };
        let failure = ApiError::Refused(refusal).explain(&"http://127.0.0.1:1".parse().unwrap());
        assert_eq!(failure.exit, Exit::NotAllowed);
        assert!(failure.hints[0].contains("--token-file") && failure.hints[0].contains("MEDIAFORGE_TOKEN"));
    }

    #[test]
    fn a_single_wrong_field_is_the_whole_message() {
        let body =
            r#"{"detail":"invalid width: must be more","errors":[{"pointer":"/width","detail":"must be more"}]}"#;
        let refusal =
            Refusal { status: 422, retry_after: None, redirect: None, problem: serde_json::from_str(body).unwrap() };
        assert_eq!(refusal.text(), "--size (width): must be more");
    }

    #[test]
    fn an_item_of_a_list_is_counted_from_one() {
        assert_eq!(argument("/trainingImages/0"), "IMAGES (number 1)");
        assert_eq!(argument("/brandColors/4"), "--color (number 5)");
        assert_eq!(argument("/somethingNew/4"), "/somethingNew/4");
    }
}
