//! Server-sent events: order, resumption and the end; no event without a visible change.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use mediaforge::error::ErrorKind;

use crate::support::{Events, World, world};

fn path(id: &str) -> String {
    format!("/illustrations/{id}/events")
}

async fn open(world: &World, path: &str, headers: &[(&str, &str)]) -> Events {
    let mut events = world.events(path, headers).await;
    let retry = events.frame().await.unwrap();
    assert!(retry.starts_with("retry: ") && retry.ends_with("\n\n"), "{retry:?}");
    events
}

#[tokio::test]
async fn a_stream_has_the_snapshot_each_change_and_the_end() {
    let world = world();
    let id = world.queued("local").await;
    let mut events = open(&world, &path(&id), &[]).await;
    assert_eq!(events.headers["content-type"], "text/event-stream");
    assert_eq!(events.headers["cache-control"], "no-store");
    assert_eq!(events.headers["x-accel-buffering"], "no");
    let mut received = vec![events.event().await];
    world.start(&id).await;
    received.push(events.event().await);
    world.heartbeat(&id, None).await; // no visible change
    world.heartbeat(&id, Some(0.5)).await;
    received.push(events.event().await);
    world.heartbeat(&id, Some(0.5)).await; // no visible change
    world.call(Method::POST, &format!("/illustrations/{id}/cancel")).await;
    received.push(events.event().await);
    let now = "2026-03-01T12:00:01Z".parse().unwrap();
    world.change(&id, |job| job.cancel(now)).await;
    received.push(events.event().await);
    assert_eq!(events.frame().await, None);
    assert!(received.iter().all(|event| event.data["illustrationId"] == id));
    let received: Vec<_> = received.iter().map(|event| (event.name.as_str(), event.id.as_str())).collect();
    assert_eq!(
        received,
        [
            ("job.queued", "1"),
            ("job.processing", "2"),
            ("job.progress", "4"),
            ("job.processing", "6"),
            ("job.cancelled", "7"),
        ]
    );
}

#[tokio::test]
async fn the_data_of_an_event_is_the_job() {
    let world = world();
    let id = world.queued("local").await;
    world.start(&id).await;
    let version = world.complete(&id).await;
    let mut events = open(&world, &path(&id), &[]).await;
    let event = events.event().await;
    assert_eq!((event.name.as_str(), event.id), ("job.completed", version.0.to_string()));
    assert_eq!(event.data, world.get(&format!("/illustrations/{id}")).await.json());
    assert_eq!(events.frame().await, None);
}

#[tokio::test]
async fn a_resumed_stream_sends_what_the_client_has_missed() {
    let world = world();
    let id = world.queued("local").await;
    world.start(&id).await;
    // The client has version 2: nothing until the next change.
    let mut current = open(&world, &path(&id), &[("last-event-id", "2")]).await;
    // The client has version 1, according to the query: the snapshot.
    let mut behind = open(&world, &format!("{}?last_event_id=1", path(&id)), &[]).await;
    assert_eq!(behind.event().await.id, "2");
    // An invalid version: everything.
    let mut invalid = open(&world, &path(&id), &[("last-event-id", "x")]).await;
    assert_eq!(invalid.event().await.id, "2");
    world.heartbeat(&id, Some(0.5)).await;
    for events in [&mut current, &mut behind, &mut invalid] {
        let event = events.event().await;
        assert_eq!((event.name.as_str(), event.id.as_str()), ("job.progress", "3"));
    }
}

#[tokio::test]
async fn the_final_event_is_repeated_unless_the_client_has_it() {
    let world = world();
    let id = world.queued("local").await;
    world.start(&id).await;
    let version = world.complete(&id).await.0;
    for last in ["1", "99"] {
        let mut events = open(&world, &path(&id), &[("last-event-id", last)]).await;
        assert_eq!(events.event().await.id, version.to_string());
        assert_eq!(events.frame().await, None);
    }
    let answer = world.get_with(&path(&id), &[("last-event-id", &version.to_string())]).await;
    assert_eq!((answer.status, answer.body.len()), (StatusCode::NO_CONTENT, 0));
}

#[tokio::test]
async fn an_idle_stream_is_kept_alive() {
    let world = world();
    let id = world.queued("local").await;
    tokio::time::pause();
    let mut events = open(&world, &path(&id), &[]).await;
    events.event().await;
    let started = tokio::time::Instant::now();
    for _ in 0..2 {
        assert_eq!(events.frame().await.unwrap(), ": keep-alive\n\n");
    }
    // Timers count whole milliseconds, and time was paused within one.
    let late = started.elapsed().abs_diff(Duration::from_secs(30));
    assert!(late < Duration::from_millis(100), "{late:?}");
}

#[tokio::test]
async fn a_stopping_gateway_ends_its_streams() {
    let world = world();
    let id = world.queued("local").await;
    let mut one = open(&world, &path(&id), &[]).await;
    let mut all = open(&world, "/events", &[]).await;
    for events in [&mut one, &mut all] {
        events.event().await;
    }
    world.drain.cancel();
    for events in [&mut one, &mut all] {
        assert!(events.frame().await.unwrap().starts_with("retry: "));
        assert_eq!(events.frame().await, None);
    }
}

#[tokio::test]
async fn one_stream_has_all_jobs_of_a_user() {
    let world = world();
    let (one, foreign) = (world.queued("ann").await, world.queued("bob").await);
    let mut events = open(&world, "/events?userId=ann", &[]).await;
    assert_eq!(events.event().await.data["illustrationId"], one);
    let mut next = async || {
        let event = events.event().await;
        (event.name, event.data["illustrationId"].as_str().unwrap().to_owned())
    };
    world.start(&foreign).await;
    let two = world.queued("ann").await;
    assert_eq!(next().await, ("job.queued".to_owned(), two));
    world.start(&one).await;
    assert_eq!(next().await, ("job.processing".to_owned(), one.clone()));
    world.complete(&one).await;
    assert_eq!(next().await, ("job.completed".to_owned(), one));
}

#[tokio::test]
async fn a_resumed_stream_of_all_jobs_sends_the_ends_that_were_missed() {
    let world = world();
    let (old, missed, unfinished) = (world.queued("ann").await, world.queued("ann").await, world.queued("ann").await);
    world.start(&old).await;
    world.complete(&old).await;
    world.clock.advance_ms(120_000);
    let mut before = open(&world, "/events?userId=ann", &[]).await;
    let last = before.event().await.id;
    drop(before);
    world.start(&missed).await;
    world.complete(&missed).await;
    let mut events = open(&world, "/events?userId=ann", &[("last-event-id", &last)]).await;
    let (first, second) = (events.event().await, events.event().await);
    assert_eq!((first.name.as_str(), &first.data["illustrationId"]), ("job.completed", &missed.into()));
    assert_eq!((second.name.as_str(), &second.data["illustrationId"]), ("job.queued", &unfinished.into()));
    tokio::time::pause();
    assert_eq!(events.frame().await.unwrap(), ": keep-alive\n\n");
}

#[tokio::test]
async fn a_failing_store_is_a_problem_instead_of_an_empty_stream() {
    let world = world();
    let id = world.queued("local").await;
    world.faults.store.fail(Some(ErrorKind::Unavailable));
    world.get(&path(&id)).await.problem(503, "unavailable");
}
