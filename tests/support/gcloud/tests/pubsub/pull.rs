//! Pull: ack deadlines, ack ids and seek.

use gcloud_sdk::google::pubsub::v1::{AcknowledgeRequest, ModifyAckDeadlineRequest, PullRequest, ReceivedMessage};
use google_cloud_pubsub::model::PushConfig;
use google_cloud_wkt::Timestamp;
use tonic::{Code, Status};

use crate::support::{Cloud, SUBSCRIPTION, TOPIC, dead_letters, text, to_jobs, within};

async fn pull(cloud: &Cloud, most: i32) -> Result<Vec<ReceivedMessage>, Status> {
    let request = PullRequest { subscription: SUBSCRIPTION.to_owned(), max_messages: most, ..PullRequest::default() };
    let mut subscriber = cloud.subscriber.clone();
    within(subscriber.pull(request)).await.map(|answer| answer.into_inner().received_messages)
}

/// Pulls until a message arrives.
async fn pull_one(cloud: &Cloud) -> ReceivedMessage {
    let next = async {
        loop {
            if let Some(received) = pull(cloud, 1).await.unwrap().pop() {
                return received;
            }
        }
    };
    within(next).await
}

async fn acknowledge(cloud: &Cloud, ack_id: &str) -> Result<(), Status> {
    let (subscription, ack_ids) = (SUBSCRIPTION.to_owned(), vec![ack_id.to_owned()]);
    cloud.subscriber.clone().acknowledge(AcknowledgeRequest { subscription, ack_ids }).await.map(drop)
}

async fn modify(cloud: &Cloud, ack_id: &str, ack_deadline_seconds: i32) -> Result<(), Status> {
    let (subscription, ack_ids) = (SUBSCRIPTION.to_owned(), vec![ack_id.to_owned()]);
    let request = ModifyAckDeadlineRequest { subscription, ack_ids, ack_deadline_seconds };
    cloud.subscriber.clone().modify_ack_deadline(request).await.map(drop)
}

#[tokio::test]
async fn a_pull_waits_for_a_message_and_an_acknowledged_one_is_gone() {
    let cloud = Cloud::start().await;
    cloud.subscribe(to_jobs()).await;

    let (pulled, published) = tokio::join!(pull(&cloud, 10), cloud.publish(text("x")));
    let pulled = pulled.unwrap().remove(0);

    let message = pulled.message.unwrap();
    assert_eq!((message.message_id, &*message.data), (published.unwrap(), &b"x"[..]));
    assert_eq!(cloud.pubsub().messages(SUBSCRIPTION).len(), 1);
    acknowledge(&cloud, &pulled.ack_id).await.unwrap();
    assert!(cloud.pubsub().messages(SUBSCRIPTION).is_empty());
    acknowledge(&cloud, &pulled.ack_id).await.expect("a second acknowledgement is not an error");
    assert_eq!(acknowledge(&cloud, "nonsense").await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn an_empty_pull_ends() {
    let cloud = Cloud::start().await;
    cloud.pubsub().speed(1000.0);
    cloud.subscribe(to_jobs()).await;

    assert_eq!(pull(&cloud, 10).await.unwrap(), []);
    assert_eq!(pull(&cloud, 0).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_message_is_redelivered_after_its_ack_deadline() {
    let cloud = Cloud::start().await;
    cloud.pubsub().speed(100.0);
    cloud.subscribe(to_jobs().set_dead_letter_policy(dead_letters(5))).await;
    cloud.publish(text("x")).await.unwrap();

    let first = pull_one(&cloud).await;
    let second = pull_one(&cloud).await;

    assert_eq!((first.delivery_attempt, second.delivery_attempt), (1, 2));
    assert_ne!(first.ack_id, second.ack_id);
    acknowledge(&cloud, &first.ack_id).await.expect("late is no error");
    assert_eq!(cloud.pubsub().messages(SUBSCRIPTION).len(), 1, "the first delivery is over");
}

#[tokio::test]
async fn a_deadline_of_zero_returns_the_message_at_once() {
    let cloud = Cloud::start().await;
    cloud.subscribe(to_jobs().set_dead_letter_policy(dead_letters(5)).set_ack_deadline_seconds(600)).await;
    cloud.publish(text("x")).await.unwrap();

    let first = pull(&cloud, 10).await.unwrap().remove(0);
    modify(&cloud, &first.ack_id, 600).await.unwrap();
    modify(&cloud, &first.ack_id, 0).await.unwrap();

    assert_eq!(pull(&cloud, 10).await.unwrap()[0].delivery_attempt, 2);
    assert_eq!(modify(&cloud, &first.ack_id, 601).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_pull_returns_at_most_the_requested_messages() {
    let cloud = Cloud::start().await;
    cloud.subscribe(to_jobs()).await;
    for _ in 0..3 {
        cloud.publish(text("x")).await.unwrap();
    }

    assert_eq!(pull(&cloud, 2).await.unwrap().len(), 2);
    assert_eq!(pull(&cloud, 2).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_push_subscription_and_a_missing_one_cannot_be_pulled() {
    let cloud = Cloud::start().await;
    assert_eq!(pull(&cloud, 1).await.unwrap_err().code(), Code::NotFound);
    cloud.subscribe(to_jobs().set_push_config(PushConfig::new().set_push_endpoint("http://127.0.0.1:9/push"))).await;
    assert_eq!(pull(&cloud, 1).await.unwrap_err().code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn a_seek_to_the_future_purges() {
    let cloud = Cloud::start().await;
    cloud.subscribe(to_jobs()).await;
    cloud.publish(text("x")).await.unwrap();
    let tomorrow = cloud.pubsub().published(TOPIC)[0].publish_time.as_second() + 86_400;

    let seek = cloud.subscriptions.seek().set_subscription(SUBSCRIPTION);
    seek.set_time(Timestamp::clamp(tomorrow, 0)).send().await.unwrap();

    assert!(cloud.pubsub().messages(SUBSCRIPTION).is_empty());
    cloud.publish(text("later")).await.unwrap();
    assert_eq!(cloud.pubsub().messages(SUBSCRIPTION).len(), 1);
}

#[tokio::test]
async fn a_seek_to_the_past_redelivers_retained_messages() {
    let cloud = Cloud::start().await;
    cloud.subscribe(to_jobs().set_retain_acked_messages(true)).await;
    cloud.publish(text("x")).await.unwrap();
    let received = pull(&cloud, 1).await.unwrap().remove(0);
    acknowledge(&cloud, &received.ack_id).await.unwrap();
    assert!(cloud.pubsub().messages(SUBSCRIPTION).is_empty());
    let before = cloud.pubsub().published(TOPIC)[0].publish_time.as_second() - 60;

    let seek = cloud.subscriptions.seek().set_subscription(SUBSCRIPTION);
    seek.set_time(Timestamp::clamp(before, 0)).send().await.unwrap();

    assert_eq!(pull(&cloud, 1).await.unwrap()[0].message, received.message);
}
