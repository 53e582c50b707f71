//! Publishing: limits, and the REST API.

use google_cloud_gax::error::rpc::Code;
use google_cloud_pubsub::model::Message;
use serde_json::{Value, json};

use crate::support::{Cloud, SUBSCRIPTION, TOPIC, text, to_jobs};

#[tokio::test]
async fn oversized_messages_are_refused() {
    let cloud = Cloud::start().await;
    let attribute = |key: usize, value: usize| text("x").set_attributes([("k".repeat(key), "v".repeat(value))]);
    let many = |count: usize| text("x").set_attributes((0..count).map(|n| (n.to_string(), "v")));

    for (what, message) in [
        ("empty", Message::new()),
        ("more than 10 MB", Message::new().set_data(vec![0; 10_000_001])),
        ("101 attributes", many(101)),
        ("a long key", attribute(257, 1)),
        ("a long value", attribute(1, 1025)),
    ] {
        assert_eq!(cloud.publish(message).await, Err(Some(Code::InvalidArgument)), "{what}");
    }
    for fit in [many(100), attribute(256, 1024), Message::new().set_data(vec![0; 9_999_000])] {
        cloud.publish(fit).await.unwrap();
    }
}

#[tokio::test]
async fn a_deleted_topic_accepts_nothing_and_its_subscription_keeps_its_messages() {
    let cloud = Cloud::start().await;
    cloud.subscribe(to_jobs()).await;
    cloud.publish(text("x")).await.unwrap();

    cloud.topics.delete_topic().set_topic(TOPIC).send().await.unwrap();

    assert_eq!(cloud.publish(text("y")).await, Err(Some(Code::NotFound)));
    assert_eq!(cloud.pubsub().messages(SUBSCRIPTION).len(), 1);
    assert_eq!(cloud.pubsub().subscription(SUBSCRIPTION).unwrap().topic, "_deleted-topic_");
}

#[tokio::test]
async fn rest_publishes_pulls_and_acknowledges() {
    let cloud = Cloud::start().await;
    cloud.subscribe(to_jobs()).await;
    let http = reqwest::Client::new();
    let post = async |path: &str, body: Value| {
        let answer = http.post(format!("{}/v1/{path}", cloud.emulator.url())).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };

    let messages = json!({ "messages": [{ "data": "eA==" }, { "attributes": { "k": "v" } }] });
    let (_, published) = post(&format!("{TOPIC}:publish"), messages).await;
    let (_, pulled) = post(&format!("{SUBSCRIPTION}:pull"), json!({ "maxMessages": 10 })).await;

    let received = pulled["receivedMessages"].as_array().unwrap();
    let ids: Vec<_> = received.iter().map(|received| received["message"]["messageId"].clone()).collect();
    assert_eq!(published["messageIds"], json!(ids));
    assert_eq!(received[0]["message"]["data"], "eA==");
    let ack_ids: Vec<_> = received.iter().map(|received| received["ackId"].clone()).collect();
    let (status, _) = post(&format!("{SUBSCRIPTION}:acknowledge"), json!({ "ackIds": ack_ids })).await;
    assert_eq!((status, cloud.pubsub().messages(SUBSCRIPTION).len()), (200, 0));
    let (status, error) = post("projects/p/topics/none:publish", json!({ "messages": [{ "data": "eA==" }] })).await;
    assert_eq!((status, &error["error"]["status"], &error["error"]["code"]), (404, &json!("NOT_FOUND"), &json!(404)));
    let (status, error) = post(&format!("{TOPIC}:publish"), json!({ "messages": [{ "data": "!" }] })).await;
    assert_eq!((status, &error["error"]["status"]), (400, &json!("INVALID_ARGUMENT")));
}
