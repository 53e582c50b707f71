//! Pictures in a bucket: URLs that expire, and uploads that do not pass through the gateway.

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
        world_of_media,
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
    let world = world_of_media(media::open_gcs(&config).unwrap());
    world.grant("users/ann", 100).await;
    Bucket { storage, world }
}

impl Bucket {
    async fn place(&self, content_type: &str, size: usize) -> Value {
        let body = json!({ "userId": "ann", "fileName": "a", "contentType": content_type, "size": size });
        let answer = self.world.post("/uploads", &body).await;
        assert_eq!(answer.status, 201, "{}", answer.json());
        answer.json()
    }

    /// Asks for a place and puts this there, as it is told to.
    async fn sent(&self, bytes: Vec<u8>) -> String {
        self.sent_as("image/png", bytes).await
    }

    async fn sent_as(&self, content_type: &str, bytes: Vec<u8>) -> String {
        let place = self.place(content_type, bytes.len()).await;
        let request = http().put(place["uploadUrl"].as_str().unwrap());
        let headers = place["headers"].as_object().unwrap();
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(name, value.as_str().unwrap()));
        let answer = request.body(bytes).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        place["uploadId"].as_str().unwrap().to_owned()
    }

    async fn five(&self) -> Vec<String> {
        let mut ids = Vec::new();
        for seed in 0..5 {
            ids.push(self.sent(png(&blocks(seed, 160, 130))).await);
        }
        ids
    }

    async fn keys(&self, prefix: &str) -> Vec<String> {
        let mut keys: Vec<_> =
            self.world.media.list(prefix, 1000).await.unwrap().iter().map(ToString::to_string).collect();
        keys.sort();
        keys
    }

    async fn raw(&self) -> usize {
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
async fn a_place_in_the_bucket_is_offered() {
    let bucket = bucket().await;
    let place = bucket.place("image/JPEG", 1234).await;
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
async fn what_was_put_there_is_looked_at_before_it_is_used() {
    let bucket = bucket().await;
    let mut images = bucket.five().await;
    images.push(bucket.sent(b"<!doctype html><script>alert(1)</script>".to_vec()).await);
    let animated = png(&blocks(6, 160, 130));
    images.push(bucket.sent(animated[..animated.len() / 2].to_vec()).await);
    images.push(bucket.sent(png(&blocks(7, 160, 100))).await);
    images.push(bucket.place("image/png", 5).await["uploadId"].as_str().unwrap().to_owned());
    // Nobody is shown what nobody has looked at.
    let address = format!("/media/uploads/ann/{}.raw", images[5]);
    bucket.world.get(&address).await.problem(404, "not_found");
    assert_eq!(bucket.raw().await, 8);

    let examined = bucket.dry_run(&images).await;
    let verdicts = ["ok", "ok", "ok", "ok", "ok", "not_an_image", "not_an_image", "too_small", "missing"];
    assert_eq!(words(&examined, "verdict"), verdicts);
    let details = words(&examined, "detail");
    assert_eq!(details[5], "not a PNG, JPEG or WebP picture", "the words of an upload through the gateway");
    assert!(details[6].starts_with("the picture cannot be decoded"), "{}", details[6]);
    assert_eq!(bucket.raw().await, 0, "what was looked at is gone");
    assert_eq!(bucket.dry_run(&images).await, examined, "and is remembered");

    let problem = bucket.world.post("/train-brand", &training(&images)).await.problem(422, "invalid_fields");
    assert_eq!(words(&problem, "verdict"), verdicts);
    let accepted = bucket.world.post("/train-brand", &training(&images[..5])).await;
    assert_eq!(accepted.status, 202, "{}", accepted.json());
    let id = accepted.json()["brandId"].as_str().unwrap().to_owned();
    assert_eq!(bucket.keys(&format!("brands/ann/{id}/")).await.len(), 5);
}

#[tokio::test]
async fn nothing_is_kept_of_what_hides_in_a_picture() {
    let bucket = bucket().await;
    let picture = png(&blocks(1, 160, 130));
    let id = bucket.sent([&picture[..], b"<html><script>alert(1)</script></html>"].concat()).await;
    let mut images = bucket.five().await;
    images[1] = id.clone();
    assert_eq!(words(&bucket.dry_run(&images).await, "verdict"), ["ok"; 5]);
    let kept = bucket.keys("uploads/ann/").await;
    let kept: Vec<_> = kept.iter().filter(|key| key.contains(&id)).collect();
    assert_eq!(kept.len(), 2, "{kept:?}");
    let key: MediaKey = kept.iter().find(|key| key.rsplit('.').next() == Some("png")).unwrap().parse().unwrap();
    assert_eq!(bucket.world.media.head(&key).await.unwrap().unwrap().length, picture.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_may_look_at_once() {
    let bucket = bucket().await;
    let mut images = bucket.five().await;
    images[2] = bucket.sent(b"GIF89a".to_vec()).await;
    let looks = futures::future::join_all((0..6).map(|_| bucket.dry_run(&images))).await;
    for examined in &looks {
        assert_eq!(words(examined, "verdict"), ["ok", "ok", "not_an_image", "ok", "ok"]);
    }
    // Facts of five, four pictures, and the file that nobody asked for.
    assert_eq!((bucket.raw().await, bucket.keys("uploads/ann/").await.len()), (1, 10));
}

#[tokio::test]
async fn a_place_takes_one_file_whatever_way_it_comes() {
    let bucket = bucket().await;
    let (first, second) = (png(&blocks(1, 160, 130)), png(&blocks(2, 160, 130)));
    let mut images = bucket.five().await;
    let path = |id: &str| format!("/uploads/{id}?userId=ann");
    // Through the gateway while another lies in the bucket: the one that was looked at first.
    assert_eq!(bucket.world.put(&path(&images[0]), second.clone()).await.status, 200);
    images[1] = bucket.sent(b"no picture".to_vec()).await;
    assert_eq!(words(&bucket.dry_run(&images).await, "verdict")[..2], ["ok", "not_an_image"]);
    bucket.world.put(&path(&images[0]), first.clone()).await.problem(409, "upload_taken");
    bucket.world.put(&path(&images[1]), first).await.problem(409, "upload_taken");
    assert_eq!(bucket.world.put(&path(&images[0]), second).await.status, 200);
}

#[tokio::test]
async fn lost_answers_change_nothing() {
    let bucket = bucket().await;
    let images = bucket.five().await;
    for (method, times) in [("/o", 3), (".raw", 1), ("-0.png", 1)] {
        bucket.storage.faults().inject(method, Fault::LoseReply(Code::Unavailable), times);
    }
    let accepted = bucket.world.post("/train-brand", &training(&images)).await;
    assert_eq!(accepted.status, 202, "{}", accepted.json());
    assert_eq!(bucket.storage.faults().pending(), 0);
    let id = accepted.json()["brandId"].as_str().unwrap().to_owned();
    assert_eq!((bucket.keys(&format!("brands/ann/{id}/")).await.len(), bucket.raw().await), (5, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_in_the_bucket_is_unpacked_once() {
    let bucket = bucket().await;
    let items: Vec<_> =
        (0..5).map(|seed| Item::deflated(&format!("set/{seed}.png"), &png(&blocks(seed, 160, 130)))).collect();
    let id = bucket.sent_as("application/zip", archive(&items)).await;
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

    // One that is refused is remembered too, and its reason is the answer.
    let ids = [bucket.sent_as("application/zip", archive(&[items[0].clone(), items[0].clone()])).await];
    for path in ["/train-brand?dryRun=true", "/train-brand", "/train-brand"] {
        let problem = bucket.world.post(path, &training(&ids)).await.problem(422, "invalid_fields");
        assert_eq!(problem["errors"][0]["pointer"], "/trainingImages/0");
        assert!(problem["detail"].as_str().unwrap().contains("set/0.png in the archive is there twice"), "{problem}");
    }
    assert!(bucket.keys("uploads/ann/").await.iter().all(|key| key.rsplit('.').next() != Some("zip")));
}

#[tokio::test]
async fn what_nobody_uses_expires() {
    let bucket = bucket().await;
    bucket.sent(b"raw".to_vec()).await;
    bucket.world.jobs.maintenance.sweep().await.unwrap();
    assert_eq!(bucket.raw().await, 1);
    // The objects bear the time of the machine, which is long after that of the tests.
    bucket.world.clock.advance_ms(50 * 365 * 86_400_000);
    bucket.world.jobs.maintenance.sweep().await.unwrap();
    assert_eq!(bucket.keys("uploads/").await, [] as [String; 0]);
}

#[tokio::test]
async fn a_job_says_when_its_urls_expire_and_has_new_ones_when_it_is_read_again() {
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
    assert_eq!(listed["data"][0], first, "the list says the same");
    let mut events = world.events(&format!("/illustrations/{id}/events?userId=ann"), &[]).await;
    assert!(events.frame().await.unwrap().starts_with("retry"));
    assert_eq!(events.event().await.data, first, "and so do events");

    world.clock.advance_ms(8 * 60_000);
    let second = world.get(&path).await.json();
    assert_eq!(second["urlExpiresAt"], "2026-03-01T12:23:00Z");
    assert_eq!(second["version"], first["version"]);

    // The gateway does not stand in for the bucket: its addresses would not expire.
    let key = first["imageUrl"].as_str().unwrap().split_once("/illustrations/").unwrap().1.split('?').next().unwrap();
    world.get(&format!("/media/illustrations/{key}")).await.problem(404, "not_found");
}

#[tokio::test]
async fn a_brand_and_its_style_say_when_their_urls_expire() {
    let bucket = bucket().await;
    let world = &bucket.world;
    let accepted = world.post("/train-brand", &training(&bucket.five().await)).await.json();
    let id = accepted["brandId"].as_str().unwrap();
    world.start(id).await;
    world.ready(id, "ann").await;
    let brand = world.get(&format!("/brands/{id}?userId=ann")).await.json();
    assert_eq!(brand["urlExpiresAt"], "2026-03-01T12:15:00Z", "{brand}");
    let styles = world.get("/styles?userId=ann").await.json();
    let styles = styles["data"].as_array().unwrap();
    let style = styles.iter().find(|style| style["brandId"] == id).unwrap();
    assert_eq!((&style["urlExpiresAt"], &style["sampleUrl"]), (&brand["urlExpiresAt"], &brand["sampleUrls"][0]));
    assert_eq!(styles[0].get("urlExpiresAt"), None);
}
