//! The desired configuration of each subscription.

use std::time::Duration;

use google_cloud_pubsub::model::{
    DeadLetterPolicy, ExpirationPolicy, PushConfig, RetryPolicy, Subscription, push_config::OidcToken,
};

use crate::{
    domain::{
        kind::JobKind,
        message::{DEAD_LETTER_SUBSCRIPTION, DEAD_LETTER_TOPIC},
    },
    google::pubsub::PubSubProject,
    provision::PushTarget,
};

/// The time limit of a push in seconds. The maximum, because a push waits for a free slot.
const ACK_DEADLINE: i32 = 600;
/// How long a message is kept that no worker acknowledges. The sweeper publishes again what is lost.
const RETENTION: Duration = Duration::from_hours(1);
/// How often a message is delivered before it becomes a dead letter.
const MAX_DELIVERY_ATTEMPTS: i32 = 5;
const MIN_BACKOFF: Duration = Duration::from_secs(10);
const MAX_BACKOFF: Duration = Duration::from_mins(10);
/// How long a dead letter is kept for operators. The maximum.
const DEAD_LETTER_RETENTION: Duration = Duration::from_hours(31 * 24);
/// Seconds for which a dead letter that a reader holds is hidden from other readers, if the reader does not release it.
const DEAD_LETTER_ACK_DEADLINE: i32 = 60;

/// Every subscription.
pub(super) fn subscriptions(project: &PubSubProject, push: &PushTarget) -> Vec<Subscription> {
    let pushed = JobKind::ALL.into_iter().map(|kind| job_subscription(project, push, kind));
    pushed.chain([dead_letter_subscription(project)]).collect()
}

/// Pushes the messages of a kind to the workers.
fn job_subscription(project: &PubSubProject, push: &PushTarget, kind: JobKind) -> Subscription {
    let PushTarget { url, service_account, audience } = push;
    let endpoint = format!("{}{}", url.as_str().trim_end_matches('/'), kind.endpoint());
    let token = OidcToken::new().set_service_account_email(service_account).set_audience(audience);
    let config = PushConfig::new().set_push_endpoint(endpoint).set_oidc_token(token);
    let dead_letters = DeadLetterPolicy::new()
        .set_dead_letter_topic(project.topic(DEAD_LETTER_TOPIC))
        .set_max_delivery_attempts(MAX_DELIVERY_ATTEMPTS);
    let retries =
        RetryPolicy::new().set_minimum_backoff(to_proto(MIN_BACKOFF)).set_maximum_backoff(to_proto(MAX_BACKOFF));
    permanent(project, kind.subscription(), kind.topic())
        .set_ack_deadline_seconds(ACK_DEADLINE)
        .set_message_retention_duration(to_proto(RETENTION))
        .set_push_config(config.set_attributes([("x-goog-version", "v1")]))
        .set_dead_letter_policy(dead_letters)
        .set_retry_policy(retries)
}

/// Pulled by operators. It has no retry policy, so that a message that one reader releases is available to the next at
/// once.
fn dead_letter_subscription(project: &PubSubProject) -> Subscription {
    permanent(project, DEAD_LETTER_SUBSCRIPTION, DEAD_LETTER_TOPIC)
        .set_ack_deadline_seconds(DEAD_LETTER_ACK_DEADLINE)
        .set_message_retention_duration(to_proto(DEAD_LETTER_RETENTION))
}

/// A subscription that does not expire. By default a subscription expires after 31 days without activity.
fn permanent(project: &PubSubProject, name: &str, topic: &str) -> Subscription {
    Subscription::new()
        .set_name(project.subscription(name))
        .set_topic(project.topic(topic))
        .set_expiration_policy(ExpirationPolicy::new())
}

fn to_proto(duration: Duration) -> google_cloud_wkt::Duration {
    google_cloud_wkt::Duration::clamp(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX), 0)
}
