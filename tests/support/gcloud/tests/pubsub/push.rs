//! Push: the envelope, what acknowledges, what comes again, what becomes a dead letter.

use crate::support::{Cloud, Endpoint, SUBSCRIPTION, TOPIC, pushed_to, text};

#[tokio::test]
async fn a_push_has_both_spellings_and_nothing_empty() {
    let cloud = Cloud::start().await;
    let endpoint = Endpoint::start([]).await;
    cloud.subscribe(pushed_to(&endpoint)).await;

    let id = cloud.publish(text("a?>")).await.unwrap();
    cloud.until(|pubsub| pubsub.deliveries(SUBSCRIPTION).iter().any(|push| push.answer == Some(204))).await;

    let push = endpoint.pushes().remove(0);
    let published = cloud.pubsub().published(TOPIC)[0].publish_time.to_string();
    let expected = serde_json::json!({
        "message": { "data": "YT8+", "messageId": id, "message_id": id, "publishTime": published, "publish_time": published },
        "subscription": SUBSCRIPTION,
    });
    assert_eq!(push.body, expected);
    assert_eq!(push.bearer(), None);
    assert!(cloud.pubsub().messages(SUBSCRIPTION).is_empty());
}
