//! The kinds of problem and their HTTP statuses.

use axum::http::StatusCode;

/// A kind of problem; clients distinguish kinds by [`Code::as_str`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) enum Code {
    Malformed,
    IdempotencyKeyInvalid,
    Unauthorized,
    StreamTokenExpired,
    InsufficientCredits,
    UserIdMismatch,
    UnusableUser,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    JobNotFinished,
    IdempotencyKeySpent,
    UploadTaken,
    UnusablePicture,
    UnusableArchive,
    PayloadTooLarge,
    UnsupportedMediaType,
    RangeNotSatisfiable,
    InvalidFields,
    TooManyJobs,
    TooManyRequests,
    TooManyStreams,
    IdempotencyKeyReused,
    Internal,
    Unavailable,
    SignInUnavailable,
    Timeout,
    Busy,
    Overloaded,
    BackendBroken,
    NotReady,
    Draining,
}

impl Code {
    /// Status, machine-readable code, title.
    pub(super) fn definition(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::Malformed => (S::BAD_REQUEST, "malformed_request", "The request cannot be read"),
            Self::IdempotencyKeyInvalid => {
                (S::BAD_REQUEST, "idempotency_key_invalid", "The Idempotency-Key is invalid")
            }
            Self::Unauthorized => (S::UNAUTHORIZED, "unauthorized", "A valid token is required"),
            Self::StreamTokenExpired => (S::UNAUTHORIZED, "stream_token_expired", "The address has expired"),
            Self::UserIdMismatch => (S::FORBIDDEN, "not_your_user_id", "The userId belongs to another user"),
            Self::UnusableUser => (S::FORBIDDEN, "unusable_user", "The user of the token cannot use this service"),
            Self::InsufficientCredits => (S::PAYMENT_REQUIRED, "insufficient_credits", "Not enough credits"),
            Self::NotFound => (S::NOT_FOUND, "not_found", "Not found"),
            Self::MethodNotAllowed => (S::METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed"),
            Self::RequestTimeout => (S::REQUEST_TIMEOUT, "request_timeout", "The request took too long to arrive"),
            Self::JobNotFinished => (S::CONFLICT, "job_not_finished", "The job is not finished"),
            Self::IdempotencyKeySpent => {
                (S::CONFLICT, "idempotency_key_spent", "The job made with this Idempotency-Key was deleted")
            }
            Self::UploadTaken => (S::CONFLICT, "upload_taken", "Another file was uploaded under this id"),
            Self::UnusablePicture => {
                (S::UNPROCESSABLE_ENTITY, "unusable_picture", "The file cannot be used as a picture")
            }
            Self::UnusableArchive => {
                (S::UNPROCESSABLE_ENTITY, "unusable_archive", "The file cannot be used as an archive")
            }
            Self::PayloadTooLarge => (S::PAYLOAD_TOO_LARGE, "payload_too_large", "The body is too large"),
            Self::UnsupportedMediaType => {
                (S::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "The Content-Type of the body is not JSON")
            }
            Self::RangeNotSatisfiable => {
                (S::RANGE_NOT_SATISFIABLE, "range_not_satisfiable", "The range is outside the file")
            }
            Self::InvalidFields => (S::UNPROCESSABLE_ENTITY, "invalid_fields", "Some fields are invalid"),
            Self::IdempotencyKeyReused => {
                (S::UNPROCESSABLE_ENTITY, "idempotency_key_reused", "This Idempotency-Key was used for another request")
            }
            Self::TooManyJobs => (S::TOO_MANY_REQUESTS, "too_many_jobs", "Too many unfinished jobs"),
            Self::TooManyRequests => (S::TOO_MANY_REQUESTS, "too_many_requests", "Too many requests"),
            Self::TooManyStreams => (S::TOO_MANY_REQUESTS, "too_many_streams", "Too many open streams"),
            Self::Internal => (S::INTERNAL_SERVER_ERROR, "internal", "Internal error"),
            Self::Unavailable => (S::SERVICE_UNAVAILABLE, "unavailable", "Temporarily unavailable"),
            Self::SignInUnavailable => {
                (S::SERVICE_UNAVAILABLE, "sign_in_unavailable", "Tokens cannot be verified at the moment")
            }
            Self::Timeout => (S::SERVICE_UNAVAILABLE, "timeout", "A backend did not respond in time"),
            Self::Busy => (S::SERVICE_UNAVAILABLE, "busy", "Too many changes at once"),
            Self::Overloaded => (S::SERVICE_UNAVAILABLE, "overloaded", "Too many requests at once"),
            Self::BackendBroken => (S::SERVICE_UNAVAILABLE, "backend_broken", "A backend requires an operator"),
            Self::NotReady => (S::SERVICE_UNAVAILABLE, "not_ready", "Not ready"),
            Self::Draining => (S::SERVICE_UNAVAILABLE, "draining", "Shutting down"),
        }
    }

    pub(super) fn status(self) -> StatusCode {
        self.definition().0
    }

    /// The stable name for programs.
    pub(super) fn as_str(self) -> &'static str {
        self.definition().1
    }

    /// Whether the same request may succeed later.
    pub(super) fn retryable(self) -> bool {
        matches!(
            self.status(),
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
        )
    }
}
