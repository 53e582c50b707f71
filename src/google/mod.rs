//! Google Cloud: credentials, access tokens and the client of the REST APIs.

#[cfg(feature = "google-cloud")]
mod clients;
#[cfg(feature = "google-cloud")]
pub mod pubsub;
pub mod rest;
pub mod token;

use url::Url;

#[cfg(feature = "google-cloud")]
pub use self::clients::{base, credentials, failed, kind_of_code, kind_of_http};

/// Whether an endpoint is an emulator.
pub fn is_emulator(endpoint: Option<&Url>) -> bool {
    endpoint.is_some_and(|url| url.scheme() == "http")
}
