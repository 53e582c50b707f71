//! Stands for `tokens.rs` in a build without Google Cloud: there are no credentials.

use async_trait::async_trait;

use super::{Authorization, TokenError, TokenSource};

/// Fails every request for a token.
pub struct GoogleTokens(());

impl GoogleTokens {
    /// Explains, when a token is needed, how to build with Google Cloud.
    pub fn application_default() -> Self {
        Self(())
    }
}

#[async_trait]
impl TokenSource for GoogleTokens {
    async fn authorization(&self) -> Result<Authorization, TokenError> {
        let message =
            "this build does not include Google Cloud; build again without `--no-default-features`".to_owned();
        Err(TokenError { is_transient: false, message })
    }

    async fn refused(&self, _generation: u64) {}
}
