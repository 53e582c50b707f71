//! Push: details of the envelope, the push window, lost acknowledgements and retention.

use google_cloud_pubsub::model::{Message, PushConfig};
use google_cloud_wkt::Duration;
use serde_json::json;

use crate::support::{Cloud, Endpoint, SUBSCRIPTION, TOPIC, dead_letters, pushed_to, text, to_jobs};

#[tokio::test]
async fn a_push_has_both_spellings_and_nothing_empty() {
    let cloud = Cloud::start().await;
    let endpoint = Endpoint::start([]).await;
    cloud.subscribe(pushed_to(&endpoint)).await;

    let id = cloud.publish(text("a?>")).await.unwrap();
    cloud.until(|pubsub| pubsub.deliveries(SUBSCRIPTION).iter().any(|push| push.answer == Some(204))).await;

    let push = endpoint.pushes().remove(0);
    let published = cloud.pubsub().published(TOPIC)[0].publish_time;
    // The service writes three digits, even if the last ones are zeros.
    let time = published.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
    let expected = json!({
        "message": { "data": "YT8+", "messageId": id, "message_id": id, "publishTime": time, "publish_time": time },
        "subscription": SUBSCRIPTION,
    });
    assert_eq!(push.body, expected);
    assert_eq!(push.bearer(), None);
    assert!(cloud.pubsub().messages(SUBSCRIPTION).is_empty());
}

#[tokio::test]
async fn a_message_of_attributes_only_has_no_data_and_counts_attempts_if_there_are_dead_letters() {
    let cloud = Cloud::start().await;
    let endpoint = Endpoint::start([]).await;
    cloud.subscribe(pushed_to(&endpoint).set_dead_letter_policy(dead_letters(5))).await;

    cloud.publish(Message::new().set_attributes([("jobId", "j1")])).await.unwrap();
    cloud.until(|pubsub| pubsub.published(TOPIC).len() == 1 && pubsub.messages(SUBSCRIPTION).is_empty()).await;

    let body = endpoint.pushes().remove(0).body;
    assert_eq!(body["deliveryAttempt"], 1);
    assert_eq!(body["message"]["attributes"], json!({ "jobId": "j1" }));
    assert_eq!(body["message"].get("data"), None);
}

#[tokio::test]
async fn the_push_window_starts_small_and_grows() {
    let cloud = Cloud::start().await;
    let endpoint = Endpoint::start([None, None, None]).await;
    cloud.subscribe(to_jobs()).await;
    for _ in 0..10 {
        cloud.publish(text("x")).await.unwrap();
    }
    let push_to = async |url: &str| {
        let config = PushConfig::new().set_push_endpoint(url);
        let request = cloud.subscriptions.modify_push_config().set_subscription(SUBSCRIPTION);
        request.set_push_config(config).send().await.unwrap();
    };

    push_to(&endpoint.url).await;
    cloud.until(|pubsub| pubsub.deliveries(SUBSCRIPTION).len() >= 3).await;
    assert_eq!(cloud.pubsub().deliveries(SUBSCRIPTION).len(), 3);

    endpoint.let_go();
    cloud.until(|pubsub| pubsub.messages(SUBSCRIPTION).is_empty()).await;
    assert!(cloud.pubsub().push_window(SUBSCRIPTION).unwrap() > 3);
}

#[tokio::test]
async fn a_message_is_redelivered_after_a_lost_acknowledgement() {
    let cloud = Cloud::start().await;
    let endpoint = Endpoint::start([]).await;
    cloud.subscribe(pushed_to(&endpoint)).await;
    cloud.pubsub().lose_acks(1);

    cloud.publish(text("x")).await.unwrap();
    cloud.until(|pubsub| pubsub.messages(SUBSCRIPTION).is_empty() && !pubsub.published(TOPIC).is_empty()).await;

    assert_eq!(endpoint.pushes().len(), 2);
}

#[tokio::test]
async fn an_unacknowledged_message_is_dropped_after_the_retention() {
    let cloud = Cloud::start().await;
    cloud.subscribe(to_jobs().set_message_retention_duration(Duration::clamp(600, 0))).await;
    cloud.publish(text("x")).await.unwrap();
    assert_eq!(cloud.pubsub().messages(SUBSCRIPTION).len(), 1);

    cloud.pubsub().speed(10_000.0);

    cloud.until(|pubsub| pubsub.messages(SUBSCRIPTION).is_empty()).await;
}
