//! Creates and repairs the cloud resources that the queue needs: topics and subscriptions. A plan compares what exists with
//! what is desired, and each of its steps can be applied.

mod iam;
mod pubsub;

use google_cloud_gax::error::Error;
use serde::Serialize;
use url::Url;

pub use self::{iam::iam_commands, pubsub::Provisioner};
use crate::{config::PubSubConfig, error::BackendError, google::pubsub::PubSubProject};

/// Opens the Pub/Sub of a project. The first call connects.
pub async fn open(project: &str, config: &PubSubConfig, push: PushTarget) -> Result<Provisioner, BackendError> {
    Provisioner::open(PubSubProject::new(project, config.endpoint.clone()), push).await
}

/// Where and how Pub/Sub pushes messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushTarget {
    /// The worker's address; each kind's endpoint is below it.
    pub url: Url,
    /// The service account that signs the pushes.
    pub service_account: String,
    /// The audience of the tokens.
    pub audience: String,
}

/// A topic or a subscription with the change that it needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedResource {
    /// Topic or subscription.
    pub kind: ResourceKind,
    /// Its short name.
    pub name: String,
    /// The change.
    pub action: Action,
    /// The fields that differ.
    pub drift: Vec<Drift>,
}

/// A kind of resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ResourceKind {
    /// Receives published messages.
    Topic,
    /// Delivers the messages of a topic.
    Subscription,
}

/// The change that a resource needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// None: it is as desired.
    Nothing,
    /// It does not exist.
    Create,
    /// At least one field that differs can be changed.
    Update,
    /// No field that differs can be changed: a person must delete the resource.
    Blocked,
}

/// A field that differs from the desired one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// The service's name of the field.
    pub field: &'static str,
    /// The present value.
    pub have: String,
    /// The desired value.
    pub want: String,
    /// Whether the field can be changed. If not, the subscription must be deleted and created again.
    pub repairable: bool,
    /// The path of the field in an update mask.
    #[serde(skip)]
    mask: Option<&'static str>,
}

/// Why a resource could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// The account that runs this lacks a permission.
    #[error("{what}: permission denied: {source}")]
    Denied {
        /// The failed operation, for example `cannot create topic projects/p/topics/t`.
        what: String,
        /// The role on the project that permits it.
        role: &'static str,
        /// The error of the service.
        source: Box<Error>,
    },
    /// Any other failure.
    #[error(transparent)]
    Backend(#[from] BackendError),
}
