//! Failures on demand, and the end of an emulator.

use gcloud_emulator::Fault;
use gcloud_sdk::google::pubsub::v1::PullRequest;

use crate::support::{Cloud, SUBSCRIPTION, TOPIC, text, to_jobs, within};

#[tokio::test]
async fn a_repeated_publish_makes_two_messages() {
    let cloud = Cloud::start().await;
    cloud.emulator.faults().inject("/Publish", Fault::Twice, 1);

    let id = cloud.publish(text("x")).await.unwrap();

    let ids: Vec<_> = cloud.pubsub().published(TOPIC).into_iter().map(|message| message.id).collect();
    assert_eq!((ids.len(), &ids[1], ids[0] == ids[1]), (2, &id, false));
}

#[tokio::test]
async fn a_dropped_emulator_ends_its_open_connections() {
    let mut cloud = Cloud::start().await;
    cloud.subscribe(to_jobs()).await;
    let pull = PullRequest { subscription: SUBSCRIPTION.to_owned(), max_messages: 1, ..PullRequest::default() };
    let waiting = cloud.subscriber.pull(pull);

    let (answer, ()) = within(async { tokio::join!(waiting, async move { drop(cloud.emulator) }) }).await;

    assert!(answer.is_err(), "{answer:?}");
}
