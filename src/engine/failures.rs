//! What a failed call of another server means for an attempt.

use crate::{
    domain::failure::{AttemptFailure, ErrorCode},
    error::root_cause,
    google::{rest::RestError, token::TokenError},
    http::{ExchangeError, excerpt},
};

/// A call of `server` without a response. `attempt` bounds how often a response that is too long is tried again.
pub(super) fn of_exchange(server: &str, error: &ExchangeError, attempt: u32) -> AttemptFailure {
    match error {
        ExchangeError::Timeout { after, .. } => {
            AttemptFailure::retry(ErrorCode::EngineTimeout, format!("{server} did not answer within {after:?}"))
        }
        ExchangeError::TooLong { limit, .. } => {
            AttemptFailure::unusable(attempt, format!("{server} answers with more than {limit} bytes"))
        }
        ExchangeError::Unreachable { host, source } | ExchangeError::Interrupted { host, source }
            if source.is_timeout() =>
        {
            let cause = root_cause(source);
            AttemptFailure::retry(ErrorCode::EngineTimeout, format!("{server} at {host} takes too long: {cause}"))
        }
        ExchangeError::Unreachable { .. } | ExchangeError::Interrupted { .. } => {
            AttemptFailure::retry(ErrorCode::EngineUnavailable, format!("{server} at {error}"))
        }
    }
}

/// A call of one of Google's services without a response.
pub(super) fn of_rest(server: &str, error: &RestError, attempt: u32) -> AttemptFailure {
    match error {
        RestError::Exchange(error) => of_exchange(server, error, attempt),
        RestError::Token(error) => of_token(error),
        RestError::Request(error) => {
            AttemptFailure::misconfigured(format!("the address of {server} is not one: {}", root_cause(error)))
        }
    }
}

fn of_token(error: &TokenError) -> AttemptFailure {
    let message = excerpt(&error.message);
    if error.is_transient {
        let message = format!("there is no access token for Google Cloud: {message}");
        return AttemptFailure::retry(ErrorCode::EngineUnavailable, message);
    }
    AttemptFailure::misconfigured(format!(
        "there are no usable credentials for Google Cloud; look at the service account or at \
         GOOGLE_APPLICATION_CREDENTIALS: {message}"
    ))
}
