//! The cases, once for all backends.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use mediaforge::{
    domain::{
        Timestamp,
        clock::{Clock as _, SystemClock, SystemRandom, after},
        ids::JobId,
        job::{Dispatch, ErrorCode, JobError, JobKind},
        message::{DeadLetter, JobMessage},
        trace::TraceContext,
    },
    queue::JobQueue,
};

use super::{Backend, endpoint::Endpoint};

fn dispatch() -> Dispatch {
    dispatch_at(SystemClock.now())
}

fn dispatch_at(not_before: Timestamp) -> Dispatch {
    let id = JobId::random(JobKind::Illustration, &SystemRandom);
    Dispatch { message: JobMessage::new(id, Some(TraceContext::root(&SystemRandom))), not_before }
}

async fn publish(queue: &Arc<dyn JobQueue>) -> (String, JobMessage) {
    let dispatch = dispatch();
    let id = queue.publish(&dispatch).await.expect("a publish");
    (id.0, dispatch.message)
}

pub async fn the_envelope_is_what_pubsub_sends<B: Backend>() {
    let backend = B::open().await;
    let mut worker = Endpoint::open().await;
    let (id, message) = publish(&backend.queue()).await;
    let delivery = backend.deliver(&worker.url, 1);
    let push = worker.next().await;
    let trace = message.trace.as_ref().expect("a trace").to_string();
    let time = push.json()["message"]["publishTime"].as_str().expect("publishTime").to_owned();
    let published: Timestamp = time.parse().expect("RFC 3339");
    let age = SystemClock.now().duration_since(published).as_secs();
    assert!((0..60).contains(&age) && time.len() == "2021-02-26T19:13:55.749Z".len() && time.ends_with('Z'), "{time}");
    // Standard alphabet, with padding: {"v":1,"kind":"generation","jobId":"ill_…"} in base64.
    let data = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, message.data());
    let expected = format!(
        "{{\"deliveryAttempt\":1,\"message\":{{\"attributes\":{{\"googclient_traceparent\":\"{trace}\",\
         \"traceparent\":\"{trace}\"}},\"data\":\"{data}\",\"messageId\":\"{id}\",\"message_id\":\"{id}\",\
         \"publishTime\":\"{time}\",\"publish_time\":\"{time}\"}},\
         \"subscription\":\"projects/local/subscriptions/image-generation-workers\"}}"
    );
    assert_eq!(String::from_utf8_lossy(&push.body), expected);
    assert_eq!(push.path, "/process-generation");
    assert_eq!(push.headers["content-type"], "application/json");
    assert_eq!(push.headers["traceparent"], trace.as_str());
    push.answer(204);
    delivery.stop().await;
}

pub async fn attributes_are_absent_when_there_are_none<B: Backend>() {
    let backend = B::open().await;
    let mut worker = Endpoint::open().await;
    let id = JobId::random(JobKind::Illustration, &SystemRandom);
    let dispatch = Dispatch { message: JobMessage::new(id, None), not_before: SystemClock.now() };
    backend.queue().publish(&dispatch).await.expect("a publish");
    let delivery = backend.deliver(&worker.url, 1);
    let push = worker.next().await;
    assert_eq!(push.json()["message"].get("attributes"), None);
    assert!(!push.headers.contains_key("traceparent"));
    push.answer(200);
    delivery.stop().await;
}

pub async fn a_refused_message_comes_again_with_a_growing_count<B: Backend>() {
    let backend = B::open().await;
    let mut worker = Endpoint::open().await;
    let delivery = backend.deliver(&worker.url, 4);
    let (id, _) = publish(&backend.queue()).await;
    for attempt in 1..=4 {
        let push = worker.next().await;
        assert_eq!((push.id(), push.attempt()), (id.clone(), attempt));
        let answered = tokio::time::Instant::now();
        push.answer(500);
        if attempt == 3 {
            // The third wait is min_backoff (20 ms) doubled twice.
            let push = worker.next().await;
            assert!(answered.elapsed() >= Duration::from_millis(80), "{:?}", answered.elapsed());
            assert_eq!(push.attempt(), 4);
            push.answer(200);
            break;
        }
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
    let delivery = backend.deliver(&worker.url, 1);
    for (status, is_ack) in [
        (200, true),
        (201, true),
        (202, true),
        (204, true),
        (203, false),
        (206, false),
        (302, false),
        (400, false),
        (404, false),
        (429, false),
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
    let delivery = backend.deliver(&worker.url, 2);
    let (id, _) = publish(&backend.queue()).await;
    let unanswered = worker.next().await;
    let again = worker.next().await;
    assert_eq!((again.id(), again.attempt()), (id, 2));
    again.answer(200);
    unanswered.answer(200);
    delivery.stop().await;
}

pub async fn the_last_refusal_makes_a_dead_letter<B: Backend>() {
    let backend = B::open().await;
    let mut worker = Endpoint::open().await;
    let delivery = backend.deliver(&worker.url, 1);
    let (id, message) = publish(&backend.queue()).await;
    let mut published = String::new();
    for attempt in 1..=5 {
        let push = worker.next().await;
        assert_eq!((push.id(), push.attempt()), (id.clone(), attempt));
        published = push.json()["message"]["publishTime"].as_str().expect("publishTime").replace('Z', "+00:00");
        push.answer(503);
    }
    // With one push at a time, this one comes after the fifth refusal of the other is settled or on its way; stopping
    // waits for that.
    publish(&backend.queue()).await;
    worker.next().await.answer(200);
    delivery.stop().await;
    let letters = backend.letters().await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0].data, message.data());
    let mut expected = message.attributes();
    for (name, value) in [
        ("DeliveryCount", "5"),
        ("Subscription", "image-generation-workers"),
        ("SubscriptionProject", "local"),
        ("TopicPublishTime", published.as_str()),
    ] {
        expected.insert(format!("CloudPubSubDeadLetterSource{name}"), value.to_owned());
    }
    assert_eq!(letters[0].attributes, expected);
}

pub async fn an_acknowledgement_survives_a_reopen<B: Backend>() {
    let backend = B::open().await;
    let mut worker = Endpoint::open().await;
    let delivery = backend.deliver(&worker.url, 1);
    let (first, _) = publish(&backend.queue()).await;
    let push = worker.next().await;
    assert_eq!(push.id(), first);
    push.answer(200);
    delivery.stop().await;
    let backend = backend.reopen().await;
    let delivery = backend.deliver(&worker.url, 1);
    let (second, _) = publish(&backend.queue()).await;
    let push = worker.next().await;
    assert_eq!(push.id(), second, "the acknowledged message must not come again");
    push.answer(200);
    delivery.stop().await;
}

pub async fn what_was_not_acknowledged_comes_again_after_a_reopen<B: Backend>() {
    let backend = B::open().await;
    let mut worker = Endpoint::open().await;
    let delivery = backend.deliver(&worker.url, 1);
    let (id, _) = publish(&backend.queue()).await;
    let unanswered = worker.next().await;
    delivery.kill().await;
    let backend = backend.reopen().await;
    let delivery = backend.deliver(&worker.url, 1);
    let again = worker.next().await;
    assert_eq!(again.id(), id);
    again.answer(200);
    unanswered.answer(200);
    delivery.stop().await;
}

pub async fn a_message_is_not_delivered_before_its_time<B: Backend>() {
    let backend = B::open().await;
    let mut worker = Endpoint::open().await;
    let delivery = backend.deliver(&worker.url, 4);
    let not_before = after(SystemClock.now(), Duration::from_millis(300));
    let later = backend.queue().publish(&dispatch_at(not_before)).await.expect("a publish");
    let (now, _) = publish(&backend.queue()).await;
    let first = worker.next().await;
    assert_eq!(first.id(), now);
    first.answer(200);
    let second = worker.next().await;
    assert!(SystemClock.now() >= not_before);
    assert_eq!(second.id(), later.0);
    second.answer(200);
    delivery.stop().await;
}

pub async fn no_more_pushes_than_allowed_are_under_way<B: Backend>() {
    let backend = B::open().await;
    let mut worker = Endpoint::open().await;
    for _ in 0..12 {
        publish(&backend.queue()).await;
    }
    let delivery = backend.deliver(&worker.url, 3);
    let mut waiting = Vec::new();
    for _ in 0..12 {
        waiting.push(worker.next().await);
        // The third must come while two are unanswered; a fourth must not.
        if waiting.len() == 3 {
            waiting.remove(0).answer(200);
        }
    }
    for push in waiting {
        push.answer(200);
    }
    delivery.stop().await;
    assert_eq!(worker.most(), 3);
}

pub async fn a_worker_that_is_down_costs_no_delivery_attempt<B: Backend>() {
    let backend = B::open().await;
    let (id, _) = publish(&backend.queue()).await;
    // An address where nobody listens yet.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("an address");
    drop(free);
    let delivery = backend.deliver(&format!("http://{address}").parse().expect("a URL"), 1);
    // More connection attempts than a message has deliveries: 100, 200, 400, 800 ms of pauses lie between them.
    tokio::time::sleep(Duration::from_millis(1_600)).await;
    let mut worker = Endpoint::at(address).await;
    let push = worker.next().await;
    assert_eq!((push.id(), push.attempt()), (id, 1));
    push.answer(200);
    delivery.stop().await;
}

pub async fn each_kind_goes_to_its_endpoint<B: Backend>() {
    let backend = B::open().await;
    let mut worker = Endpoint::open().await;
    let delivery = backend.deliver(&worker.url.join("below").expect("a URL"), 1);
    let id = JobId::random(JobKind::Brand, &SystemRandom);
    let training = Dispatch { message: JobMessage::new(id, None), not_before: SystemClock.now() };
    backend.queue().publish(&training).await.expect("a publish");
    let push = worker.next().await;
    assert_eq!(push.path, "/below/process-training");
    assert_eq!(push.json()["subscription"], "projects/local/subscriptions/brand-training-workers");
    push.answer(200);
    delivery.stop().await;
}

pub async fn a_dead_letter_is_recorded_once_per_key<B: Backend>() {
    let backend = B::open().await;
    let queue = backend.queue();
    let id = JobId::random(JobKind::Illustration, &SystemRandom);
    let message = JobMessage::new(id.clone(), None);
    let letter = |key: &str| DeadLetter {
        key: key.to_owned(),
        job_id: Some(id.clone()),
        error: JobError::new(ErrorCode::EngineTimeout, "no answer"),
        attempts: 5,
        data: message.data(),
        attributes: message.attributes(),
    };
    let first = queue.dead_letter(&letter("a")).await.expect("a letter");
    let again = queue.dead_letter(&letter("a")).await.expect("the same letter");
    let other = queue.dead_letter(&letter("b")).await.expect("another letter");
    assert_eq!(first, again);
    assert_ne!(first, other);
    let letters = backend.letters().await;
    assert_eq!(letters.len(), 2);
    let expected = [("jobId", id.as_str()), ("kind", "generation"), ("errorCode", "engine_timeout"), ("attempts", "5")];
    let expected: BTreeMap<_, _> = expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    assert_eq!(letters[0].attributes, expected);
    let backend = backend.reopen().await;
    assert_eq!(backend.queue().dead_letter(&letter("a")).await.expect("the same letter"), first);
    assert_eq!(backend.letters().await, letters);
}

pub async fn stopping_lets_the_push_under_way_finish<B: Backend>() {
    let backend = B::open().await;
    let mut worker = Endpoint::open().await;
    let delivery = backend.deliver(&worker.url, 1);
    publish(&backend.queue()).await;
    let push = worker.next().await;
    delivery.stop.cancel();
    push.answer(200);
    delivery.task.await.expect("no panic");
    let delivery = backend.deliver(&worker.url, 1);
    let (next, _) = publish(&backend.queue()).await;
    let push = worker.next().await;
    assert_eq!(push.id(), next, "the first must have been acknowledged");
    push.answer(200);
    delivery.stop().await;
}

pub async fn a_refusal_while_stopping_costs_no_delivery_attempt<B: Backend>() {
    let backend = B::open().await;
    let mut worker = Endpoint::open().await;
    let (id, _) = publish(&backend.queue()).await;
    // More often than a message may be delivered.
    for _ in 0..6 {
        let delivery = backend.deliver(&worker.url, 1);
        let push = worker.next().await;
        assert_eq!((push.id(), push.attempt()), (id.clone(), 1));
        delivery.stop.cancel();
        push.answer(503);
        delivery.stop().await;
    }
    assert_eq!(backend.letters().await, []);
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
    let delivery = backend.deliver(&worker.url, 32);
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
