//! Failures on demand, and the end of an emulator.

use gcloud_emulator::Fault;
use gcloud_sdk::google::pubsub::v1::PullRequest;
use google_cloud_gax::error::rpc::Code;

use crate::support::{Cloud, SUBSCRIPTION, TOPIC, text, to_jobs, within};

#[tokio::test]
async fn a_refused_publish_did_not_happen_and_a_lost_reply_did() {
    let cloud = Cloud::start().await;
    let faults = cloud.emulator.faults();

    faults.inject("/Publish", Fault::Refuse(tonic::Code::Unavailable), 1);
    assert_eq!(cloud.publish(text("refused")).await, Err(Some(Code::Unavailable)));
    faults.inject("/Publish", Fault::LoseReply(tonic::Code::Unavailable), 1);
    assert_eq!(cloud.publish(text("lost")).await, Err(Some(Code::Unavailable)));

    let published = cloud.pubsub().published(TOPIC);
    assert_eq!(published.iter().map(|message| &*message.data).collect::<Vec<_>>(), [b"lost"]);
}

#[tokio::test]
async fn a_repeated_publish_makes_two_messages() {
    let cloud = Cloud::start().await;
    cloud.emulator.faults().inject("/Publish", Fault::Twice, 1);

    let id = cloud.publish(text("x")).await.unwrap();

    let ids: Vec<_> = cloud.pubsub().published(TOPIC).into_iter().map(|message| message.id).collect();
    assert_eq!((ids.len(), &ids[1], ids[0] == ids[1]), (2, &id, false));
}

#[tokio::test]
async fn administration_fails_with_a_status_that_says_why() {
    let cloud = Cloud::start().await;
    cloud.emulator.faults().inject("/topics/jobs", Fault::Refuse(tonic::Code::PermissionDenied), 1);

    let error = cloud.topics.get_topic().set_topic(TOPIC).send().await.unwrap_err();

    assert_eq!(error.http_status_code(), Some(403));
    assert_eq!(error.status().map(|status| status.code), Some(Code::PermissionDenied));
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
