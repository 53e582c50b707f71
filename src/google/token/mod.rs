//! Access tokens, for calls without a client of Google's.

#[cfg_attr(not(feature = "google-cloud"), path = "tokens_not_included.rs")]
mod tokens;

use async_trait::async_trait;
use http::HeaderMap;

pub use self::tokens::GoogleTokens;

/// The headers that authorize a request.
#[derive(Debug, Clone)]
pub struct Authorization {
    /// `Authorization`, and the project that is charged, if the credentials name one.
    pub headers: HeaderMap,
    /// Identifies the credentials; see [`TokenSource::refused`].
    pub generation: u64,
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TokenError {
    /// Whether a retry can succeed without an operator.
    pub is_transient: bool,
    /// For operators; contains no secrets.
    pub message: String,
}

/// A source of access tokens. It caches a token until shortly before its end, and fetches one only once for all waiting
/// callers.
#[async_trait]
pub trait TokenSource: Send + Sync {
    /// The headers for a request now.
    async fn authorization(&self) -> Result<Authorization, TokenError>;

    /// Reports that a service refused these credentials: the next authorization is a new one. Several reports for one
    /// generation renew it only once.
    async fn refused(&self, generation: u64);
}
