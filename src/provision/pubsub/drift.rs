//! How an existing subscription differs from the desired one.

use google_cloud_pubsub::model::{Subscription, push_config::Wrapper};
use google_cloud_wkt::Duration;

use crate::provision::Drift;

/// The name of a field, its value as text, and its path in an update mask if it can be changed.
type Field = (&'static str, String, Option<&'static str>);

/// The fields of `have` that differ from `want`.
pub(super) fn drift(have: &Subscription, want: &Subscription) -> Vec<Drift> {
    let pairs = fields(have).into_iter().zip(fields(want));
    pairs
        .filter(|(have, want)| have != want)
        .map(|((field, have, mask), (_, want, _))| Drift { field, have, want, repairable: mask.is_some(), mask })
        .collect()
}

fn fields(it: &Subscription) -> Vec<Field> {
    let mut fields = vec![
        ("topic", it.topic.clone(), None),
        ("filter", or_none(&it.filter), None),
        ("enableMessageOrdering", it.enable_message_ordering.to_string(), None),
        ("detached", it.detached.to_string(), None),
        ("export", export(it).to_owned(), None),
        ("ackDeadlineSeconds", it.ack_deadline_seconds.to_string(), Some("ack_deadline_seconds")),
        ("messageRetentionDuration", seconds(it.message_retention_duration), Some("message_retention_duration")),
        ("expirationPolicy.ttl", expiry(it), Some("expiration_policy")),
        (
            "enableExactlyOnceDelivery",
            it.enable_exactly_once_delivery.to_string(),
            Some("enable_exactly_once_delivery"),
        ),
    ];
    fields.extend(dead_letters(it));
    fields.extend(retries(it));
    fields.extend(push(it));
    fields
}

fn dead_letters(it: &Subscription) -> [Field; 2] {
    let mask = Some("dead_letter_policy");
    let policy = it.dead_letter_policy.as_ref();
    let topic = policy.map(|policy| policy.dead_letter_topic.clone());
    // 0 means the default.
    let attempts = policy.map(|policy| match policy.max_delivery_attempts {
        0 => "5".to_owned(),
        attempts => attempts.to_string(),
    });
    [
        ("deadLetterPolicy.deadLetterTopic", topic.unwrap_or_else(none), mask),
        ("deadLetterPolicy.maxDeliveryAttempts", attempts.unwrap_or_else(none), mask),
    ]
}

fn retries(it: &Subscription) -> [Field; 2] {
    let mask = Some("retry_policy");
    let policy = it.retry_policy.as_ref();
    let backoff = |backoff: Option<Duration>, default: &str| match backoff {
        None => default.to_owned(),
        some => seconds(some),
    };
    let least = policy.map(|policy| backoff(policy.minimum_backoff, "10s"));
    let most = policy.map(|policy| backoff(policy.maximum_backoff, "600s"));
    [
        ("retryPolicy.minimumBackoff", least.unwrap_or_else(none), mask),
        ("retryPolicy.maximumBackoff", most.unwrap_or_else(none), mask),
    ]
}

fn push(it: &Subscription) -> [Field; 5] {
    let mask = Some("push_config");
    // The push configuration of a pull subscription may be empty.
    let push = it.push_config.as_ref().filter(|push| !push.push_endpoint.is_empty());
    let endpoint = push.map(|push| push.push_endpoint.clone());
    let token = push.and_then(|push| push.oidc_token());
    // The default is v1; the only other version is v1beta1.
    let version = push.map(|push| push.attributes.get("x-goog-version").cloned().unwrap_or_else(|| "v1".to_owned()));
    let is_bare = push.is_some_and(|push| matches!(push.wrapper, Some(Wrapper::NoWrapper(_))));
    let account = token.map(|token| token.service_account_email.clone());
    let audience = token.map(|token| or_none(&token.audience));
    [
        ("pushConfig.pushEndpoint", endpoint.unwrap_or_else(none), mask),
        ("pushConfig.oidcToken.serviceAccountEmail", account.unwrap_or_else(none), mask),
        ("pushConfig.oidcToken.audience", audience.unwrap_or_else(none), mask),
        ("pushConfig.attributes.x-goog-version", version.unwrap_or_else(none), mask),
        ("pushConfig.noWrapper", is_bare.to_string(), mask),
    ]
}

fn export(it: &Subscription) -> &'static str {
    if it.bigquery_config.is_some() {
        "BigQuery"
    } else if it.cloud_storage_config.is_some() {
        "Cloud Storage"
    } else if it.bigtable_config.is_some() {
        "Bigtable"
    } else {
        "none"
    }
}

/// Without a policy a subscription expires after 31 days without activity; with a policy without a time it never expires.
fn expiry(it: &Subscription) -> String {
    match &it.expiration_policy {
        None => "2678400s".to_owned(),
        Some(policy) => policy.ttl.map_or_else(|| "never".to_owned(), |ttl| seconds(Some(ttl))),
    }
}

/// The service's notation, for example `600s`.
fn seconds(duration: Option<Duration>) -> String {
    duration.map_or_else(none, |duration| match duration.nanos() {
        0 => format!("{}s", duration.seconds()),
        nanos => format!("{}.{nanos:09}s", duration.seconds()),
    })
}

fn or_none(text: &str) -> String {
    if text.is_empty() { none() } else { text.to_owned() }
}

fn none() -> String {
    "none".to_owned()
}

#[cfg(test)]
mod tests {
    use google_cloud_pubsub::model::{DeadLetterPolicy, ExpirationPolicy, PushConfig, RetryPolicy};

    use super::*;

    /// A subscription with default settings against one with every setting.
    #[test]
    fn every_field_that_differs_is_named_with_both_values() {
        let have = Subscription::new().set_topic("t").set_filter("x").set_ack_deadline_seconds(10);
        let push = PushConfig::new().set_push_endpoint("https://w/p").set_attributes([("x-goog-version", "v1")]);
        let want = Subscription::new()
            .set_topic("t")
            .set_ack_deadline_seconds(600)
            .set_message_retention_duration(Duration::clamp(3600, 0))
            .set_expiration_policy(ExpirationPolicy::new())
            .set_dead_letter_policy(DeadLetterPolicy::new().set_dead_letter_topic("d").set_max_delivery_attempts(5))
            .set_retry_policy(RetryPolicy::new())
            .set_push_config(push);
        let found = drift(&have, &want);
        let found: Vec<_> = found.iter().map(|it| (it.field, &*it.have, &*it.want, it.repairable)).collect();
        let expected = [
            ("filter", "x", "none", false),
            ("ackDeadlineSeconds", "10", "600", true),
            ("messageRetentionDuration", "none", "3600s", true),
            ("expirationPolicy.ttl", "2678400s", "never", true),
            ("deadLetterPolicy.deadLetterTopic", "none", "d", true),
            ("deadLetterPolicy.maxDeliveryAttempts", "none", "5", true),
            ("retryPolicy.minimumBackoff", "none", "10s", true),
            ("retryPolicy.maximumBackoff", "none", "600s", true),
            ("pushConfig.pushEndpoint", "none", "https://w/p", true),
            ("pushConfig.attributes.x-goog-version", "none", "v1", true),
        ];
        assert_eq!(found, expected);
        assert_eq!(drift(&want, &want), []);
    }

    #[test]
    fn defaults_of_the_service_do_not_count_as_drift() {
        let explicit = PushConfig::new().set_push_endpoint("https://w").set_attributes([("x-goog-version", "v1")]);
        let (implicit, empty) = (PushConfig::new().set_push_endpoint("https://w"), PushConfig::new());
        let pushed = |push: PushConfig| Subscription::new().set_push_config(push);
        assert_eq!(drift(&pushed(implicit), &pushed(explicit)), []);
        assert_eq!(drift(&pushed(empty), &Subscription::new()), []);
        let five = Subscription::new().set_dead_letter_policy(DeadLetterPolicy::new().set_max_delivery_attempts(5));
        let default = Subscription::new().set_dead_letter_policy(DeadLetterPolicy::new());
        assert_eq!(drift(&default, &five), []);
    }
}
