//! What `mediaforge provision` needs from the configuration, and its connection to Pub/Sub.

use super::google_cloud::project;
pub use crate::queue::{Action, Kind, Provision, ProvisionError, Provisioned, iam_commands};
use crate::{
    config::{Config, QueueBackend},
    error::BackendError,
    queue,
};

/// Why there is nothing to provision.
#[derive(Debug, thiserror::Error)]
pub enum CannotProvision {
    /// The queue needs no provisioning.
    #[error("queue.backend is \"embedded\", which needs nothing made for it")]
    NotPubSub,
    /// Settings are missing.
    #[error("these settings are not set: {}", .0.iter().map(|(key, _)| *key).collect::<Vec<_>>().join(", "))]
    Unset(Vec<(&'static str, &'static str)>),
    /// The clients cannot be made.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

/// Opens the administration of the queue; each key that is missing is named, with what it says.
pub async fn open_provision(config: &Config) -> Result<Provision, CannotProvision> {
    if config.queue.backend != QueueBackend::PubSub {
        return Err(CannotProvision::NotPubSub);
    }
    let pubsub = &config.queue.pubsub;
    let (url, account, audience) = (&pubsub.push_url, &pubsub.push_service_account, &config.worker.oidc.audience);
    let (Some(_), Some(url), Some(service_account), Some(audience)) = (&config.gcp.project, url, account, audience)
    else {
        let keys = [
            ("gcp.project", "the project's id", config.gcp.project.is_none()),
            ("queue.pubsub.push_url", "the worker's address, https://…", url.is_none()),
            ("queue.pubsub.push_service_account", "the account in whose name Pub/Sub pushes", account.is_none()),
            ("worker.oidc.audience", "what Pub/Sub's tokens are made for and the worker expects", audience.is_none()),
        ];
        let unset = keys.into_iter().filter(|(_, _, is_unset)| *is_unset);
        return Err(CannotProvision::Unset(unset.map(|(key, what, _)| (key, what)).collect()));
    };
    let push = queue::Push { url: url.clone(), service_account: service_account.clone(), audience: audience.clone() };
    Ok(queue::open_provision(project(config), pubsub, push).await?)
}
