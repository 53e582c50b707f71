//! Errors as RFC 9457 problem documents. The only place that knows which HTTP status an error has.

mod code;

use std::{borrow::Cow, time::Duration};

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

pub(super) use self::code::Code;
use super::present::VerdictView;
use crate::{
    domain::{field_error::FieldError, kind::JobKind},
    error::{BackendError, ErrorKind},
    identity::Unidentified,
    jobs::{SubmitError, UploadError},
    media::image::PictureError,
};

/// The media type of a problem document.
pub(super) const CONTENT_TYPE: &str = "application/problem+json";

/// How long a client waits before it tries again when nobody knows better.
const DEFAULT_RETRY: Duration = Duration::from_secs(2);
/// The same when the client has to wait for its own jobs.
const JOBS_RETRY: Duration = Duration::from_secs(5);
/// The same when an operator has to act first.
const BROKEN_RETRY: Duration = Duration::from_secs(30);

/// A wrong part of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct WrongField {
    /// JSON Pointer to the field, or to the parameter when `in` says so.
    #[schema(example = "/width")]
    pub pointer: String,
    /// What is wrong and what would be right.
    #[schema(example = "must be a whole number from 256 to 2048")]
    pub detail: String,
    /// `query` for a query parameter; absent for a field of the body.
    #[serde(rename = "in", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = json!("query"))]
    pub place: Option<&'static str>,
}

impl WrongField {
    /// A wrong query parameter.
    pub fn query(name: &str, detail: impl Into<String>) -> Self {
        Self { pointer: format!("/{name}"), detail: detail.into(), place: Some("query") }
    }
}

impl From<FieldError> for WrongField {
    fn from(FieldError { pointer, detail }: FieldError) -> Self {
        Self { pointer, detail, place: None }
    }
}

/// An error on its way out. `observe.rs` adds what only it knows (path and request id) and writes the document.
#[derive(Debug, Clone)]
pub(super) struct Problem(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    code: Code,
    detail: Cow<'static, str>,
    errors: Vec<WrongField>,
    verdicts: Vec<VerdictView>,
    retry_after: Option<Duration>,
    headers: HeaderMap,
}

/// What every error looks like: RFC 9457 with the members this API adds.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Problem)]
pub(super) struct ProblemDocument<'a> {
    /// Names the kind of problem as a URI; `code` is its last part.
    #[schema(example = "urn:mediaforge:problem:invalid_fields")]
    r#type: String,
    /// The kind of problem, for people.
    #[schema(example = "Some fields are invalid")]
    title: &'a str,
    /// The HTTP status.
    #[schema(example = 422)]
    status: u16,
    /// What went wrong this time.
    #[schema(example = "invalid count: must be a whole number from 1 to 4")]
    detail: &'a str,
    /// The path that was asked for.
    #[schema(example = "/generate")]
    instance: &'a str,
    /// The kind of problem, for programs.
    #[schema(example = "invalid_fields")]
    code: &'a str,
    /// Names this request in the server's log; also in `X-Request-Id`.
    #[schema(example = "req_7d3f0c1be2a94f658d1c0a9b8e7f6a5b")]
    request_id: &'a str,
    /// Whether the same request may succeed later; `Retry-After` says when.
    #[schema(example = false)]
    retryable: bool,
    /// Every wrong field, where fields are what is wrong.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(required = false)]
    errors: &'a [WrongField],
    /// On every training image, where some are unfit.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(required = false)]
    verdicts: &'a [VerdictView],
    /// Always false.
    #[schema(example = false)]
    success: bool,
}

impl Problem {
    /// A problem of this kind; the detail says what is wrong this time and what would be right.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        let retry_after = (code.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(DEFAULT_RETRY);
        let detail = detail.into();
        let (errors, verdicts) = (Vec::new(), Vec::new());
        Self(Box::new(Inner { code, detail, errors, verdicts, retry_after, headers: HeaderMap::new() }))
    }

    /// Wrong fields or parameters, all of them.
    pub fn invalid(errors: Vec<WrongField>) -> Self {
        let detail = match errors.len() {
            1 => format!("invalid {}: {}", errors[0].pointer.trim_start_matches('/'), errors[0].detail),
            n => format!("{n} fields are invalid; `errors` says what is wrong with each"),
        };
        Self::new(Code::InvalidFields, detail).with_errors(errors)
    }

    /// No token, or none that is good: the same answer whatever is wrong with it.
    pub fn unauthorized() -> Self {
        Self::challenge(Code::Unauthorized, "send a valid token as Authorization: Bearer TOKEN; sign in to get one")
    }

    fn challenge(code: Code, detail: &'static str) -> Self {
        let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
        Self::new(code, detail).with_header(header::WWW_AUTHENTICATE, challenge)
    }

    /// A request in the name of another than the token's user.
    pub fn not_you() -> Self {
        Self::new(Code::NotYou, "userId must be the user id of the token, or be left out")
    }

    /// No such job, or somebody else's: the two must not be told apart.
    pub fn no_such(kind: JobKind) -> Self {
        Self::new(Code::NotFound, format!("no such {}", kind.noun()))
    }

    /// The same with the places that are wrong.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<WrongField>) -> Self {
        self.0.errors = errors;
        self
    }

    /// The same with a header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    /// The same, with when to try again, where that is known.
    #[must_use]
    pub fn retry_after(mut self, after: Option<Duration>) -> Self {
        self.0.retry_after = after.or(self.0.retry_after);
        self
    }

    /// The problem of an answer that carries only a status, from a library that knows nothing of problems.
    pub fn of_status(status: StatusCode) -> Option<Self> {
        let (code, detail) = match status {
            StatusCode::NOT_FOUND => (Code::NotFound, "there is nothing here"),
            StatusCode::METHOD_NOT_ALLOWED => (Code::MethodNotAllowed, "see the Allow header"),
            status if status.is_client_error() => (Code::Malformed, "the request cannot be read"),
            status if status.is_server_error() => (Code::Internal, "something went wrong on our side"),
            _ => return None,
        };
        Some(Self::new(code, detail))
    }

    /// What a problem of this status looks like, for the API's description.
    pub fn example(status: &str) -> Option<Self> {
        let problem = match status {
            "400" => Self::new(Code::Malformed, "expected `,` or `}` at line 1 column 32"),
            "401" => Self::unauthorized(),
            "402" => Self::new(Code::InsufficientCredits, "4 credits needed, 3 available"),
            "403" => Self::not_you(),
            "404" => Self::new(Code::NotFound, "there is nothing here"),
            "408" => Self::new(Code::RequestTimeout, "the body did not arrive in time"),
            "409" => Self::new(Code::JobNotFinished, "cancel it or wait for its end, then delete it"),
            "413" => Self::new(Code::PayloadTooLarge, "the body may have at most 65536 bytes"),
            "415" => Self::new(Code::UnsupportedMediaType, "send the header Content-Type: application/json"),
            "416" => Self::new(Code::RangeNotSatisfiable, "the picture has 34567 bytes"),
            "422" => {
                let wrong = FieldError::new("width", "must be a whole number from 256 to 2048");
                Self::invalid(vec![wrong.into()])
            }
            "429" => Self::new(Code::TooManyRequests, "600 requests a minute are allowed to one user"),
            "500" => Self::new(Code::Internal, "something went wrong on our side"),
            "503" => Self::new(Code::Unavailable, "a backend cannot be reached; try again later"),
            _ => return None,
        };
        Some(problem)
    }

    /// The code, for the log.
    pub fn code(&self) -> &'static str {
        self.0.code.as_str()
    }

    /// The document, in the context of its request.
    pub fn document(&self, instance: &str, request_id: &str) -> Vec<u8> {
        let (status, code, title) = self.0.code.row();
        let document = ProblemDocument {
            r#type: format!("urn:mediaforge:problem:{code}"),
            title,
            status: status.as_u16(),
            detail: &self.0.detail,
            instance,
            code,
            request_id,
            retryable: self.0.code.retryable(),
            errors: &self.0.errors,
            verdicts: &self.0.verdicts,
            success: false,
        };
        // Strings, numbers and lists only: this cannot fail, and an error about an error helps nobody.
        serde_json::to_vec(&document).unwrap_or_default()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.0.code.status().into_response();
        response.headers_mut().extend(self.0.headers.clone());
        if let Some(after) = self.0.retry_after {
            // Rounded up: a client that comes back too early is turned away again.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<BackendError> for Problem {
    /// Logs the error, once, with all it knows; the client learns only what follows for them.
    fn from(error: BackendError) -> Self {
        let (code, detail) = match error.kind {
            ErrorKind::Unavailable => (Code::Unavailable, "a backend cannot be reached; try again later"),
            ErrorKind::Timeout => (Code::Timeout, "a backend did not answer in time; it may have happened or not"),
            ErrorKind::Conflict => (Code::Busy, "it kept changing meanwhile; try again"),
            ErrorKind::Broken => (Code::BackendBroken, "a backend is damaged or full; its operator has been told"),
            ErrorKind::AlreadyExists | ErrorKind::Refused | ErrorKind::Internal => {
                (Code::Internal, "something went wrong on our side")
            }
        };
        if error.is_transient() || error.kind == ErrorKind::Conflict {
            tracing::warn!(op = error.op, %error, "backend failed");
        } else {
            tracing::error!(op = error.op, %error, "backend failed");
        }
        let known = error.retry_after.or((error.kind == ErrorKind::Broken).then_some(BROKEN_RETRY));
        match code {
            Code::Internal => Self::new(code, detail),
            code => Self::new(code, detail).retry_after(known),
        }
    }
}

impl From<Unidentified> for Problem {
    /// Logs the cause: a caller who tries tokens out learns nothing from the answers.
    fn from(why: Unidentified) -> Self {
        match why {
            Unidentified::Refused(cause) => {
                tracing::info!(%cause, "caller not identified");
                Self::unauthorized()
            }
            Unidentified::PathTokenExpired => Self::challenge(
                Code::StreamTokenExpired,
                "ask for a new address: POST .../stream-token for events, GET the job for its pictures",
            ),
            Unidentified::UnusableUser(invalid) => Self::new(Code::UnusableUser, format!("the user id: {invalid}")),
            Unidentified::Anonymous => Self::new(Code::UnusableUser, "anonymous users cannot call; sign in"),
            Unidentified::KeysUnavailable { retry_after } => {
                tracing::warn!("callers cannot be identified: the keys of tokens were not fetched");
                let detail = "the keys that tokens are signed with cannot be fetched; try again later";
                Self::new(Code::SignInUnavailable, detail).retry_after(Some(retry_after))
            }
        }
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Invalid(errors) => Self::invalid(errors.into_iter().map(WrongField::from).collect()),
            SubmitError::Unfit { errors, verdicts } => {
                let mut problem = Self::invalid(errors.into_iter().map(WrongField::from).collect());
                problem.0.verdicts = verdicts.into_iter().map(VerdictView::from).collect();
                problem
            }
            SubmitError::NoSuchBrand => Self::no_such(JobKind::Brand),
            SubmitError::KeyReused => {
                Self::new(Code::IdempotencyKeyReused, "use a fresh key, or repeat the first request unchanged")
            }
            SubmitError::KeySpent => Self::new(Code::IdempotencyKeySpent, "use a fresh key to make it again"),
            SubmitError::NoCredits { needed, available } => {
                Self::new(Code::InsufficientCredits, format!("{needed} credits needed, {available} available"))
            }
            SubmitError::TooManyJobs(most) => {
                Self::new(Code::TooManyJobs, format!("a user may have {most} unfinished jobs; wait for one to end"))
                    .retry_after(Some(JOBS_RETRY))
            }
            SubmitError::Backend(error) => error.into(),
        }
    }
}

impl From<UploadError> for Problem {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Refused(PictureError::Encode(why)) => {
                tracing::error!(why, "an uploaded picture could not be encoded");
                Self::new(Code::Internal, "something went wrong on our side")
            }
            UploadError::Refused(refused @ PictureError::TooManyBytes { .. }) => {
                Self::new(Code::PayloadTooLarge, refused.to_string())
            }
            UploadError::Refused(refused) => Self::new(Code::UnusablePicture, refused.to_string()),
            UploadError::RefusedArchive(refused) => Self::new(Code::UnusableArchive, refused.to_string()),
            UploadError::Taken => Self::new(Code::UploadTaken, "POST /uploads makes a place for it"),
            UploadError::Backend(error) => error.into(),
        }
    }
}
