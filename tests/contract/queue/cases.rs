//! The contract of every queue.

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

use super::Backend;
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

pub async fn a_refused_message_is_delivered_again_with_a_growing_count<B: Backend>() {
    let backend = B::open().await;
    let mut consumer = backend.consume().await;
    let (id, _) = publish(&backend.queue()).await;
    for attempt in 1..=4 {
        let delivery = consumer.next().await;
        assert_eq!((&delivery.id, delivery.attempt), (&id, attempt));
        if attempt < 4 {
            delivery.refuse();
        } else {
            delivery.acknowledge();
        }
    }
    let (other, _) = publish(&backend.queue()).await;
    let delivery = consumer.next().await;
    assert_eq!(delivery.id, other, "an acknowledged message is not delivered again");
    delivery.acknowledge();
    consumer.stop().await;
}

pub async fn a_message_without_a_reply_is_delivered_again_after_the_deadline<B: Backend>() {
    let backend = B::open().await;
    let mut consumer = backend.consume().await;
    let (id, _) = publish(&backend.queue()).await;
    let unanswered = consumer.next().await;
    let again = consumer.next().await;
    assert_eq!((&again.id, again.attempt), (&id, 2));
    again.acknowledge();
    unanswered.acknowledge();
    consumer.kill().await;
}

pub async fn an_acknowledgement_survives_a_reopen<B: Backend>() {
    let backend = B::open().await;
    let mut consumer = backend.consume().await;
    let (first, _) = publish(&backend.queue()).await;
    let delivery = consumer.next().await;
    assert_eq!(delivery.id, first);
    delivery.acknowledge();
    consumer.stop().await;
    let backend = backend.reopen().await;
    let mut consumer = backend.consume().await;
    let (second, _) = publish(&backend.queue()).await;
    let delivery = consumer.next().await;
    assert_eq!(delivery.id, second, "an acknowledged message is not delivered again");
    delivery.acknowledge();
    consumer.stop().await;
}

pub async fn an_unacknowledged_message_is_delivered_again_after_a_reopen<B: Backend>() {
    let backend = B::open().await;
    let mut consumer = backend.consume().await;
    let (id, _) = publish(&backend.queue()).await;
    let unanswered = consumer.next().await;
    consumer.kill().await;
    let backend = backend.reopen().await;
    let mut consumer = backend.consume().await;
    let again = consumer.next().await;
    assert_eq!(again.id, id);
    again.acknowledge();
    unanswered.acknowledge();
    consumer.kill().await;
}

pub async fn a_backlog_is_delivered_completely<B: Backend>() {
    const MESSAGES: usize = 1_500;
    let backend = B::open().await;
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
    let mut consumer = backend.consume().await;
    let mut delivered = BTreeSet::new();
    while delivered.len() < MESSAGES {
        let delivery = consumer.next().await;
        assert!(delivered.insert(delivery.id.clone()), "{} was delivered twice", delivery.id);
        delivery.acknowledge();
    }
    consumer.stop().await;
    assert_eq!(delivered, sent);
}

pub async fn a_healthy_queue_answers<B: Backend>() {
    B::open().await.queue().ping().await.expect("an answer");
}

pub async fn the_last_refusal_makes_a_dead_letter<B: Backend>() {
    let backend = B::open().await;
    let queue = backend.queue();
    let mut consumer = backend.consume().await;
    let (id, message) = publish(&queue).await;
    for attempt in 1..=5 {
        let delivery = consumer.next().await;
        assert_eq!((&delivery.id, delivery.attempt), (&id, attempt));
        delivery.refuse();
    }
    let dead_letters = soon("a dead letter", first_dead_letters(&queue)).await;
    assert_eq!(dead_letters.len(), 1, "{dead_letters:?}");
    let dead_letter = &dead_letters[0];
    assert_eq!((&dead_letter.data, dead_letter.job_id.as_ref()), (&message.data(), Some(&message.job_id)));
    assert_eq!((&dead_letter.error_code, dead_letter.attempts), (&None, None), "no worker has recorded anything");
    consumer.stop().await;
}

/// Waits until there are dead letters.
pub async fn first_dead_letters(queue: &Arc<dyn JobQueue>) -> Vec<StoredDeadLetter> {
    loop {
        let dead_letters = queue.dead_letters(10).await.expect("dead letters");
        if !dead_letters.is_empty() {
            return dead_letters;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A queue that cannot delay delivers both at once.
pub async fn a_message_for_later_is_delivered_in_the_end<B: Backend>() {
    let backend = B::open().await;
    let mut consumer = backend.consume().await;
    let not_before = after(SystemClock.now(), Duration::from_millis(100));
    let later = backend.queue().publish(&dispatch_at(not_before)).await.expect("a publish").0;
    let (now, _) = publish(&backend.queue()).await;
    let mut delivered = Vec::new();
    for _ in 0..2 {
        let delivery = consumer.next().await;
        delivered.push(delivery.id.clone());
        if backend.queue().delays() && delivery.id == later {
            assert!(SystemClock.now() >= not_before, "a queue that delays waits for the time of the message");
        }
        delivery.acknowledge();
    }
    assert_eq!(delivered.into_iter().collect::<BTreeSet<_>>(), [later, now].into());
    consumer.stop().await;
}
