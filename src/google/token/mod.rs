//! Access tokens, for the services that are called without a client of Google's.

#[cfg_attr(not(feature = "google-cloud"), path = "tokens_not_included.rs")]
mod tokens;

use async_trait::async_trait;
use http::HeaderMap;

pub use self::tokens::GoogleTokens;

/// What a request carries to say who asks.
#[derive(Debug, Clone)]
pub struct Authorization {
    /// `Authorization`, and where the credentials name one, the project that is charged.
    pub headers: HeaderMap,
    /// Which credentials made it; see [`TokenSource::refused`].
    pub generation: u64,
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TokenError {
    /// Whether it can come right without anybody's help.
    pub is_transient: bool,
    /// What happened; for operators, without secrets.
    pub message: String,
}

/// Where tokens come from. Cheap to ask: a token is kept until shortly before it ends, and is fetched once for all who
/// wait for it.
#[async_trait]
pub trait TokenSource: Send + Sync {
    /// What a request carries now.
    async fn authorization(&self) -> Result<Authorization, TokenError>;

    /// A service refused what these credentials made: the next authorization is a new one. Said by many of the same
    /// generation, it is done once.
    async fn refused(&self, generation: u64);
}
