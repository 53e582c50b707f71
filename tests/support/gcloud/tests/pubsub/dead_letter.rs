//! Dead letters: what fails too often is published again elsewhere.

use gcloud_sdk::google::pubsub::v1::PullRequest;
use google_cloud_pubsub::model::{Message, Subscription};
use serde_json::Value;

use crate::support::{
    Cloud, DEAD, DEAD_SUBSCRIPTION, Endpoint, SUBSCRIPTION, TOPIC, dead_letters, pushed_to, text, within,
};

#[tokio::test]
async fn what_fails_five_times_becomes_a_dead_letter() {
    let mut cloud = Cloud::start().await;
    cloud.pubsub().speed(100.0);
    let endpoint = Endpoint::start([Some(500); 5]).await;
    cloud.subscribe(pushed_to(&endpoint).set_dead_letter_policy(dead_letters(5)).set_ack_deadline_seconds(600)).await;
    cloud.subscribe(Subscription::new().set_name(DEAD_SUBSCRIPTION).set_topic(DEAD)).await;

    let id = cloud.publish(Message::new().set_data("payload").set_attributes([("jobId", "j1")])).await.unwrap();
    let pull = PullRequest { subscription: DEAD_SUBSCRIPTION.to_owned(), max_messages: 10, ..PullRequest::default() };
    cloud.until(|pubsub| !pubsub.messages(DEAD_SUBSCRIPTION).is_empty()).await;
    let received = within(cloud.subscriber.pull(pull)).await.unwrap().into_inner().received_messages;

    let attempts: Vec<Value> = endpoint.pushes().iter().map(|push| push.body["deliveryAttempt"].clone()).collect();
    assert_eq!(attempts, [1, 2, 3, 4, 5]);
    assert!(cloud.pubsub().messages(SUBSCRIPTION).is_empty());
    let dead = received[0].message.clone().unwrap();
    assert_eq!((received.len(), received[0].delivery_attempt), (1, 0));
    assert_eq!((&*dead.data, dead.message_id == id), (&b"payload"[..], false));
    let source = &cloud.pubsub().published(TOPIC)[0];
    let millis = source.publish_time.subsec_millisecond();
    let published = source.publish_time.strftime("%Y-%m-%dT%H:%M:%S");
    let expected = [
        ("jobId", "j1".to_owned()),
        ("CloudPubSubDeadLetterSourceDeliveryCount", "5".to_owned()),
        ("CloudPubSubDeadLetterSourceSubscription", "work".to_owned()),
        ("CloudPubSubDeadLetterSourceSubscriptionProject", "p".to_owned()),
        ("CloudPubSubDeadLetterSourceTopicPublishTime", format!("{published}.{millis:03}+00:00")),
    ];
    assert_eq!(dead.attributes, expected.map(|(key, value)| (key.to_owned(), value)).into());
}

#[tokio::test]
async fn a_dead_letter_topic_that_nobody_subscribes_to_loses_the_message() {
    let cloud = Cloud::start().await;
    cloud.pubsub().speed(100.0);
    let endpoint = Endpoint::start([Some(500); 5]).await;
    cloud.subscribe(pushed_to(&endpoint).set_dead_letter_policy(dead_letters(5)).set_ack_deadline_seconds(600)).await;

    cloud.publish(text("x")).await.unwrap();
    cloud.until(|pubsub| !pubsub.published(DEAD).is_empty()).await;
    cloud.subscribe(Subscription::new().set_name(DEAD_SUBSCRIPTION).set_topic(DEAD)).await;

    assert!(cloud.pubsub().messages(SUBSCRIPTION).is_empty());
    assert!(cloud.pubsub().messages(DEAD_SUBSCRIPTION).is_empty());
}

#[tokio::test]
async fn without_its_dead_letter_topic_a_message_is_tried_for_ever() {
    let cloud = Cloud::start().await;
    cloud.pubsub().speed(100.0);
    let endpoint = Endpoint::start([Some(500); 7]).await;
    cloud.subscribe(pushed_to(&endpoint).set_dead_letter_policy(dead_letters(5)).set_ack_deadline_seconds(600)).await;
    cloud.topics.delete_topic().set_topic(DEAD).send().await.unwrap();

    cloud.publish(text("x")).await.unwrap();
    cloud.until(|pubsub| pubsub.messages(SUBSCRIPTION).is_empty() && !pubsub.published(TOPIC).is_empty()).await;

    assert_eq!(endpoint.pushes().len(), 8);
}
