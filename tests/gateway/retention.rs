//! Finished jobs older than `jobs.retention` are removed with their pictures; everything else stays.

use std::time::Duration;

use axum::http::StatusCode;
use mediaforge::domain::{clock::Clock as _, ids::JobId};

use crate::support::{World, settings, world, world_with_retention};

const HOUR_MS: i64 = 3_600_000;

async fn completed(world: &World) -> (String, String) {
    let id = world.queued("ann").await;
    world.start(&id).await;
    world.complete(&id).await;
    let shown = world.get(&format!("/illustrations/{id}?userId=ann")).await.json();
    let picture = shown["imageUrl"].as_str().unwrap().strip_prefix("http://gateway.test:8080").unwrap().to_owned();
    (format!("/illustrations/{id}?userId=ann"), picture)
}

#[tokio::test]
async fn an_old_job_is_removed_with_its_pictures_and_a_newer_one_stays() {
    let world = world_with_retention(settings(), Some(Duration::from_hours(24)));
    let (old, old_picture) = completed(&world).await;
    world.clock.advance_ms(20 * HOUR_MS);
    let (young, young_picture) = completed(&world).await;
    assert_eq!(world.jobs.maintenance.sweep().await.unwrap().removed, 0, "both are new");
    world.clock.advance_ms(5 * HOUR_MS);
    let swept = world.jobs.maintenance.sweep().await.unwrap();
    assert_eq!((swept.removed, swept.more), (1, false));

    world.get(&old).await.problem(404, "not_found");
    assert_eq!(world.get(&old_picture).await.status, StatusCode::NOT_FOUND);
    let events = old.replace('?', "/events?");
    world.get(&events).await.problem(404, "not_found");
    assert_eq!(world.get(&young).await.status, StatusCode::OK);
    assert_eq!(world.get(&young_picture).await.status, StatusCode::OK);
    let credits = world.get("/credits?userId=ann").await.json();
    assert_eq!(credits["spent"], 2, "paid credits stay spent: {credits}");
}

#[tokio::test]
async fn nothing_is_removed_by_default() {
    let world = world();
    let (old, picture) = completed(&world).await;
    world.clock.advance_ms(50 * 365 * 24 * HOUR_MS);
    assert_eq!(world.jobs.maintenance.sweep().await.unwrap().removed, 0);
    assert_eq!(world.get(&old).await.status, StatusCode::OK);
    assert_eq!(world.get(&picture).await.status, StatusCode::OK);
}

#[tokio::test]
async fn old_jobs_are_removed_in_batches() {
    let world = world_with_retention(settings(), Some(Duration::from_hours(1)));
    let now = world.clock.now();
    for _ in 0..51 {
        let id = world.queued("ann").await;
        world.change(&id, |job| job.cancel(now)).await;
    }
    world.clock.advance_ms(2 * HOUR_MS);
    let swept = world.jobs.maintenance.sweep().await.unwrap();
    assert_eq!((swept.removed, swept.more), (50, true), "the next batch follows at once");
    let swept = world.jobs.maintenance.sweep().await.unwrap();
    assert_eq!((swept.removed, swept.more), (1, false));
    assert_eq!(world.job_count().await, 0);
}

#[tokio::test]
async fn the_key_of_a_removed_job_creates_no_second_job() {
    let world = world_with_retention(settings(), Some(Duration::from_hours(1)));
    let body = serde_json::json!({ "userId": "ann", "prompt": "a lighthouse at dawn" });
    let key = [("idempotency-key", "once")];
    let first = world.generate_with(&body, &key).await.json();
    let id: JobId = first["illustrationId"].as_str().unwrap().parse().unwrap();
    let now = world.clock.now();
    world.change(id.as_str(), |job| job.cancel(now)).await;
    world.clock.advance_ms(2 * HOUR_MS);
    assert_eq!(world.jobs.maintenance.sweep().await.unwrap().removed, 1);
    let again = world.generate_with(&body, &key).await;
    again.problem(409, "idempotency_key_spent");
}
