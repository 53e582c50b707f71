//! The cases, once for all backends.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use mediaforge::{
    domain::{
        Timestamp,
        clock::{Clock as _, SystemClock, SystemRandom, after},
        ids::JobId,
        job::Dispatch,
        kind::JobKind,
        message::JobMessage,
        trace::TraceContext,
    },
    queue::{JobQueue, StoredDeadLetter},
};
use serde_json::json;

use super::{Backend, endpoint::Endpoint};
use crate::support::soon;

pub fn dispatch() -> Dispatch {
    dispatch_at(SystemClock.now())
}

pub fn dispatch_at(not_before: Timestamp) -> Dispatch {
    let id = JobId::random(JobKind::Illustration, &SystemRandom);
    Dispatch { message: JobMessage::new(id, Some(TraceContext::root(&SystemRandom))), not_before }
}

pub async fn publish(queue: &Arc<dyn JobQueue>) -> (String, JobMessage) {
    let dispatch = dispatch();
    let id = queue.publish(&dispatch).await.expect("a publish");
    (id.0, dispatch.message)
}

pub async fn the_envelope_is_what_pubsub_sends<B: Backend>() {
    let backend = B::open().await;
    let mut worker = Endpoint::open().await;
    let (id, message) = publish(&backend.queue()).await;
    let delivery = backend.deliver(&worker.url).await;
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
    delivery.stop().await;
}

pub async fn attributes_are_absent_when_there_are_none<B: Backend>() {
    let backend = B::open().await;
    let mut worker = Endpoint::open().await;
    let id = JobId::random(JobKind::Illustration, &SystemRandom);
    let dispatch = Dispatch { message: JobMessage::new(id, None), not_before: SystemClock.now() };
    backend.queue().publish(&dispatch).await.expect("a publish");
    let delivery = backend.deliver(&worker.url).await;
    let push = worker.next().await;
    assert_eq!(push.json()["message"].get("attributes"), None);
    push.answer(200);
    delivery.stop().await;
}

pub async fn a_refused_message_comes_again_with_a_growing_count<B: Backend>() {
    let backend = B::open().await;
    let mut worker = Endpoint::open().await;
    let delivery = backend.deliver(&worker.url).await;
    let (id, _) = publish(&backend.queue()).await;
    for attempt in 1..=4 {
        let push = worker.next().await;
        assert_eq!((push.id(), push.attempt()), (id.clone(), attempt));
        push.answer(if attempt < 4 { 500 } else { 200 });
    }
    // Acknowledged: the next push is another message.
    let (other, _) = publish(&backend.queue()).await;
    let push = worker.next().await;
    assert_eq!(push.id(), other);
    push.answer(200);
    delivery.stop().await;
}

pub async fn only_the_listed_statuses_acknowledge<B: Backend>() {
    let backend = B::open().await;
    let mut worker = Endpoint::open().await;
    let delivery = backend.deliver(&worker.url).await;
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
    delivery.stop().await;
}

pub async fn no_answer_within_the_deadline_is_a_refusal<B: Backend>() {
    let backend = B::open().await;
    let mut worker = Endpoint::open().await;
    let delivery = backend.deliver(&worker.url).await;
    let (id, _) = publish(&backend.queue()).await;
    let unanswered = worker.next().await;
    let again = worker.next().await;
    assert_eq!((again.id(), again.attempt()), (id, 2));
    again.answer(200);
    unanswered.answer(200);
    delivery.kill().await;
}

pub async fn an_acknowledgement_survives_a_reopen<B: Backend>() {
    let backend = B::open().await;
    let mut worker = Endpoint::open().await;
    let delivery = backend.deliver(&worker.url).await;
    let (first, _) = publish(&backend.queue()).await;
    let push = worker.next().await;
    assert_eq!(push.id(), first);
    push.answer(200);
    delivery.stop().await;
    let backend = backend.reopen().await;
    let delivery = backend.deliver(&worker.url).await;
    let (second, _) = publish(&backend.queue()).await;
    let push = worker.next().await;
    assert_eq!(push.id(), second, "the acknowledged message must not come again");
    push.answer(200);
    delivery.stop().await;
}

pub async fn what_was_not_acknowledged_comes_again_after_a_reopen<B: Backend>() {
    let backend = B::open().await;
    let mut worker = Endpoint::open().await;
    let delivery = backend.deliver(&worker.url).await;
    let (id, _) = publish(&backend.queue()).await;
    let unanswered = worker.next().await;
    delivery.kill().await;
    let backend = backend.reopen().await;
    let delivery = backend.deliver(&worker.url).await;
    let again = worker.next().await;
    assert_eq!(again.id(), id);
    again.answer(200);
    unanswered.answer(200);
    delivery.kill().await;
}

pub async fn each_kind_goes_to_its_endpoint<B: Backend>() {
    let backend = B::open().await;
    let mut worker = Endpoint::open().await;
    let delivery = backend.deliver(&worker.url.join("below").expect("a URL")).await;
    let id = JobId::random(JobKind::Brand, &SystemRandom);
    let training = Dispatch { message: JobMessage::new(id, None), not_before: SystemClock.now() };
    backend.queue().publish(&training).await.expect("a publish");
    let push = worker.next().await;
    assert_eq!(push.path, "/below/process-training");
    let subscription = format!("projects/{}/subscriptions/brand-training-workers", B::PROJECT);
    assert_eq!(push.json()["subscription"], subscription);
    push.answer(200);
    delivery.stop().await;
}

pub async fn a_backlog_is_delivered_completely<B: Backend>() {
    const MESSAGES: usize = 1_500;
    let backend = B::open().await;
    let mut worker = Endpoint::open().await;
    let publishes: Vec<_> = (0..MESSAGES)
        .map(|_| {
            let queue = backend.queue();
            tokio::spawn(async move { publish(&queue).await.0 })
        })
        .collect();
    let mut sent = BTreeSet::new();
    for publish in publishes {
        sent.insert(publish.await.expect("no panic"));
    }
    assert_eq!(sent.len(), MESSAGES);
    let delivery = backend.deliver(&worker.url).await;
    let mut delivered = BTreeSet::new();
    while delivered.len() < MESSAGES {
        let push = worker.next().await;
        assert!(delivered.insert(push.id()), "{} came twice", push.id());
        push.answer(200);
    }
    delivery.stop().await;
    assert_eq!(delivered, sent);
}

pub async fn a_healthy_queue_answers<B: Backend>() {
    B::open().await.queue().ping().await.expect("an answer");
}

pub async fn the_last_refusal_makes_a_dead_letter<B: Backend>() {
    let backend = B::open().await;
    let queue = backend.queue();
    let mut worker = Endpoint::open().await;
    let delivery = backend.deliver(&worker.url).await;
    let (id, message) = publish(&queue).await;
    let mut published = String::new();
    for attempt in 1..=5 {
        let push = worker.next().await;
        assert_eq!((push.id(), push.attempt()), (id.clone(), attempt));
        published = push.json()["message"]["publishTime"].as_str().expect("publishTime").replace('Z', "+00:00");
        push.answer(503);
    }
    let dead_letters = soon("a dead letter", dead_letters(&queue)).await;
    assert_eq!(dead_letters.len(), 1, "{dead_letters:?}");
    let dead_letter = &dead_letters[0];
    assert_eq!((&dead_letter.data, dead_letter.job_id.as_ref()), (&message.data(), Some(&message.job_id)));
    assert_eq!((&dead_letter.error_code, dead_letter.attempts), (&None, None), "no worker has said anything");
    let mut expected = message.attributes();
    for (name, value) in [
        ("DeliveryCount", "5"),
        ("Subscription", "image-generation-workers"),
        ("SubscriptionProject", B::PROJECT),
        ("TopicPublishTime", published.as_str()),
    ] {
        expected.insert(format!("CloudPubSubDeadLetterSource{name}"), value.to_owned());
    }
    assert_eq!(dead_letter.attributes, expected);
    delivery.stop().await;
}

/// The first dead letters there are.
async fn dead_letters(queue: &Arc<dyn JobQueue>) -> Vec<StoredDeadLetter> {
    loop {
        let dead_letters = queue.dead_letters(10).await.expect("dead_letters");
        if !dead_letters.is_empty() {
            return dead_letters;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Both may be delivered at once: a queue need not be able to wait, and the worker tells by the job.
pub async fn a_message_for_later_is_delivered_in_the_end<B: Backend>() {
    let backend = B::open().await;
    let mut worker = Endpoint::open().await;
    let delivery = backend.deliver(&worker.url).await;
    let not_before = after(SystemClock.now(), Duration::from_millis(100));
    let later = backend.queue().publish(&dispatch_at(not_before)).await.expect("a publish").0;
    let (now, _) = publish(&backend.queue()).await;
    let mut delivered = BTreeSet::new();
    for _ in 0..2 {
        let push = worker.next().await;
        delivered.insert(push.id());
        push.answer(200);
    }
    assert_eq!(delivered, [later, now].into());
    delivery.stop().await;
}
