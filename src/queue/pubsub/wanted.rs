//! The topics and subscriptions as they are meant to be.

use std::time::Duration;

use google_cloud_pubsub::model::{
    DeadLetterPolicy, ExpirationPolicy, PushConfig, RetryPolicy, Subscription, push_config::OidcToken,
};
use url::Url;

use super::PubSubProject;
use crate::{
    domain::kind::JobKind,
    queue::{DEAD_LETTER_SUBSCRIPTION, DEAD_LETTER_TOPIC},
};

/// How long a push may take: the most there is, for a push waits for a free slot.
const ACK_DEADLINE: i32 = 600;
/// How long a message that no worker takes is kept: the sweeper publishes anew what is lost.
const RETENTION: Duration = Duration::from_hours(1);
/// Deliveries of a message before it is a dead letter.
const MAX_DELIVERY_ATTEMPTS: i32 = 5;
const MIN_BACKOFF: Duration = Duration::from_secs(10);
const MAX_BACKOFF: Duration = Duration::from_mins(10);
/// How long operators have for a dead letter: the longest there is.
const DEAD_LETTER_RETENTION: Duration = Duration::from_hours(31 * 24);
/// How long what an operator looks at is hidden from others, should it not be given back.
const DEAD_LETTER_ACK_DEADLINE: i32 = 60;

/// How Pub/Sub reaches the workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// The worker's address; each kind's endpoint is below it.
    pub url: Url,
    /// The service account in whose name the tokens are made.
    pub service_account: String,
    /// For whom the tokens are made.
    pub audience: String,
}

/// Every subscription.
pub(super) fn subscriptions(project: &PubSubProject, push: &Push) -> Vec<Subscription> {
    let pushed = JobKind::ALL.into_iter().map(|kind| pushed(project, push, kind));
    pushed.chain([pulled(project)]).collect()
}

fn pushed(project: &PubSubProject, push: &Push, kind: JobKind) -> Subscription {
    let Push { url, service_account, audience } = push;
    let endpoint = format!("{}{}", url.as_str().trim_end_matches('/'), kind.endpoint());
    let token = OidcToken::new().set_service_account_email(service_account).set_audience(audience);
    let config = PushConfig::new().set_push_endpoint(endpoint).set_oidc_token(token);
    let dead_letters = DeadLetterPolicy::new()
        .set_dead_letter_topic(project.topic(DEAD_LETTER_TOPIC))
        .set_max_delivery_attempts(MAX_DELIVERY_ATTEMPTS);
    let retries = RetryPolicy::new().set_minimum_backoff(wkt(MIN_BACKOFF)).set_maximum_backoff(wkt(MAX_BACKOFF));
    lasting(project, kind.subscription(), kind.topic())
        .set_ack_deadline_seconds(ACK_DEADLINE)
        .set_message_retention_duration(wkt(RETENTION))
        .set_push_config(config.set_attributes([("x-goog-version", "v1")]))
        .set_dead_letter_policy(dead_letters)
        .set_retry_policy(retries)
}

/// Without a retry policy, so that what one reader gives back the next one finds at once.
fn pulled(project: &PubSubProject) -> Subscription {
    lasting(project, DEAD_LETTER_SUBSCRIPTION, DEAD_LETTER_TOPIC)
        .set_ack_deadline_seconds(DEAD_LETTER_ACK_DEADLINE)
        .set_message_retention_duration(wkt(DEAD_LETTER_RETENTION))
}

/// One that does not expire when nothing happens for a month.
fn lasting(project: &PubSubProject, name: &str, topic: &str) -> Subscription {
    Subscription::new()
        .set_name(project.subscription(name))
        .set_topic(project.topic(topic))
        .set_expiration_policy(ExpirationPolicy::new())
}

fn wkt(duration: Duration) -> google_cloud_wkt::Duration {
    google_cloud_wkt::Duration::clamp(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX), 0)
}
