//! Dead letters: a message that fails too often is published to another topic.

use google_cloud_pubsub::model::Subscription;

use crate::support::{Cloud, DEAD, DEAD_SUBSCRIPTION, Endpoint, SUBSCRIPTION, TOPIC, dead_letters, pushed_to, text};

#[tokio::test]
async fn a_dead_letter_topic_without_a_subscription_loses_the_message() {
    let cloud = Cloud::start().await;
    cloud.pubsub().speed(100.0);
    let endpoint = Endpoint::start([Some(500); 5]).await;
    cloud.subscribe(pushed_to(&endpoint).set_dead_letter_policy(dead_letters(5)).set_ack_deadline_seconds(600)).await;

    let id = cloud.publish(text("x")).await.unwrap();
    cloud.until(|pubsub| !pubsub.published(DEAD).is_empty()).await;
    assert_ne!(cloud.pubsub().published(DEAD)[0].id, id, "the dead letter is a new message");
    cloud.subscribe(Subscription::new().set_name(DEAD_SUBSCRIPTION).set_topic(DEAD)).await;

    assert!(cloud.pubsub().messages(SUBSCRIPTION).is_empty());
    assert!(cloud.pubsub().messages(DEAD_SUBSCRIPTION).is_empty());
}

#[tokio::test]
async fn a_message_whose_dead_letter_topic_is_gone_is_retried_forever() {
    let cloud = Cloud::start().await;
    cloud.pubsub().speed(100.0);
    let endpoint = Endpoint::start([Some(500); 7]).await;
    cloud.subscribe(pushed_to(&endpoint).set_dead_letter_policy(dead_letters(5)).set_ack_deadline_seconds(600)).await;
    cloud.topics.delete_topic().set_topic(DEAD).send().await.unwrap();

    cloud.publish(text("x")).await.unwrap();
    cloud.until(|pubsub| pubsub.messages(SUBSCRIPTION).is_empty() && !pubsub.published(TOPIC).is_empty()).await;

    assert_eq!(endpoint.pushes().len(), 8);
}
