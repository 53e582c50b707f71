//! The sections about Google Cloud and about authentication.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;

use super::SecretRef;

/// `[gcp]`: what every Google Cloud backend needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GcpConfig {
    /// The project id.
    pub project: Option<String>,
}

/// `[store.firestore]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirestoreConfig {
    /// The database id.
    pub database: String,
    /// The address to use instead of Google's, for an emulator or a private endpoint.
    pub endpoint: Option<Url>,
}

/// `[queue.pubsub]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PubSubConfig {
    /// The address to use instead of Google's, for an emulator or a private endpoint.
    pub endpoint: Option<Url>,
    /// The worker's address. `provision` configures Pub/Sub to push there.
    pub push_url: Option<Url>,
    /// The service account that signs Pub/Sub's pushes. `provision` sets it.
    pub push_service_account: Option<String>,
}

/// `[media.gcs]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GcsConfig {
    /// The bucket name.
    pub bucket: Option<String>,
    /// How clients fetch pictures.
    pub urls: GcsUrls,
    /// How long a signed URL is valid.
    #[serde(with = "super::duration")]
    pub url_expires: Duration,
    /// The JSON key of the service account that signs URLs. Absent: the credentials of this process.
    #[serde(default)]
    pub signing_key: SecretRef,
    /// The address to use instead of Google's, for an emulator or a private endpoint.
    pub endpoint: Option<Url>,
}

/// How clients fetch pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GcsUrls {
    /// Signed URLs, which expire.
    Signed,
    /// The plain addresses of a bucket that is publicly readable.
    Public,
}

/// `[gateway.firebase]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirebaseConfig {
    /// The Firebase project id. Absent: `gcp.project`.
    pub project: Option<String>,
    /// Whether anonymous Firebase users are accepted.
    pub allow_anonymous: bool,
    /// Where to fetch the public keys that verify tokens.
    pub keys_url: Url,
}

/// `[gateway.stream_tokens]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamTokensConfig {
    /// The signing key: 32 bytes or more, the same for every instance.
    #[serde(default)]
    pub key: SecretRef,
    /// How long a token is valid.
    #[serde(with = "super::duration")]
    pub ttl: Duration,
}

/// How the worker authenticates its callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PushAuth {
    /// It does not: for the embedded broker on one machine.
    None,
    /// By a token that Google signed and the worker verifies.
    Oidc,
    /// By the same token, after Cloud Run's IAM has verified it and removed its signature.
    CloudRunIam,
}

/// `[worker.oidc]`: the claims that callers' tokens must have.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcConfig {
    /// The audience of the token; Pub/Sub and the scheduler request tokens for it.
    pub audience: Option<String>,
    /// Emails of the service accounts that may call.
    pub service_accounts: Vec<String>,
    /// Where to fetch the public keys that verify tokens.
    pub keys_url: Url,
}
