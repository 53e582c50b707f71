//! `/illustrations`: shape, pages, cancel, delete, visibility.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{World, settings, world, world_with};

#[tokio::test]
async fn a_job_is_shown_in_every_state() {
    let world = world();
    let id = world.queued("ann").await;
    let path = format!("/illustrations/{id}?userId=ann");
    let mut shown: Vec<Value> = vec![world.get(&path).await.json()];
    world.clock.advance_ms(1500);
    world.start(&id).await;
    world.heartbeat(&id, Some(0.25)).await;
    shown.push(world.get(&path).await.json());
    world.clock.advance_ms(2000);
    world.complete(&id).await;
    shown.push(world.get(&path).await.json());
    insta::assert_json_snapshot!(shown, { "[].illustrationId" => "[id]" , "[].imageUrl" => "[url]", "[].imageUrls[]" => "[url]", "[].thumbnailUrl" => "[url]" });
    let picture = format!("http://gateway.test:8080/media/illustrations/ann/{id}/1-2-0.png");
    assert_eq!(shown[2]["imageUrl"], picture);
    assert_eq!(shown[2]["imageUrls"], json!([picture]));
    let fetched = world.get(picture.strip_prefix("http://gateway.test:8080").unwrap()).await;
    assert_eq!((fetched.status, &fetched.body[..]), (StatusCode::OK, &b"0123456789abcdefghij"[..]));
}

#[tokio::test]
async fn a_failed_job_shows_its_error() {
    use mediaforge::domain::{
        clock::Clock as _,
        failure::{AttemptFailure, ErrorCode},
    };
    let world = world();
    let id = world.queued("local").await;
    world.start(&id).await;
    let (now, policy) = (world.clock.now(), world.policy);
    let failure = AttemptFailure::fail(ErrorCode::ContentFiltered, "withheld");
    world.change(&id, |job| job.fail(now, failure, &policy, 0.0)).await;
    let body = world.get(&format!("/illustrations/{id}")).await.json();
    assert_eq!(body["error"], json!({ "code": "content_filtered", "message": "withheld" }));
    assert_eq!((&body["status"], &body["creditsUsed"]), (&json!("failed"), &json!(0)));
    assert_eq!(body["failedAt"], "2026-03-01T12:00:00Z");
    assert!(body.get("completedAt").is_none() && body.get("imageUrl").is_none());
}

#[tokio::test]
async fn withheld_pictures_are_reported_and_not_charged() {
    let world = world();
    let body = json!({ "userId": "local", "prompt": "a cat", "count": 2 });
    let id = world.generate(&body).await.json()["illustrationId"].as_str().unwrap().to_owned();
    world.start(&id).await;
    world.complete_filtered(&id, 1).await;
    let job = world.get(&format!("/illustrations/{id}")).await.json();
    assert_eq!((&job["status"], &job["filtered"], &job["creditsUsed"]), (&json!("completed"), &json!(1), &json!(1)));
    assert_eq!(job["imageUrls"].as_array().map(Vec::len), Some(1));
    let credits = world.get("/credits").await.json();
    assert_eq!((&credits["held"], &credits["spent"], &credits["available"]), (&json!(0), &json!(1), &json!(9)));
}

#[tokio::test]
async fn a_waiting_job_shows_why_it_waits() {
    use mediaforge::domain::{
        clock::{Clock as _, after},
        failure::{ErrorCode, JobError},
    };
    let world = world();
    let id = world.queued("local").await;
    let (now, policy) = (world.clock.now(), world.policy);
    let path = format!("/illustrations/{id}");
    assert!(world.get(&path).await.json().get("lastError").is_none());
    let reason = JobError::new(ErrorCode::RateLimited, "the engine is busy");
    world.change(&id, |job| job.postpone(now, after(now, std::time::Duration::from_secs(9)), reason, &policy)).await;
    let job = world.get(&path).await.json();
    assert_eq!(job["lastError"], json!({ "code": "rate_limited", "message": "the engine is busy" }));
    assert_eq!((&job["status"], &job["attempt"]), (&json!("queued"), &json!(0)));
    assert!(job.get("error").is_none(), "it has not failed");
}

#[tokio::test]
async fn links_begin_with_the_public_url_or_a_valid_host() {
    let public = Some("https://pictures.example/api/".parse().unwrap());
    let world = world_with(mediaforge::gateway::GatewaySettings { public_url: public, ..settings() });
    let id = world.queued("local").await;
    world.start(&id).await;
    world.complete(&id).await;
    let path = format!("/illustrations/{id}");
    let url = world.get(&path).await.json()["thumbnailUrl"].as_str().unwrap().to_owned();
    assert!(url.starts_with("https://pictures.example/api/media/illustrations/local/"), "{url}");

    let world = crate::support::world();
    let id = world.queued("local").await;
    world.start(&id).await;
    world.complete(&id).await;
    let path = format!("/illustrations/{id}");
    let forwarded = [("x-forwarded-host", "evil.example"), ("x-forwarded-proto", "https")];
    let url = world.get_with(&path, &forwarded).await.json()["imageUrl"].as_str().unwrap().to_owned();
    assert!(url.starts_with("http://gateway.test:8080/media/"), "{url}");
    // With two hosts or an invalid one, no host reaches the response.
    let url = world.get_with(&path, &[("host", "evil.example")]).await.json()["imageUrl"].as_str().unwrap().to_owned();
    assert!(url.starts_with("/media/"), "{url}");
    for host in ["a@evil.example", "evil.example/x", "<b>", ""] {
        let request = axum::http::Request::get(&path).header("host", host).body(axum::body::Body::empty()).unwrap();
        let url = world.send(request).await.json()["imageUrl"].as_str().unwrap().to_owned();
        assert!(url.starts_with("/media/"), "{host}: {url}");
    }
}

#[tokio::test]
async fn the_job_of_another_user_does_not_exist() {
    let world = world();
    let id = world.queued("ann").await;
    let problem = world.get(&format!("/illustrations/{id}?userId=bob")).await.problem(404, "not_found");
    insta::assert_json_snapshot!(problem, { ".requestId" => "[id]", ".instance" => "[path]" });
    for (method, tail) in [(Method::POST, "/cancel"), (Method::DELETE, ""), (Method::GET, "/events")] {
        let path = format!("/illustrations/{id}{tail}?userId=bob");
        world.call(method, &path).await.problem(404, "not_found");
    }
    // The response is the same for an unknown and for an invalid id.
    for id in ["ill_00000000000000000000", "brd_00000000000000000000", "ill_", "..%2F..%2Fetc", "%FF", "ill_%00"] {
        let other = world.get(&format!("/illustrations/{id}?userId=bob")).await.problem(404, "not_found");
        assert_eq!(other["detail"], problem["detail"], "{id}");
    }
    assert_eq!(world.get("/illustrations?userId=bob").await.json(), json!({ "data": [], "hasMore": false }));
    let cursor = world.get(&format!("/illustrations?userId=bob&after={id}")).await;
    cursor.problem(422, "invalid_fields");
}

#[tokio::test]
async fn pages_follow_each_other_by_link() {
    let world = world();
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(world.queued("ann").await);
        world.clock.advance_ms(1);
    }
    ids.reverse();
    let mut path = "/illustrations?limit=2&userId=ann&status=queued%2Ccompleted".to_owned();
    let mut seen = Vec::new();
    loop {
        let answer = world.get(&path).await;
        assert_eq!(answer.status, StatusCode::OK);
        let page = answer.json();
        let data = page["data"].as_array().unwrap();
        assert_eq!(page["firstId"], data[0]["illustrationId"]);
        assert_eq!(page["lastId"], data[data.len() - 1]["illustrationId"]);
        seen.extend(data.iter().map(|job| job["illustrationId"].as_str().unwrap().to_owned()));
        let Some(link) = answer.header("link") else {
            assert_eq!(page["hasMore"], false);
            break;
        };
        assert_eq!(page["hasMore"], true);
        path = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned();
    }
    assert_eq!(seen, ids);
    let page = world.get("/illustrations?userId=ann&status=failed").await.json();
    assert_eq!(page, json!({ "data": [], "hasMore": false }));
}

#[tokio::test]
async fn all_invalid_parameters_are_reported_together() {
    let world = world();
    let answer = world.get("/illustrations?status=done,queued&limit=101&after=nobody").await;
    insta::assert_json_snapshot!(answer.problem(422, "invalid_fields"), { ".requestId" => "[id]" });
    for query in ["limit=0", "limit=-1", "limit=x", "limit=1&limit=2", "status=ready", "userId=", "userId=a/b"] {
        world.get(&format!("/illustrations?{query}")).await.problem(422, "invalid_fields");
    }
    assert_eq!(world.get("/illustrations?status=&limit=&after=").await.status, StatusCode::OK, "blank is absent");
    assert_eq!(world.get("/illustrations?limit=100&utm_source=x&status=&after=").await.status, StatusCode::OK);
}

async fn cancel(world: &World, id: &str) -> (StatusCode, Value) {
    let answer = world.call(Method::POST, &format!("/illustrations/{id}/cancel")).await;
    (answer.status, answer.json())
}

#[tokio::test]
async fn cancelling_is_immediate_or_requested() {
    let world = world();
    let waiting = world.queued("local").await;
    for _ in 0..2 {
        let (status, body) = cancel(&world, &waiting).await;
        assert_eq!((status, &body["status"]), (StatusCode::OK, &json!("cancelled")));
        assert!(body["cancelledAt"].is_string());
    }
    let running = world.queued("local").await;
    world.start(&running).await;
    for _ in 0..2 {
        let (status, body) = cancel(&world, &running).await;
        assert_eq!((status, &body["status"]), (StatusCode::ACCEPTED, &json!("processing")));
        assert_eq!(body["cancelRequested"], true);
    }
    let done = world.queued("local").await;
    world.start(&done).await;
    world.complete(&done).await;
    let before = world.get(&format!("/illustrations/{done}")).await.json();
    assert_eq!(cancel(&world, &done).await, (StatusCode::OK, before), "a finished job does not change");
    assert_eq!(world.get("/credits").await.json()["spent"], 1);
}

#[tokio::test]
async fn only_finished_jobs_are_deleted() {
    let world = world();
    let id = world.queued("local").await;
    let path = format!("/illustrations/{id}");
    let refused = world.call(Method::DELETE, &path).await.problem(409, "job_not_finished");
    insta::assert_json_snapshot!(refused, { ".requestId" => "[id]", ".instance" => "[path]" });
    world.start(&id).await;
    world.complete(&id).await;
    let picture = world.get(&path).await.json()["imageUrl"].as_str().unwrap().to_owned();
    assert_eq!(world.call(Method::DELETE, &path).await.status, StatusCode::NO_CONTENT);
    world.get(&path).await.problem(404, "not_found");
    world.call(Method::DELETE, &path).await.problem(404, "not_found");
    world.get(picture.strip_prefix("http://gateway.test:8080").unwrap()).await.problem(404, "not_found");
}
