//! The sections of Google Cloud's parts and of who may call what.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;

use super::SecretRef;

/// `[gcp]`: what all of Google Cloud's parts need to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GcpConfig {
    /// The project's id.
    pub project: Option<String>,
}

/// `[store.firestore]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirestoreConfig {
    /// The database's id.
    pub database: String,
    /// Where it is, instead of Google's own address.
    pub endpoint: Option<Url>,
}

/// `[queue.pubsub]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PubSubConfig {
    /// Where it is, instead of Google's own address.
    pub endpoint: Option<Url>,
    /// The worker's address, to which `provision` lets Pub/Sub push.
    pub push_url: Option<Url>,
    /// The service account in whose name `provision` lets Pub/Sub push.
    pub push_service_account: Option<String>,
}

/// `[media.gcs]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GcsConfig {
    /// The bucket's name.
    pub bucket: Option<String>,
    /// How clients fetch pictures.
    pub urls: GcsUrls,
    /// How long a signed URL works.
    #[serde(with = "super::duration")]
    pub url_expires: Duration,
    /// The JSON key of a service account that signs URLs; absent: the credentials this process runs with.
    #[serde(default)]
    pub signing_key: SecretRef,
    /// Where it is, instead of Google's own address.
    pub endpoint: Option<Url>,
}

/// How clients fetch pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GcsUrls {
    /// By URLs that carry a signature and expire.
    Signed,
    /// By the plain address of a bucket that everybody may read.
    Public,
}

/// `[gateway.firebase]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirebaseConfig {
    /// The Firebase project's id; absent: `gcp.project`.
    pub project: Option<String>,
    /// Whether users who have not signed in may call.
    pub allow_anonymous: bool,
    /// Where the keys are that tokens are signed with.
    pub keys_url: Url,
}

/// `[gateway.stream_tokens]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamTokensConfig {
    /// What they are signed with: 32 bytes or more, the same for every instance.
    #[serde(default)]
    pub key: SecretRef,
    /// How long one opens streams.
    #[serde(with = "super::duration")]
    pub ttl: Duration,
}

/// How callers of the worker are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PushAuth {
    /// Not at all: for the embedded broker on one machine.
    None,
    /// By a token that Google has signed, verified here.
    Oidc,
    /// By the same token, which Cloud Run's IAM has verified and stripped of its signature.
    CloudRunIam,
}

/// `[worker.oidc]`: what the tokens of the worker's callers must say.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcConfig {
    /// For whom the token is made; what Pub/Sub and the scheduler are told to ask for.
    pub audience: Option<String>,
    /// Emails of the service accounts that may call.
    pub service_accounts: Vec<String>,
    /// Where the keys are that tokens are signed with.
    pub keys_url: Url,
}
