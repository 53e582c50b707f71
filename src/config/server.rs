//! The section about both HTTP servers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[server]`: the limits of both HTTP servers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// Maximum number of open connections.
    pub connections: usize,
    /// Maximum number of concurrent requests; 0 means no limit.
    pub requests: usize,
    /// Maximum time from the start of a connection to the end of the first request's head.
    #[serde(with = "super::duration")]
    pub header_timeout: Duration,
    /// Maximum time from a response to the end of the next request's head.
    #[serde(with = "super::duration")]
    pub idle_timeout: Duration,
    /// Maximum time for a request body to arrive, except for an uploaded file.
    #[serde(with = "super::duration")]
    pub body_timeout: Duration,
}
