//! The one HTTP client: built here and nowhere else, so that TLS, pooling and redirects are the same everywhere.

use std::time::Duration;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A client with keep-alive and without redirects, for the whole process: clones share its connections.
///
/// It sets no time limit on a request, because only the caller knows how long an answer may take. Redirects are not
/// followed: a push that is answered 302 was not acknowledged, and a provider does not send its callers elsewhere.
pub fn client() -> Result<reqwest::Client, reqwest::Error> {
    // reqwest leaves the choice of cryptography to the program. A second call finds it chosen: that is no error.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .tcp_nodelay(true)
        .user_agent(concat!("mediaforge/", env!("CARGO_PKG_VERSION")))
        .build()
}
