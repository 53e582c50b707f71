//! Pictures in a bucket: URLs that expire, and uploads that bypass the gateway.

use std::time::Duration;

use gcloud_emulator::{Fault, Storage};
use image::{DynamicImage, ImageFormat};
use mediaforge::{
    config::{GcsConfig, GcsUrls, Secret, SecretRef},
    error::ErrorKind,
    media::{self, MediaKey},
};
use serde_json::{Value, json};
use tonic::Code;

use crate::{
    archives::{Item, archive},
    support::{
        World,
        pictures::{blocks, encoded},
        world_with_media,
    },
};

struct Bucket {
    storage: Storage,
    world: World,
}

async fn bucket() -> Bucket {
    let storage = Storage::start().await.unwrap_or_else(|error| panic!("{error}"));
    let config = GcsConfig {
        bucket: Some(storage.create_bucket().await.unwrap()),
        urls: GcsUrls::Signed,
        url_expires: Duration::from_mins(15),
        signing_key: SecretRef::from(Secret::new(storage.signing_key())),
        endpoint: Some(storage.url().parse().unwrap()),
    };
    let world = world_with_media(media::open_gcs(&config).unwrap());
    world.grant("users/ann", 100).await;
    Bucket { storage, world }
}

impl Bucket {
    async fn create_upload(&self, content_type: &str, size: usize) -> Value {
        let body = json!({ "userId": "ann", "fileName": "a", "contentType": content_type, "size": size });
        let answer = self.world.post("/uploads", &body).await;
        assert_eq!(answer.status, 201, "{}", answer.json());
        answer.json()
    }

    /// Creates an upload and sends the file to the bucket as described.
    async fn send(&self, bytes: Vec<u8>) -> String {
        self.send_as("image/png", bytes).await
    }

    async fn send_as(&self, content_type: &str, bytes: Vec<u8>) -> String {
        let place = self.create_upload(content_type, bytes.len()).await;
        let request = http().put(place["uploadUrl"].as_str().unwrap());
        let headers = place["headers"].as_object().unwrap();
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(name, value.as_str().unwrap()));
        let answer = request.body(bytes).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        place["uploadId"].as_str().unwrap().to_owned()
    }

    async fn upload_five(&self) -> Vec<String> {
        let mut ids = Vec::new();
        for seed in 0..5 {
            ids.push(self.send(png(&blocks(seed, 160, 130))).await);
        }
        ids
    }

    async fn keys(&self, prefix: &str) -> Vec<String> {
        let mut keys: Vec<_> =
            self.world.media.list(prefix, 1000).await.unwrap().iter().map(ToString::to_string).collect();
        keys.sort();
        keys
    }

    async fn unprocessed(&self) -> usize {
        self.keys("uploads/").await.iter().filter(|key| key.rsplit('.').next() == Some("raw")).count()
    }

    async fn dry_run(&self, images: &[String]) -> Value {
        let answer = self.world.post("/train-brand?dryRun=true", &training(images)).await;
        assert_eq!(answer.status, 200, "{}", answer.json());
        answer.json()
    }
}

fn http() -> reqwest::Client {
    mediaforge::http::client().unwrap()
}

fn png(image: &DynamicImage) -> Vec<u8> {
    encoded(image, ImageFormat::Png)
}

fn training(images: &[String]) -> Value {
    json!({ "userId": "ann", "brandName": "Acme", "trainingImages": images })
}

fn words<'a>(answer: &'a Value, field: &str) -> Vec<&'a str> {
    answer["verdicts"].as_array().unwrap().iter().map(|verdict| verdict[field].as_str().unwrap()).collect()
}

#[tokio::test]
async fn an_upload_url_points_to_the_bucket() {
    let bucket = bucket().await;
    let place = bucket.create_upload("image/JPEG", 1234).await;
    let id = place["uploadId"].as_str().unwrap();
    let url = place["uploadUrl"].as_str().unwrap();
    assert!(url.starts_with(&bucket.storage.url()) && url.contains(&format!("/uploads/ann/{id}.raw?")), "{url}");
    let headers = json!({
        "content-type": "image/jpeg", "x-goog-content-length-range": "0,1234", "x-goog-if-generation-match": "0"
    });
    assert_eq!(place["headers"], headers);
    assert_eq!((&place["method"], &place["expiresAt"]), (&json!("PUT"), &json!("2026-03-01T12:15:00Z")));

    bucket.world.faults.media.fail(Some(ErrorKind::Unavailable));
    let body = json!({ "userId": "ann", "fileName": "a", "contentType": "image/png", "size": 1 });
    bucket.world.post("/uploads", &body).await.problem(503, "unavailable");
}

#[tokio::test]
async fn uploads_in_the_bucket_are_checked_before_use() {
    let bucket = bucket().await;
    let mut images = bucket.upload_five().await;
    images.push(bucket.send(b"<!doctype html><script>alert(1)</script>".to_vec()).await);
    let animated = png(&blocks(6, 160, 130));
    images.push(bucket.send(animated[..animated.len() / 2].to_vec()).await);
    images.push(bucket.send(png(&blocks(7, 160, 100))).await);
    images.push(bucket.create_upload("image/png", 5).await["uploadId"].as_str().unwrap().to_owned());
    // An unchecked file is not served.
    let address = format!("/media/uploads/ann/{}.raw", images[5]);
    bucket.world.get(&address).await.problem(404, "not_found");
    assert_eq!(bucket.unprocessed().await, 8);

    let examined = bucket.dry_run(&images).await;
    let verdicts = ["ok", "ok", "ok", "ok", "ok", "not_an_image", "not_an_image", "too_small", "missing"];
    assert_eq!(words(&examined, "verdict"), verdicts);
    let details = words(&examined, "detail");
    assert_eq!(details[5], "not a PNG, JPEG or WebP picture", "the same text as for an upload through the gateway");
    assert!(details[6].starts_with("the picture cannot be decoded"), "{}", details[6]);
    assert_eq!(bucket.unprocessed().await, 0, "checked files are removed");
    assert_eq!(bucket.dry_run(&images).await, examined, "and the result is remembered");

    let problem = bucket.world.post("/train-brand", &training(&images)).await.problem(422, "invalid_fields");
    assert_eq!(words(&problem, "verdict"), verdicts);
    let accepted = bucket.world.post("/train-brand", &training(&images[..5])).await;
    assert_eq!(accepted.status, 202, "{}", accepted.json());
    let id = accepted.json()["brandId"].as_str().unwrap().to_owned();
    assert_eq!(bucket.keys(&format!("brands/ann/{id}/")).await.len(), 5);
}

#[tokio::test]
async fn hidden_content_of_a_picture_is_removed() {
    let bucket = bucket().await;
    let picture = png(&blocks(1, 160, 130));
    let id = bucket.send([&picture[..], b"<html><script>alert(1)</script></html>"].concat()).await;
    let mut images = bucket.upload_five().await;
    images[1] = id.clone();
    assert_eq!(words(&bucket.dry_run(&images).await, "verdict"), ["ok"; 5]);
    let kept = bucket.keys("uploads/ann/").await;
    let kept: Vec<_> = kept.iter().filter(|key| key.contains(&id)).collect();
    assert_eq!(kept.len(), 2, "{kept:?}");
    let key: MediaKey = kept.iter().find(|key| key.rsplit('.').next() == Some("png")).unwrap().parse().unwrap();
    assert_eq!(bucket.world.media.head(&key).await.unwrap().unwrap().length, picture.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_checks_agree() {
    let bucket = bucket().await;
    let mut images = bucket.upload_five().await;
    images[2] = bucket.send(b"GIF89a".to_vec()).await;
    let looks = futures::future::join_all((0..6).map(|_| bucket.dry_run(&images))).await;
    for examined in &looks {
        assert_eq!(words(examined, "verdict"), ["ok", "ok", "not_an_image", "ok", "ok"]);
    }
    // The facts of five uploads, four pictures, and the upload that no request has named.
    assert_eq!((bucket.unprocessed().await, bucket.keys("uploads/ann/").await.len()), (1, 10));
}

#[tokio::test]
async fn an_upload_accepts_one_file_by_either_route() {
    let bucket = bucket().await;
    let (first, second) = (png(&blocks(1, 160, 130)), png(&blocks(2, 160, 130)));
    let mut images = bucket.upload_five().await;
    let path = |id: &str| format!("/uploads/{id}?userId=ann");
    // Through the gateway while another file is in the bucket: the file that was checked first counts.
    assert_eq!(bucket.world.put(&path(&images[0]), second.clone()).await.status, 200);
    images[1] = bucket.send(b"no picture".to_vec()).await;
    assert_eq!(words(&bucket.dry_run(&images).await, "verdict")[..2], ["ok", "not_an_image"]);
    bucket.world.put(&path(&images[0]), first.clone()).await.problem(409, "upload_taken");
    bucket.world.put(&path(&images[1]), first).await.problem(409, "upload_taken");
    assert_eq!(bucket.world.put(&path(&images[0]), second).await.status, 200);
}

#[tokio::test]
async fn lost_replies_change_nothing() {
    let bucket = bucket().await;
    let images = bucket.upload_five().await;
    for (method, times) in [("/o", 3), (".raw", 1), ("-0.png", 1)] {
        bucket.storage.faults().inject(method, Fault::LoseReply(Code::Unavailable), times);
    }
    let accepted = bucket.world.post("/train-brand", &training(&images)).await;
    assert_eq!(accepted.status, 202, "{}", accepted.json());
    assert_eq!(bucket.storage.faults().pending(), 0);
    let id = accepted.json()["brandId"].as_str().unwrap().to_owned();
    assert_eq!((bucket.keys(&format!("brands/ann/{id}/")).await.len(), bucket.unprocessed().await), (5, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_in_the_bucket_is_unpacked_once() {
    let bucket = bucket().await;
    let items: Vec<_> =
        (0..5).map(|seed| Item::deflated(&format!("set/{seed}.png"), &png(&blocks(seed, 160, 130)))).collect();
    let id = bucket.send_as("application/zip", archive(&items)).await;
    let raw = format!("uploads/ann/{id}.zip");
    assert_eq!(bucket.keys("uploads/ann/").await, std::slice::from_ref(&raw));
    let ids = [id];
    let looks = futures::future::join_all((0..3).map(|_| bucket.dry_run(&ids))).await;
    for examined in &looks {
        assert_eq!(words(examined, "verdict"), ["ok"; 5]);
        assert_eq!(words(examined, "entry"), ["set/0.png", "set/1.png", "set/2.png", "set/3.png", "set/4.png"]);
    }
    let keys = bucket.keys("uploads/ann/").await;
    assert!(!keys.contains(&raw) && keys.len() == 11, "facts of all, and five pictures: {keys:?}");
    let accepted = bucket.world.post("/train-brand", &training(&ids)).await;
    assert_eq!(accepted.status, 202, "{}", accepted.json());
    assert_eq!(bucket.keys("uploads/ann/").await, keys, "nothing was unpacked again");

    // A refusal is remembered too, with its reason.
    let ids = [bucket.send_as("application/zip", archive(&[items[0].clone(), items[0].clone()])).await];
    for path in ["/train-brand?dryRun=true", "/train-brand", "/train-brand"] {
        let problem = bucket.world.post(path, &training(&ids)).await.problem(422, "invalid_fields");
        assert_eq!(problem["errors"][0]["pointer"], "/trainingImages/0");
        assert!(problem["detail"].as_str().unwrap().contains("set/0.png in the archive occurs twice"), "{problem}");
    }
    assert!(bucket.keys("uploads/ann/").await.iter().all(|key| key.rsplit('.').next() != Some("zip")));
}

#[tokio::test]
async fn unused_uploads_expire() {
    let bucket = bucket().await;
    bucket.send(b"raw".to_vec()).await;
    bucket.world.jobs.maintenance.sweep().await.unwrap();
    assert_eq!(bucket.unprocessed().await, 1);
    // The objects carry the time of the machine, which is long after the time of the tests.
    bucket.world.clock.advance_ms(50 * 365 * 86_400_000);
    bucket.world.jobs.maintenance.sweep().await.unwrap();
    assert_eq!(bucket.keys("uploads/").await, [] as [String; 0]);
}

#[tokio::test]
async fn a_job_shows_when_its_urls_expire_and_renews_them_when_read_again() {
    let bucket = bucket().await;
    let world = &bucket.world;
    let id = world.queued("ann").await;
    let path = format!("/illustrations/{id}?userId=ann");
    assert_eq!(world.get(&path).await.json().get("urlExpiresAt"), None, "there are no URLs yet");
    world.start(&id).await;
    world.complete(&id).await;
    let first = world.get(&path).await.json();
    assert_eq!(first["urlExpiresAt"], "2026-03-01T12:15:00Z");
    for (field, content) in [("imageUrl", "0123456789abcdefghij"), ("thumbnailUrl", "thumb")] {
        let answer = http().get(first[field].as_str().unwrap()).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (200, content));
    }
    assert_eq!(first["imageUrls"], json!([first["imageUrl"]]));

    let listed = world.get("/illustrations?userId=ann").await.json();
    assert_eq!(listed["data"][0], first, "the list shows the same");
    let mut events = world.events(&format!("/illustrations/{id}/events?userId=ann"), &[]).await;
    assert!(events.frame().await.unwrap().starts_with("retry"));
    assert_eq!(events.event().await.data, first, "and so do the events");

    world.clock.advance_ms(8 * 60_000);
    let second = world.get(&path).await.json();
    assert_eq!(second["urlExpiresAt"], "2026-03-01T12:23:00Z");
    assert_eq!(second["version"], first["version"]);

    // The gateway does not serve pictures of the bucket, because its own addresses would not expire.
    let key = first["imageUrl"].as_str().unwrap().split_once("/illustrations/").unwrap().1.split('?').next().unwrap();
    world.get(&format!("/media/illustrations/{key}")).await.problem(404, "not_found");
}

#[tokio::test]
async fn a_brand_and_its_style_show_when_their_urls_expire() {
    let bucket = bucket().await;
    let world = &bucket.world;
    let accepted = world.post("/train-brand", &training(&bucket.upload_five().await)).await.json();
    let id = accepted["brandId"].as_str().unwrap();
    world.start(id).await;
    world.complete_brand(id, "ann").await;
    let brand = world.get(&format!("/brands/{id}?userId=ann")).await.json();
    assert_eq!(brand["urlExpiresAt"], "2026-03-01T12:15:00Z", "{brand}");
    let styles = world.get("/styles?userId=ann").await.json();
    let styles = styles["data"].as_array().unwrap();
    let style = styles.iter().find(|style| style["brandId"] == id).unwrap();
    assert_eq!((&style["urlExpiresAt"], &style["sampleUrl"]), (&brand["urlExpiresAt"], &brand["sampleUrls"][0]));
    assert_eq!(styles[0].get("urlExpiresAt"), None);
}
