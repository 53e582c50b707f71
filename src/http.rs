//! The one HTTP client: built here and nowhere else, so that TLS, pooling and redirects are the same everywhere.

use std::time::Duration;

use reqwest::{Client, ClientBuilder};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A client with keep-alive and without redirects, for the whole process: clones share its connections.
///
/// It sets no time limit on a request, because only the caller knows how long an answer may take. Redirects are not
/// followed: a push that is answered 302 was not acknowledged, and a provider does not send its callers elsewhere.
pub fn client() -> reqwest::Result<Client> {
    client_with(|builder| builder)
}

/// The same with what one caller needs beside.
pub fn client_with(adjust: impl Fn(ClientBuilder) -> ClientBuilder) -> reqwest::Result<Client> {
    // reqwest leaves the choice of cryptography to the program. A second call finds it chosen: that is no error.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = || {
        let builder = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .user_agent(concat!("mediaforge/", env!("CARGO_PKG_VERSION")));
        adjust(builder)
    };
    builder().build().or_else(|error| {
        // A minimal container has no certificate authorities, and needs none to push to itself.
        let client = builder().tls_certs_only([]).build()?;
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, "https is not possible on this system, only http; install ca-certificates");
        Ok(client)
    })
}
