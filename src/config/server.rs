//! The section of both HTTP servers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[server]`: what a client may cost either server.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// Connections open at once.
    pub connections: usize,
    /// Requests in hand at once; 0: any number.
    pub requests: usize,
    /// From a connection's begin to the end of its first request's head.
    #[serde(with = "super::duration")]
    pub header_timeout: Duration,
    /// From an answer to the end of the next request's head.
    #[serde(with = "super::duration")]
    pub idle_timeout: Duration,
    /// How long a body may take to arrive, except an uploaded file.
    #[serde(with = "super::duration")]
    pub body_timeout: Duration,
}
