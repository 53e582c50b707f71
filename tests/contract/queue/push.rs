//! The contract of the queues that push: the envelope and the answers are those of Pub/Sub.

use async_trait::async_trait;
use mediaforge::domain::{
    Timestamp,
    clock::{Clock as _, SystemClock, SystemRandom},
    ids::JobId,
    job::Dispatch,
    kind::JobKind,
    message::JobMessage,
};
use serde_json::json;

use super::{
    Consumer, PushBackend, Pushing, Received, Reply,
    cases::{first_dead_letters, publish},
    endpoint::Endpoint,
};
use crate::support::soon;

/// A worker whose push endpoint a case answers by hand.
struct PushConsumer {
    endpoint: Endpoint,
    pushing: Box<dyn Pushing>,
}

/// [`super::Backend::consume`] of a queue that pushes.
pub async fn consume<B: PushBackend>(backend: &B) -> Box<dyn Consumer> {
    let endpoint = Endpoint::open().await;
    let pushing = backend.push_to(&endpoint.url).await;
    Box::new(PushConsumer { endpoint, pushing })
}

#[async_trait]
impl Consumer for PushConsumer {
    async fn next(&mut self) -> Received {
        let push = self.endpoint.next().await;
        let (id, attempt) = (push.id(), push.attempt());
        let reply = |reply| {
            push.answer(match reply {
                Reply::Acknowledged => 200,
                Reply::Refused => 503,
            });
        };
        Received { id, attempt, reply: Box::new(reply) }
    }

    async fn stop(self: Box<Self>) {
        self.pushing.stop().await;
    }

    async fn kill(self: Box<Self>) {
        self.pushing.kill().await;
    }
}

pub async fn the_envelope_is_the_one_of_pubsub<B: PushBackend>() {
    let backend = B::open().await;
    let mut worker = Endpoint::open().await;
    let (id, message) = publish(&backend.queue()).await;
    let pushing = backend.push_to(&worker.url).await;
    let push = worker.next().await;
    let trace = message.trace.as_ref().expect("a trace").to_string();
    let time = push.json()["message"]["publishTime"].as_str().expect("publishTime").to_owned();
    let published: Timestamp = time.parse().expect("RFC 3339");
    let age = SystemClock.now().duration_since(published).as_secs();
    assert!((0..60).contains(&age) && time.ends_with('Z'), "{time}");
    // Standard alphabet, with padding: {"v":1,"kind":"generation","jobId":"ill_…"} in base64.
    let data = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, message.data());
    let expected = json!({
        "deliveryAttempt": 1,
        "message": {
            "attributes": { "googclient_traceparent": trace, "traceparent": trace },
            "data": data,
            "messageId": id,
            "message_id": id,
            "publishTime": time,
            "publish_time": time,
        },
        "subscription": format!("projects/{}/subscriptions/image-generation-workers", B::PROJECT),
    });
    assert_eq!(push.json(), expected);
    assert_eq!(push.path, "/process-generation");
    assert_eq!(push.headers["content-type"], "application/json");
    push.answer(204);
    pushing.stop().await;
}

pub async fn attributes_are_absent_when_there_are_none<B: PushBackend>() {
    let backend = B::open().await;
    let mut worker = Endpoint::open().await;
    let id = JobId::random(JobKind::Illustration, &SystemRandom);
    let dispatch = Dispatch { message: JobMessage::new(id, None), not_before: SystemClock.now() };
    backend.queue().publish(&dispatch).await.expect("a publish");
    let pushing = backend.push_to(&worker.url).await;
    let push = worker.next().await;
    assert_eq!(push.json()["message"].get("attributes"), None);
    push.answer(200);
    pushing.stop().await;
}

pub async fn only_the_listed_statuses_acknowledge<B: PushBackend>() {
    let backend = B::open().await;
    let mut worker = Endpoint::open().await;
    let pushing = backend.push_to(&worker.url).await;
    for (status, is_ack) in [
        (200, true),
        (201, true),
        (202, true),
        (204, true),
        (203, false),
        (205, false),
        (206, false),
        (301, false),
        (302, false),
        (307, false),
        (400, false),
        (401, false),
        (404, false),
        (409, false),
        (429, false),
        (500, false),
        (503, false),
    ] {
        let (id, _) = publish(&backend.queue()).await;
        let first = worker.next().await;
        assert_eq!((first.id(), first.attempt()), (id.clone(), 1));
        first.answer(status);
        if !is_ack {
            let again = worker.next().await;
            assert_eq!((again.id(), again.attempt()), (id, 2), "{status} must not acknowledge");
            again.answer(200);
        }
    }
    pushing.stop().await;
}

pub async fn each_kind_is_pushed_to_its_endpoint<B: PushBackend>() {
    let backend = B::open().await;
    let mut worker = Endpoint::open().await;
    let pushing = backend.push_to(&worker.url.join("below").expect("a URL")).await;
    let id = JobId::random(JobKind::Brand, &SystemRandom);
    let training = Dispatch { message: JobMessage::new(id, None), not_before: SystemClock.now() };
    backend.queue().publish(&training).await.expect("a publish");
    let push = worker.next().await;
    assert_eq!(push.path, "/below/process-training");
    let subscription = format!("projects/{}/subscriptions/brand-training-workers", B::PROJECT);
    assert_eq!(push.json()["subscription"], subscription);
    push.answer(200);
    pushing.stop().await;
}

pub async fn a_forwarded_message_names_its_source<B: PushBackend>() {
    let backend = B::open().await;
    let queue = backend.queue();
    let mut worker = Endpoint::open().await;
    let pushing = backend.push_to(&worker.url).await;
    let (_, message) = publish(&queue).await;
    let mut published = String::new();
    for _ in 1..=5 {
        let push = worker.next().await;
        published = push.json()["message"]["publishTime"].as_str().expect("publishTime").replace('Z', "+00:00");
        push.answer(503);
    }
    let dead_letters = soon("a dead letter", first_dead_letters(&queue)).await;
    let mut expected = message.attributes();
    for (name, value) in [
        ("DeliveryCount", "5"),
        ("Subscription", "image-generation-workers"),
        ("SubscriptionProject", B::PROJECT),
        ("TopicPublishTime", published.as_str()),
    ] {
        expected.insert(format!("CloudPubSubDeadLetterSource{name}"), value.to_owned());
    }
    assert_eq!(dead_letters[0].attributes, expected);
    pushing.stop().await;
}
