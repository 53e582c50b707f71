//! Errors as RFC 9457 problem documents. Only this module maps errors to HTTP statuses.

mod code;

use std::{borrow::Cow, time::Duration};

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

pub(super) use self::code::Code;
use super::image_check::ImageCheckView;
use crate::{
    domain::{field_error::FieldError, kind::JobKind},
    error::{BackendError, ErrorKind},
    identity::IdentityError,
    jobs::{SubmitError, UploadError},
    media::image::PictureError,
};

/// The media type of a problem document.
pub(super) const CONTENT_TYPE: &str = "application/problem+json";

/// The `Retry-After` of a 503 without a better estimate.
const DEFAULT_RETRY: Duration = Duration::from_secs(2);
/// The `Retry-After` if the client has to wait for its own jobs.
const JOBS_RETRY: Duration = Duration::from_secs(5);
/// The `Retry-After` if an operator has to act first.
const BROKEN_RETRY: Duration = Duration::from_secs(30);

/// An invalid part of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct InvalidField {
    /// JSON Pointer to the field, or to the parameter or backend that `in` announces.
    #[schema(example = "/width")]
    pub pointer: String,
    /// What is wrong, and what would be valid.
    #[schema(example = "must be a whole number from 256 to 2048")]
    pub detail: String,
    /// `query` for a query parameter, `backend` for a backend that is not ready; absent for a field of the body.
    #[serde(rename = "in", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = json!("query"))]
    pub location: Option<&'static str>,
}

impl InvalidField {
    /// An invalid query parameter.
    pub fn query(name: &str, detail: impl Into<String>) -> Self {
        Self { pointer: format!("/{name}"), detail: detail.into(), location: Some("query") }
    }
}

impl From<FieldError> for InvalidField {
    fn from(FieldError { pointer, detail }: FieldError) -> Self {
        Self { pointer, detail, location: None }
    }
}

/// An error response. `observe.rs` adds the path and the request id, and writes the document.
#[derive(Debug, Clone)]
pub(super) struct Problem(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    code: Code,
    detail: Cow<'static, str>,
    errors: Vec<InvalidField>,
    image_checks: Vec<ImageCheckView>,
    retry_after: Option<Duration>,
    headers: HeaderMap,
}

/// An error: RFC 9457 with the additional members of this API.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Problem)]
pub(super) struct ProblemDocument<'a> {
    /// The kind of problem as a URI; `code` is its last part.
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
    /// The path of the request.
    #[schema(example = "/generate")]
    instance: &'a str,
    /// The kind of problem, for programs.
    #[schema(example = "invalid_fields")]
    code: &'a str,
    /// Identifies this request in the server's log; also in `X-Request-Id`.
    #[schema(example = "req_7d3f0c1be2a94f658d1c0a9b8e7f6a5b")]
    request_id: &'a str,
    /// Whether the same request may succeed later; `Retry-After` tells when.
    #[schema(example = false)]
    retryable: bool,
    /// All invalid fields.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(required = false)]
    errors: &'a [InvalidField],
    /// The result of the check of every training image, if some cannot be used.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(required = false)]
    verdicts: &'a [ImageCheckView],
    /// Always false.
    #[schema(example = false)]
    success: bool,
}

impl Problem {
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        let retry_after = (code.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(DEFAULT_RETRY);
        let detail = detail.into();
        let (errors, image_checks) = (Vec::new(), Vec::new());
        Self(Box::new(Inner { code, detail, errors, image_checks, retry_after, headers: HeaderMap::new() }))
    }

    /// All invalid fields and parameters of a request.
    pub fn invalid(errors: Vec<InvalidField>) -> Self {
        let detail = match errors.len() {
            1 => format!("invalid {}: {}", errors[0].pointer.trim_start_matches('/'), errors[0].detail),
            n => format!("{n} fields are invalid; `errors` explains each of them"),
        };
        Self::new(Code::InvalidFields, detail).with_errors(errors)
    }

    /// The response does not depend on what is wrong with the token.
    pub fn unauthorized() -> Self {
        Self::challenge(Code::Unauthorized, "send a valid token as Authorization: Bearer TOKEN; sign in to get one")
    }

    fn challenge(code: Code, detail: &'static str) -> Self {
        let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
        Self::new(code, detail).with_header(header::WWW_AUTHENTICATE, challenge)
    }

    /// The `userId` of the request differs from the token's user.
    pub fn user_id_mismatch() -> Self {
        Self::new(Code::UserIdMismatch, "userId must be the user id of the token, or be left out")
    }

    /// The job does not exist, or belongs to another user: the response must not tell the two apart.
    pub fn job_not_found(kind: JobKind) -> Self {
        Self::new(Code::NotFound, format!("no such {}", kind.noun()))
    }

    #[must_use]
    pub fn with_errors(mut self, errors: Vec<InvalidField>) -> Self {
        self.0.errors = errors;
        self
    }

    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    /// Sets `Retry-After`; `None` keeps the present value.
    #[must_use]
    pub fn retry_after(mut self, after: Option<Duration>) -> Self {
        self.0.retry_after = after.or(self.0.retry_after);
        self
    }

    /// The problem for a response of a library that has only a status.
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

    /// An example of a problem with this status, for the API description.
    pub fn example(status: &str) -> Option<Self> {
        let problem = match status {
            "400" => Self::new(Code::Malformed, "expected `,` or `}` at line 1 column 32"),
            "401" => Self::unauthorized(),
            "402" => Self::new(Code::InsufficientCredits, "4 credits needed, 3 available"),
            "403" => Self::user_id_mismatch(),
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

    /// The document for a request with this path and id.
    pub fn document(&self, instance: &str, request_id: &str) -> Vec<u8> {
        let (status, code, title) = self.0.code.definition();
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
            verdicts: &self.0.image_checks,
            success: false,
        };
        // Strings, numbers and lists always serialize.
        serde_json::to_vec(&document).unwrap_or_default()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.0.code.status().into_response();
        response.headers_mut().extend(self.0.headers.clone());
        if let Some(after) = self.0.retry_after {
            // Rounded up: a client that returns too early would be refused again.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<BackendError> for Problem {
    /// Logs the error in full; the client receives only what it can act on.
    fn from(error: BackendError) -> Self {
        let (code, detail) = match error.kind {
            ErrorKind::Unavailable => (Code::Unavailable, "a backend cannot be reached; try again later"),
            ErrorKind::Timeout => {
                (Code::Timeout, "a backend did not respond in time; the change may have happened or not")
            }
            ErrorKind::Conflict => (Code::Busy, "the job kept changing; try again"),
            ErrorKind::Broken => (Code::BackendBroken, "a backend is damaged or full; an operator has to repair it"),
            ErrorKind::AlreadyExists | ErrorKind::Refused | ErrorKind::Internal => {
                (Code::Internal, "something went wrong on our side")
            }
        };
        if error.is_transient() || error.kind == ErrorKind::Conflict {
            tracing::warn!(op = error.op, %error, "backend failed");
        } else {
            tracing::error!(op = error.op, %error, "backend failed");
        }
        let retry_after = error.retry_after.or((error.kind == ErrorKind::Broken).then_some(BROKEN_RETRY));
        match code {
            Code::Internal => Self::new(code, detail),
            code => Self::new(code, detail).retry_after(retry_after),
        }
    }
}

impl From<IdentityError> for Problem {
    /// Logs the cause; the response does not contain it, so that a caller cannot learn from guesses.
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::InvalidToken(cause) => {
                tracing::info!(%cause, "caller not identified");
                Self::unauthorized()
            }
            IdentityError::PathTokenExpired => Self::challenge(
                Code::StreamTokenExpired,
                "get a new address: POST .../stream-token for events, GET the job for its pictures",
            ),
            IdentityError::UnusableUser(invalid) => {
                Self::new(Code::UnusableUser, format!("the user id of the token cannot be used: {invalid}"))
            }
            IdentityError::Anonymous => Self::new(Code::UnusableUser, "anonymous users are not allowed; sign in"),
            IdentityError::KeysUnavailable { retry_after } => {
                tracing::warn!("callers cannot be identified: the keys that verify tokens could not be fetched");
                let detail = "the keys that verify tokens cannot be fetched; try again later";
                Self::new(Code::SignInUnavailable, detail).retry_after(Some(retry_after))
            }
        }
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Invalid(errors) => Self::invalid(errors.into_iter().map(InvalidField::from).collect()),
            SubmitError::Unfit { errors, verdicts } => {
                let mut problem = Self::invalid(errors.into_iter().map(InvalidField::from).collect());
                problem.0.image_checks = verdicts.into_iter().map(ImageCheckView::from).collect();
                problem
            }
            SubmitError::NoSuchBrand => Self::job_not_found(JobKind::Brand),
            SubmitError::KeyReused => {
                Self::new(Code::IdempotencyKeyReused, "use a new key, or repeat the first request unchanged")
            }
            SubmitError::KeySpent => Self::new(Code::IdempotencyKeySpent, "use a new key to create the job again"),
            SubmitError::NoCredits { needed, available } => {
                Self::new(Code::InsufficientCredits, format!("{needed} credits needed, {available} available"))
            }
            SubmitError::TooManyJobs(max) => Self::new(
                Code::TooManyJobs,
                format!("a user may have {max} unfinished jobs; wait until one is finished"),
            )
            .retry_after(Some(JOBS_RETRY)),
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
            UploadError::Taken => Self::new(Code::UploadTaken, "use POST /uploads to upload another file"),
            UploadError::Backend(error) => error.into(),
        }
    }
}
