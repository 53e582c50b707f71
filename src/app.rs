//! The composition root: from a configuration to running roles.

use std::path::PathBuf;

pub use crate::config::Roles;
use crate::{config::Config, lifecycle::Shutdown};

/// Roles that listen.
#[derive(Debug)]
pub struct Running {
    /// The gateway's base URL, for example `http://127.0.0.1:8080`; absent when it does not run here.
    pub gateway: Option<String>,
    /// The worker's base URL.
    pub worker: Option<String>,
    /// Where the data lies.
    pub data_dir: PathBuf,
}

impl Running {
    /// Returns after the shutdown was requested and everything has drained.
    #[expect(clippy::unused_async, reason = "not yet composed")]
    pub async fn wait(self) -> Result<(), AppError> {
        Err(AppError::NotComposed)
    }
}

/// Why the roles could not start or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// There is nothing to start yet.
    #[error("this build has no gateway and no worker yet")]
    NotComposed,
}

/// Starts the roles; returns once they listen.
#[expect(clippy::unused_async, reason = "not yet composed")]
pub async fn start(_config: &Config, _roles: Roles, _shutdown: Shutdown) -> Result<Running, AppError> {
    Err(AppError::NotComposed)
}
