//! Tokens of the application's credentials.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use google_cloud_auth::{
    build_errors::Error as BuildError,
    credentials::{AccessTokenCredentials, Builder, CacheableResource, CredentialsProvider as _},
};
use google_cloud_gax::error::CredentialsError;
use http::Extensions;
use tokio::sync::Mutex;

use super::{Authorization, TokenError, TokenSource};

/// The scope that every service of Google Cloud accepts.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// How long a first token may take.
const TIMEOUT: Duration = Duration::from_secs(20);

type Build = dyn Fn() -> Result<AccessTokenCredentials, BuildError> + Send + Sync;

/// Tokens of google-cloud-auth, which caches a token and renews it four minutes before its end.
///
/// Credentials that were refused, or failed permanently, are read again, so that repairing a key or a role needs no
/// restart.
pub struct GoogleTokens {
    build: Arc<Build>,
    current: Mutex<Current>,
}

#[derive(Default)]
struct Current {
    generation: u64,
    credentials: Option<AccessTokenCredentials>,
}

impl GoogleTokens {
    /// The application's default credentials.
    pub fn application_default() -> Self {
        Self::new(|| Builder::default().with_scopes([SCOPE]).build_access_token_credentials())
    }

    /// The credentials that `build` makes, at their first use and in a runtime. It may read a file.
    pub fn new(build: impl Fn() -> Result<AccessTokenCredentials, BuildError> + Send + Sync + 'static) -> Self {
        Self { build: Arc::new(build), current: Mutex::default() }
    }

    async fn current(&self) -> Result<(u64, AccessTokenCredentials), TokenError> {
        let mut current = self.current.lock().await;
        if let Some(credentials) = &current.credentials {
            return Ok((current.generation, credentials.clone()));
        }
        let build = Arc::clone(&self.build);
        let made = tokio::task::spawn_blocking(move || build()).await.map_err(|panic| permanent(&panic))?;
        let credentials = made.map_err(|error| permanent(&error))?;
        current.credentials = Some(credentials.clone());
        Ok((current.generation, credentials))
    }
}

#[async_trait]
impl TokenSource for GoogleTokens {
    async fn authorization(&self) -> Result<Authorization, TokenError> {
        let (generation, credentials) = self.current().await?;
        let headers = tokio::time::timeout(TIMEOUT, credentials.headers(Extensions::new())).await;
        let error = match headers {
            Ok(Ok(CacheableResource::New { data: headers, .. })) => return Ok(Authorization { headers, generation }),
            Ok(Ok(CacheableResource::NotModified)) => permanent(&"the credentials gave no token"),
            Ok(Err(error)) => failed(&error),
            Err(_) => TokenError { is_transient: true, message: format!("no token came within {TIMEOUT:?}") },
        };
        if !error.is_transient {
            // The crate does not try again after such an error.
            self.refused(generation).await;
        }
        Err(error)
    }

    async fn refused(&self, generation: u64) {
        let mut current = self.current.lock().await;
        if current.generation == generation {
            *current = Current { generation: generation + 1, credentials: None };
        }
    }
}

fn permanent(error: &dyn std::fmt::Display) -> TokenError {
    TokenError { is_transient: false, message: error.to_string() }
}

fn failed(error: &CredentialsError) -> TokenError {
    TokenError { is_transient: error.is_transient(), message: error.to_string() }
}
