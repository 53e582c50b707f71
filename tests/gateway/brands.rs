//! Brands: visibility, events, cancellation, deletion, and their use as styles.

use axum::http::Method;
use serde_json::json;

use crate::support::world;

#[tokio::test]
async fn a_ready_brand_shows_its_results() {
    let world = world();
    world.grant("users/ann", 50).await;
    let id = world.queued_brand("ann").await;
    world.start(&id).await;
    world.heartbeat(&id, Some(0.5)).await;
    let training = world.get(&format!("/brands/{id}?userId=ann")).await.json();
    assert_eq!((&training["status"], &training["progress"]["fraction"]), (&json!("training"), &json!(0.5)));
    world.complete_brand(&id, "ann").await;
    let brand = world.get(&format!("/brands/{id}?userId=ann")).await.json();
    let expected = json!({
        "brandId": id, "status": "ready", "userId": "ann", "name": "Acme", "colors": ["#ff6600"],
        "palette": ["#ff6600", "#1b2a41"], "imageCount": 5, "trainingMs": 30000, "costUsd": 1.85, "creditsUsed": 25,
        "sampleUrls": [format!("http://gateway.test:8080/media/brands/ann/{id}/1-2-0.png")],
        "attempt": 1, "createdAt": "2026-03-01T12:00:00Z", "startedAt": "2026-03-01T12:00:00Z",
        "completedAt": "2026-03-01T12:00:00Z", "queueMs": 0, "version": 4
    });
    assert_eq!(brand, expected);
    assert_eq!(world.get("/credits?userId=ann").await.json()["spent"], 25);
}

#[tokio::test]
async fn only_team_members_share_brands_and_credits() {
    let world = world();
    for user in ["ann", "bob"] {
        world.join(user, "acme").await;
    }
    world.grant("teams/acme", 40).await;
    let id = world.queued_brand("ann").await;
    let balance = world.get("/credits?userId=bob").await.json();
    assert_eq!((&balance["account"], &balance["held"]), (&json!("teams/acme"), &json!(25)));
    assert_eq!(world.get(&format!("/brands/{id}?userId=bob")).await.json()["teamId"], "acme");
    world.get(&format!("/brands/{id}?userId=eve")).await.problem(404, "not_found");
    world.get(&format!("/brands/{id}/events?userId=eve")).await.problem(404, "not_found");
    world.call(Method::POST, &format!("/brands/{id}/cancel?userId=eve")).await.problem(404, "not_found");
    world.call(Method::DELETE, &format!("/brands/{id}?userId=eve")).await.problem(404, "not_found");
    // A brand id is not an illustration id.
    world.get(&format!("/illustrations/{id}?userId=ann")).await.problem(404, "not_found");
    // Illustrations stay private within the team, but the team pays for them.
    let picture = world.generate(&json!({ "userId": "ann", "prompt": "a cat" })).await.json();
    let picture = picture["illustrationId"].as_str().unwrap().to_owned();
    world.get(&format!("/illustrations/{picture}?userId=bob")).await.problem(404, "not_found");
    assert_eq!(world.get("/credits?userId=bob").await.json()["held"], 26);
    // Every member may cancel and delete a brand.
    let cancelled = world.call(Method::POST, &format!("/brands/{id}/cancel?userId=bob")).await;
    assert_eq!((cancelled.status.as_u16(), &cancelled.json()["status"]), (200, &json!("cancelled")));
    assert_eq!(world.get("/credits?userId=ann").await.json()["held"], 1);
    assert_eq!(world.call(Method::DELETE, &format!("/brands/{id}?userId=bob")).await.status, 204);
    world.get(&format!("/brands/{id}?userId=ann")).await.problem(404, "not_found");
    let end_of_time = mediaforge::domain::Timestamp::MAX;
    assert_eq!(world.media.expire("brands/", end_of_time).await.unwrap(), 0);
}

#[tokio::test]
async fn lists_contain_own_and_team_brands() {
    let world = world();
    world.grant("users/ann", 100).await;
    let private = world.queued_brand("ann").await;
    world.clock.advance_ms(1000);
    for user in ["ann", "bob"] {
        world.join(user, "acme").await;
    }
    world.grant("teams/acme", 100).await;
    let shared = world.queued_brand("ann").await;
    world.clock.advance_ms(1000);
    let bobs = world.queued_brand("bob").await;
    let ids = async |path: &str| -> Vec<String> {
        let page = world.get(path).await.json();
        page["data"].as_array().unwrap().iter().map(|one| one["brandId"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids("/brands?userId=ann").await, [bobs.clone(), shared.clone(), private.clone()]);
    assert_eq!(ids("/brands?userId=bob").await, [bobs.clone(), shared.clone()]);
    assert!(ids("/brands?userId=eve").await.is_empty());
    let first = world.get("/brands?userId=ann&limit=2").await;
    assert_eq!(first.json()["hasMore"], true);
    let next = first.header("link").unwrap().trim_start_matches('<').split('>').next().unwrap().to_owned();
    assert!(next.starts_with("/brands?"), "{next}");
    assert_eq!(ids(&next).await, [private]);
    assert_eq!(ids(&format!("/brands?userId=ann&after={bobs}")).await.first(), Some(&shared));
    world.start(&shared).await;
    assert_eq!(ids("/brands?userId=ann&status=training,ready").await, [shared]);
    world.get("/brands?status=processing").await.problem(422, "invalid_fields");
}

#[tokio::test]
async fn a_brand_has_the_same_events_as_an_illustration() {
    let world = world();
    world.grant("users/ann", 50).await;
    let id = world.queued_brand("ann").await;
    let mut one = world.events(&format!("/brands/{id}/events?userId=ann"), &[]).await;
    let mut all = world.events("/events?userId=ann", &[]).await;
    for events in [&mut one, &mut all] {
        assert!(events.frame().await.unwrap().starts_with("retry:"));
        let first = events.event().await;
        assert_eq!((first.name.as_str(), &first.data["brandId"]), ("job.queued", &json!(id)));
    }
    world.start(&id).await;
    for events in [&mut one, &mut all] {
        let event = events.event().await;
        assert_eq!((event.name.as_str(), &event.data["status"]), ("job.processing", &json!("training")));
    }
    world.heartbeat(&id, Some(0.25)).await;
    assert_eq!(one.event().await.name, "job.progress");
    assert_eq!(all.event().await.name, "job.progress");
    world.complete_brand(&id, "ann").await;
    let event = one.event().await;
    assert_eq!((event.name.as_str(), &event.data["status"]), ("job.completed", &json!("ready")));
    assert_eq!(one.frame().await, None);
    assert_eq!(all.event().await.data["palette"][1], "#1b2a41");
    // A client that resumes the stream of all jobs receives the end.
    drop(all);
    let mut back = world.events("/events?userId=ann&last_event_id=1772366400000", &[]).await;
    back.frame().await;
    assert_eq!(back.event().await.data["status"], "ready");
}

#[tokio::test]
async fn a_ready_brand_is_a_style() {
    let world = world();
    world.join("ann", "acme").await;
    world.join("bob", "acme").await;
    world.grant("teams/acme", 100).await;
    let id = world.queued_brand("ann").await;
    let draw = |user: &str| json!({ "userId": user, "prompt": "a cat", "styleId": id });
    let problem = world.generate(&draw("bob")).await.problem(422, "invalid_fields");
    let wrong = json!([{ "pointer": "/styleId", "detail": "this brand is queued; only a ready one can be used" }]);
    assert_eq!(problem["errors"], wrong);
    assert_eq!(world.get("/styles?userId=bob").await.json()["data"].as_array().unwrap().len(), 2);
    world.start(&id).await;
    world.complete_brand(&id, "ann").await;
    let styles = world.get("/styles?userId=bob").await.json();
    let style = json!({
        "styleId": id, "name": "Acme", "description": "The style of Acme, trained from 5 pictures", "brandId": id,
        "sampleUrl": format!("http://gateway.test:8080/media/brands/ann/{id}/1-2-0.png")
    });
    assert_eq!(styles["data"][2], style);
    assert_eq!(world.get("/styles?userId=eve").await.json()["data"].as_array().unwrap().len(), 2);
    let accepted = world.generate(&draw("bob")).await;
    assert_eq!(accepted.status, 202, "{}", accepted.json());
    let picture = accepted.json()["illustrationId"].as_str().unwrap().to_owned();
    let shown = world.get(&format!("/illustrations/{picture}?userId=bob")).await.json();
    assert_eq!((&shown["styleId"], &shown["styleName"]), (&json!(id), &json!("Acme")));
    let job = world.jobs.queries.get(&"bob".parse().unwrap(), &picture.parse().unwrap()).await.unwrap().unwrap().value;
    let mediaforge::domain::job::Work::Illustration(spec) = &job.work else { panic!("a picture") };
    assert_eq!(spec.style.palette.len(), 2);
    for foreign in [draw("eve"), json!({ "prompt": "x", "styleId": "brd_00000000000000000000" })] {
        let problem = world.generate(&foreign).await.problem(404, "not_found");
        assert_eq!(problem["detail"], "no such brand");
    }
    let several = json!({ "userId": "bob", "styleId": id, "width": 1 });
    let problem = world.generate(&several).await.problem(422, "invalid_fields");
    assert_eq!(problem["errors"].as_array().unwrap().len(), 2, "{problem}");
}
