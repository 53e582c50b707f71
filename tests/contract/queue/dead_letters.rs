//! The contract of the dead letters of every queue.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mediaforge::{
    domain::{
        clock::{Clock as _, SystemClock, SystemRandom},
        failure::{ErrorCode, JobError},
        ids::JobId,
        kind::JobKind,
        message::{DeadLetter, JobMessage},
    },
    queue::StoredDeadLetter,
};

use super::Backend;

pub fn dead_letter(id: &JobId, key: &str) -> DeadLetter {
    let message = JobMessage::new(id.clone(), None);
    DeadLetter {
        key: key.to_owned(),
        job_id: Some(id.clone()),
        error: JobError::new(ErrorCode::EngineTimeout, "no answer"),
        attempts: 5,
        data: message.data(),
        attributes: message.attributes(),
    }
}

fn keys(dead_letters: &[StoredDeadLetter]) -> Vec<&str> {
    dead_letters.iter().map(|dead_letter| dead_letter.key.as_str()).collect()
}

pub async fn dead_letters_with_one_key_are_one<B: Backend>() {
    let backend = B::open().await;
    let queue = backend.queue();
    let id = JobId::random(JobKind::Illustration, &SystemRandom);
    for key in ["a", "a", "b"] {
        queue.record_dead_letter(&dead_letter(&id, key)).await.expect("a dead letter");
    }
    let dead_letters = queue.dead_letters(10).await.expect("dead letters");
    assert_eq!(keys(&dead_letters).into_iter().collect::<BTreeSet<_>>(), ["a", "b"].into());
    assert_eq!(dead_letters.len(), 2);
    let found = dead_letters.iter().find(|dead_letter| dead_letter.key == "a").expect("a dead letter");
    let expected = [
        ("attempts", "5"),
        ("deadLetterKey", "a"),
        ("errorCode", "engine_timeout"),
        ("jobId", id.as_str()),
        ("kind", "generation"),
    ];
    let expected: BTreeMap<_, _> = expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    assert_eq!(found.attributes, expected);
    assert_eq!(found.data, JobMessage::new(id.clone(), None).data());
    assert_eq!((found.job_id.as_ref(), found.error_code.as_deref()), (Some(&id), Some("engine_timeout")));
    assert_eq!(found.attempts, Some(5));
    let age = SystemClock.now().duration_since(found.published_at).as_secs();
    assert!((0..60).contains(&age), "{age}");
    let backend = backend.reopen().await;
    let queue = backend.queue();
    queue.record_dead_letter(&dead_letter(&id, "a")).await.expect("the same dead letter");
    let again = queue.dead_letters(10).await.expect("dead letters");
    assert_eq!(keys(&again), keys(&dead_letters), "a repetition after a restart is the same dead letter");
}

pub async fn listing_dead_letters_does_not_remove_them<B: Backend>() {
    let backend = B::open().await;
    let queue = backend.queue();
    assert_eq!(queue.dead_letters(10).await.expect("dead letters"), []);
    let id = JobId::random(JobKind::Brand, &SystemRandom);
    let all: BTreeSet<_> = (0..250).map(|n| format!("key-{n}")).collect();
    for key in &all {
        queue.record_dead_letter(&dead_letter(&id, key)).await.expect("a dead letter");
    }
    assert_eq!(queue.dead_letters(0).await.expect("dead letters"), []);
    assert_eq!(queue.dead_letters(7).await.expect("dead letters").len(), 7);
    for _ in 0..2 {
        let found = queue.dead_letters(1_000).await.expect("dead letters");
        assert_eq!(found.len(), all.len());
        assert!(found.is_sorted_by_key(|dead_letter| dead_letter.published_at));
        assert_eq!(found.into_iter().map(|dead_letter| dead_letter.key).collect::<BTreeSet<_>>(), all);
    }
}

pub async fn a_discarded_dead_letter_is_gone_with_its_copies<B: Backend>() {
    let backend = B::open().await;
    let queue = backend.queue();
    let id = JobId::random(JobKind::Illustration, &SystemRandom);
    for key in ["a", "b", "a", "c"] {
        queue.record_dead_letter(&dead_letter(&id, key)).await.expect("a dead letter");
    }
    let discard = |keys: &[&str]| {
        let (queue, keys) = (Arc::clone(&queue), keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>());
        async move { queue.discard_dead_letters(&keys).await.expect("discarded") }
    };
    assert_eq!(discard(&["a", "c", "unknown"]).await, 2);
    assert_eq!(keys(&queue.dead_letters(10).await.expect("dead letters")), ["b"]);
    assert_eq!(discard(&["a"]).await, 0, "discarding what is gone succeeds");
    assert_eq!(discard(&[]).await, 0);
    queue.record_dead_letter(&dead_letter(&id, "a")).await.expect("a dead letter");
    let backend = backend.reopen().await;
    let found = backend.queue().dead_letters(10).await.expect("dead letters");
    assert_eq!(keys(&found), ["b", "a"], "a discarded key can be recorded again");
}

pub async fn a_purge_removes_the_dead_letters_recorded_before_it<B: Backend>() {
    let backend = B::open().await;
    let queue = backend.queue();
    let id = JobId::random(JobKind::Illustration, &SystemRandom);
    for key in ["a", "b"] {
        queue.record_dead_letter(&dead_letter(&id, key)).await.expect("a dead letter");
    }
    queue.purge_dead_letters().await.expect("purged");
    assert_eq!(queue.dead_letters(10).await.expect("dead letters"), []);
    queue.record_dead_letter(&dead_letter(&id, "a")).await.expect("a dead letter");
    assert_eq!(keys(&queue.dead_letters(10).await.expect("dead letters")), ["a"]);
}
