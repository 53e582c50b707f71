//! Opens the provisioning of the configured queue.

use super::google_cloud::project;
use crate::{
    config::{Config, QueueBackend},
    error::BackendError,
    provision::{self, Provisioner, PushTarget},
};

/// Why provisioning cannot start.
#[derive(Debug, thiserror::Error)]
pub enum CannotProvision {
    /// The embedded queue needs no provisioning.
    #[error("queue.backend is \"embedded\", which needs no provisioning")]
    NotPubSub,
    /// Settings are missing: their keys and meanings.
    #[error("these settings are not set: {}", .0.iter().map(|(key, _)| *key).collect::<Vec<_>>().join(", "))]
    Unset(Vec<(&'static str, &'static str)>),
    /// The clients cannot be built.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

/// Opens the provisioning of the queue.
pub async fn open_provisioner(config: &Config) -> Result<Provisioner, CannotProvision> {
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
            (
                "queue.pubsub.push_service_account",
                "the service account that signs the pushes of Pub/Sub",
                account.is_none(),
            ),
            ("worker.oidc.audience", "the audience of Pub/Sub's tokens, which the worker checks", audience.is_none()),
        ];
        let unset = keys.into_iter().filter(|(_, _, is_unset)| *is_unset);
        return Err(CannotProvision::Unset(unset.map(|(key, what, _)| (key, what)).collect()));
    };
    let push = PushTarget { url: url.clone(), service_account: service_account.clone(), audience: audience.clone() };
    Ok(provision::open(project(config), pubsub, push).await?)
}
