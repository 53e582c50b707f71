//! The one place where HTTP clients are made.

use std::time::Duration;

/// A client builder with this program's TLS, user agent and connect timeout.
pub fn builder() -> reqwest::ClientBuilder {
    // Fails only when a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .user_agent(concat!("mediaforge/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(5))
}

/// A client for every ordinary use; cheap to clone, so that its connections are shared.
pub fn client() -> reqwest::Result<reqwest::Client> {
    builder().build()
}
