//! `POST /train-brand`: pictures are checked before credits are held, and a training is accepted once.

use serde_json::{Value, json};

use crate::support::{World, pictures::blocks, world};

fn body(user: &str, images: &[String]) -> Value {
    json!({ "userId": user, "brandName": " Acme ", "brandColors": ["#FF6600"], "trainingImages": images })
}

async fn balance(world: &World, user: &str) -> Value {
    world.get(&format!("/credits?userId={user}")).await.json()
}

/// The number of files with this prefix; counts them by expiring all of them.
async fn files(world: &World, prefix: &str) -> usize {
    let end_of_time = mediaforge::domain::Timestamp::MAX;
    world.media.expire(prefix, end_of_time).await.unwrap()
}

#[tokio::test]
async fn a_training_is_accepted_with_its_own_copies() {
    let world = world();
    world.grant("users/ann", 30).await;
    let images = world.upload_five("ann").await;
    let answer = world.post("/train-brand", &body("ann", &images)).await;
    assert_eq!(answer.status, 202, "{}", answer.json());
    let accepted = answer.json();
    let id = accepted["brandId"].as_str().unwrap();
    let expected = json!({ "success": true, "brandId": id, "status": "queued", "estimatedTime": "15-30 minutes" });
    assert_eq!(accepted, expected);
    assert_eq!(answer.header("location"), Some(format!("/brands/{id}").as_str()));
    assert_eq!(balance(&world, "ann").await["held"], 25);
    let brand = world.get(&format!("/brands/{id}?userId=ann")).await.json();
    let expected = json!({
        "brandId": id, "status": "queued", "userId": "ann", "name": "Acme", "colors": ["#ff6600"], "imageCount": 5,
        "attempt": 0, "createdAt": "2026-03-01T12:00:00Z", "version": 1
    });
    assert_eq!(brand, expected);
    // The brand keeps its own copies when the uploads are removed.
    assert_eq!(files(&world, "uploads/ann/").await, 10);
    assert_eq!(files(&world, &format!("brands/ann/{id}/")).await, 5);
}

#[tokio::test]
async fn unusable_pictures_are_reported_and_nothing_is_held() {
    let world = world();
    world.grant("users/ann", 30).await;
    let mut images = world.upload_five("ann").await;
    images[1] = world.upload("ann", &blocks(11, 160, 100)).await;
    images[2] = world.upload("ann", &blocks(0, 320, 260)).await;
    images[3] = world.upload("ann", &blocks(12, 700, 150)).await;
    images[4] = world.upload("bob", &blocks(13, 160, 130)).await;
    images.push("upl_00000000000000000000".to_owned());
    let problem = world.post("/train-brand", &body("ann", &images)).await.problem(422, "invalid_fields");
    let pointers: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|error| &error["pointer"]).collect();
    assert_eq!(
        pointers,
        ["/trainingImages/1", "/trainingImages/2", "/trainingImages/3", "/trainingImages/4", "/trainingImages/5"]
    );
    let verdicts: Vec<_> = problem["verdicts"].as_array().unwrap().iter().map(|one| &one["verdict"]).collect();
    assert_eq!(verdicts, ["ok", "too_small", "near_duplicate", "extreme_aspect", "missing", "missing"]);
    assert_eq!(problem["verdicts"][1]["shortSide"], 100);
    assert_eq!(problem["verdicts"][2]["of"], 0);
    assert_eq!(balance(&world, "ann").await["held"], 0);
    assert_eq!(files(&world, "brands/").await, 0);

    // A dry run of the same request succeeds and changes nothing.
    let checked = world.post("/train-brand?dryRun=true", &body("ann", &images)).await;
    assert_eq!(checked.status, 200);
    let checked = checked.json();
    assert_eq!(
        (&checked["accepted"], &checked["price"], &checked["success"]),
        (&json!(false), &json!(25), &json!(true))
    );
    assert_eq!(checked["verdicts"], problem["verdicts"]);
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let world = world();
    let images = world.upload_five("ann").await;
    let checked = world.post("/train-brand?dryRun=true", &body("ann", &images)).await.json();
    assert_eq!((&checked["accepted"], &checked["price"]), (&json!(true), &json!(25)));
    assert_eq!(checked["verdicts"][4], json!({ "uploadId": images[4], "verdict": "ok", "detail": "fit for training" }));
    assert_eq!(world.get("/brands?userId=ann").await.json()["data"], json!([]));
    assert_eq!(files(&world, "brands/").await, 0);
    let odd = world.post("/train-brand?dryRun=perhaps", &json!({})).await.problem(422, "invalid_fields");
    assert_eq!(odd["errors"][0]["in"], "query");
    assert_eq!(odd["errors"][1]["pointer"], "/brandName");
}

#[tokio::test]
async fn all_invalid_training_fields_are_reported_together() {
    let world = world();
    let body = json!({ "userId": "/", "brandColors": ["orange"], "trainingImages": ["../../x", "upl_1"] });
    let problem = world.post("/train-brand", &body).await.problem(422, "invalid_fields");
    insta::assert_json_snapshot!(problem, { ".requestId" => "[id]" });
    let odd = json!({ "brandName": "A", "colours": [] });
    world.post("/train-brand", &odd).await.problem(400, "malformed_request");
}

#[tokio::test]
async fn a_key_creates_one_brand() {
    let world = world();
    world.grant("users/ann", 100).await;
    let images = world.upload_five("ann").await;
    let key = [("idempotency-key", "\"k1\"")];
    let first = world.post_with("/train-brand", &body("ann", &images), &key).await;
    // Also if the uploads have been removed.
    files(&world, "uploads/").await;
    let again = world.post_with("/train-brand", &body("ann", &images), &key).await;
    assert_eq!((again.status.as_u16(), again.json()), (202, first.json()));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(balance(&world, "ann").await["held"], 25);
    let other = json!({ "userId": "ann", "brandName": "Other", "trainingImages": images });
    world.post_with("/train-brand", &other, &key).await.problem(422, "idempotency_key_reused");
    let id = first.json()["brandId"].as_str().unwrap().to_owned();
    assert_eq!(files(&world, &format!("brands/ann/{id}/")).await, 5);
}

#[tokio::test]
async fn two_concurrent_requests_with_one_key_create_one_brand() {
    let world = world();
    world.grant("users/ann", 100).await;
    let images = world.upload_five("ann").await;
    let key = [("idempotency-key", "k2")];
    let body = body("ann", &images);
    let send = || world.post_with("/train-brand", &body, &key);
    let (one, two) = futures::join!(send(), send());
    assert_eq!((one.status.as_u16(), two.status.as_u16()), (202, 202));
    assert_eq!(one.json(), two.json());
    let id = one.json()["brandId"].as_str().unwrap().to_owned();
    assert_eq!(balance(&world, "ann").await["held"], 25);
    assert_eq!(files(&world, &format!("brands/ann/{id}/")).await, 5);
}

#[tokio::test]
async fn without_credits_nothing_is_stored() {
    let world = world();
    let images = world.upload_five("ann").await;
    let problem = world.post("/train-brand", &body("ann", &images)).await.problem(402, "insufficient_credits");
    assert_eq!(problem["detail"], "25 credits needed, 10 available");
    assert_eq!(files(&world, "brands/").await, 0);
    assert_eq!(world.get("/brands?userId=ann").await.json()["data"], json!([]));
}

#[tokio::test]
async fn a_failing_backend_leaves_nothing_behind() {
    let world = world();
    world.grant("users/ann", 100).await;
    let images = world.upload_five("ann").await;
    world.faults.media.fail(Some(mediaforge::error::ErrorKind::Unavailable));
    world.post("/train-brand", &body("ann", &images)).await.problem(503, "unavailable");
    world.faults.media.fail(None);
    assert_eq!(files(&world, "brands/").await, 0);
    assert_eq!(balance(&world, "ann").await["held"], 0);
}
