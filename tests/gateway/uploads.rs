//! Uploads: accepted files, their stored form, and all refusals.

use axum::http::Method;
use image::{DynamicImage, GenericImageView as _, ImageFormat, Rgb, RgbImage};
use mediaforge::media::MediaKey;
use serde_json::json;

use crate::support::{
    World,
    pictures::{blocks, chunk, encoded},
    request, with, world,
};

/// The key and the content of the stored picture, read through the gateway.
async fn stored(world: &World, user: &str, id: &str) -> (String, Vec<u8>) {
    let facts = world
        .jobs
        .submission
        .uploads()
        .picture(&user.parse().unwrap(), &id.parse().unwrap())
        .await
        .unwrap()
        .expect("an upload");
    let key = serde_json::to_value(&facts).unwrap()["key"].as_str().unwrap().to_owned();
    let picture = world.get(&format!("/media/{key}")).await;
    assert_eq!(picture.status, 200, "{key}");
    (key, picture.body.to_vec())
}

#[tokio::test]
async fn an_upload_has_an_address() {
    let world = world();
    let body = json!({ "userId": "ann+x", "fileName": "../../poster.JPG", "contentType": "image/JPEG", "size": 123 });
    let answer = world.post("/uploads", &body).await;
    assert_eq!(answer.status, 201);
    let place = answer.json();
    let id = place["uploadId"].as_str().unwrap();
    let expected = json!({
        "uploadId": id, "method": "PUT", "headers": { "Content-Type": "image/jpeg" },
        "uploadUrl": format!("http://gateway.test:8080/uploads/{id}?userId=ann%2Bx"),
        "expiresAt": "2026-03-02T12:00:00Z"
    });
    assert_eq!(place, expected);
}

#[tokio::test]
async fn invalid_uploads_are_refused_before_the_file_is_sent() {
    let world = world();
    let long = "x".repeat(256);
    let body = json!({ "userId": "/", "fileName": long, "contentType": "image/gif", "size": (1 << 20) + 1 });
    let problem = world.post("/uploads", &body).await.problem(422, "invalid_fields");
    insta::assert_json_snapshot!(problem, { ".requestId" => "[id]" });
    for size in [json!(0), json!(-1), json!(null)] {
        let body = json!({ "fileName": "a", "contentType": "image/png", "size": size });
        let problem = world.post("/uploads", &body).await.problem(422, "invalid_fields");
        assert_eq!(problem["errors"][0]["pointer"], "/size");
    }
    let unknown = json!({ "fileName": "a", "contentType": "image/png", "size": 1, "path": "/etc" });
    world.post("/uploads", &unknown).await.problem(400, "malformed_request");
}

#[tokio::test]
async fn a_picture_is_encoded_again() {
    let world = world();
    for (format, extension) in [(ImageFormat::Png, ".png"), (ImageFormat::Jpeg, ".jpg"), (ImageFormat::WebP, ".png")] {
        let (id, path) = world.create_upload("ann").await;
        let answer = world.put(&path, encoded(&blocks(1, 200, 100), format)).await;
        assert_eq!(answer.json(), json!({ "uploadId": id, "width": 200, "height": 100 }));
        let (key, bytes) = stored(&world, "ann", &id).await;
        assert!(key.starts_with(&format!("uploads/ann/{id}-")) && key.ends_with(extension), "{key}");
        assert_eq!(image::load_from_memory(&bytes).unwrap().dimensions(), (200, 100));
        // The facts beside it are internal.
        world.get(&format!("/media/uploads/ann/{id}.json")).await.problem(404, "not_found");
        let of_other_user =
            world.jobs.submission.uploads().picture(&"bob".parse().unwrap(), &id.parse().unwrap()).await.unwrap();
        assert_eq!(of_other_user, None);
    }
}

#[tokio::test]
async fn only_the_same_picture_may_be_sent_again() {
    let world = world();
    let (_, path) = world.create_upload("ann").await;
    let picture = encoded(&blocks(1, 40, 30), ImageFormat::Png);
    let first = world.put(&path, picture.clone()).await;
    assert_eq!(world.put(&path, picture.clone()).await.json(), first.json());
    world.put(&path, encoded(&blocks(2, 40, 30), ImageFormat::Png)).await.problem(409, "upload_taken");
    // The same id of another user is another upload.
    let other = path.replace("ann", "bob");
    assert_eq!(world.put(&other, encoded(&blocks(2, 50, 30), ImageFormat::Png)).await.json()["width"], 50);
    world.put("/uploads/nothing", picture).await.problem(404, "not_found");
}

#[tokio::test]
async fn a_rotated_photo_is_stored_upright_without_metadata() {
    let world = world();
    // Left half black, right half white, and an EXIF orientation that requires a clockwise rotation.
    let photo = RgbImage::from_fn(120, 80, |x, _| if x < 60 { Rgb([0; 3]) } else { Rgb([255; 3]) });
    let jpeg = encoded(&DynamicImage::ImageRgb8(photo), ImageFormat::Jpeg);
    let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0".to_vec();
    exif.extend(b"secret place 52.5N 13.4E");
    let length = u16::try_from(exif.len() + 2).unwrap().to_be_bytes();
    let turned = [&jpeg[..2], &[0xff, 0xe1], &length, &exif, &jpeg[2..]].concat();
    let (id, path) = world.create_upload("ann").await;
    let answer = world.put(&path, turned).await.json();
    assert_eq!((&answer["width"], &answer["height"]), (&json!(80), &json!(120)), "{answer}");
    let (_, bytes) = stored(&world, "ann", &id).await;
    assert!(!bytes.windows(6).any(|window| window == b"secret" || &window[..4] == b"Exif"));
    let upright = image::load_from_memory(&bytes).unwrap();
    assert!(upright.get_pixel(40, 10).0[0] < 30 && upright.get_pixel(40, 110).0[0] > 225);
}

#[tokio::test]
async fn hidden_content_is_removed() {
    let world = world();
    let png = encoded(&blocks(3, 64, 48), ImageFormat::Png);
    let text = chunk(*b"tEXt", b"Comment\0<script>alert(1)</script>");
    let with_text = [&png[..33], &text, &png[33..]].concat();
    let appended = |picture: &[u8]| [picture, b"<html><script>alert(1)</script></html>PK\x03\x04"].concat();
    let jpeg = encoded(&blocks(3, 64, 48), ImageFormat::Jpeg);
    for polyglot in [with_text, appended(&png), appended(&jpeg)] {
        let (id, path) = world.create_upload("ann").await;
        assert_eq!(world.put(&path, polyglot).await.json()["width"], 64);
        let (_, bytes) = stored(&world, "ann", &id).await;
        assert!(!bytes.windows(7).any(|window| window == b"<script"));
    }
}

#[tokio::test]
async fn unusable_pictures_are_refused_with_a_reason() {
    let world = world();
    let png = encoded(&blocks(4, 300, 200), ImageFormat::Png);
    let jpeg = encoded(&blocks(4, 300, 200), ImageFormat::Jpeg);
    let webp = encoded(&blocks(4, 300, 200), ImageFormat::WebP);
    let huge = |width: u32, height: u32| {
        let head = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
        [&png[..8], &chunk(*b"IHDR", &head), &png[33..]].concat()
    };
    let animated = [&png[..33], &chunk(*b"acTL", &[0, 0, 0, 2, 0, 0, 0, 0]), &png[33..]].concat();
    let bad: [(&str, Vec<u8>, &str); 13] = [
        ("empty", Vec::new(), "not a PNG, JPEG or WebP"),
        ("html", b"<!doctype html><script>alert(1)</script>".to_vec(), "not a PNG, JPEG or WebP"),
        ("svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec(), "not a PNG, JPEG or WebP"),
        ("gif", b"GIF89a\x01\0\x01\0\0\0\0;".to_vec(), "not a PNG, JPEG or WebP"),
        ("bomb", huge(60_000, 60_000), "60000x60000"),
        ("row", huge(u32::from(u16::MAX) * 1000, 1), "limit"),
        ("head only", png[..8].to_vec(), "cannot be decoded"),
        ("half a PNG", png[..png.len() / 2].to_vec(), "cannot be decoded"),
        ("half a JPEG", jpeg[..jpeg.len() / 2].to_vec(), "cannot be decoded"),
        ("JPEG without an end", jpeg[..jpeg.len() - 2].to_vec(), "it ends early"),
        ("half a WebP", webp[..webp.len() / 2].to_vec(), "cannot be decoded"),
        ("fake WebP", b"RIFF\x10\0\0\0WEBPhello".to_vec(), "cannot be decoded"),
        ("animation", animated, "animation"),
    ];
    for (name, bytes, reason) in bad {
        let (id, path) = world.create_upload("ann").await;
        let problem = world.put(&path, bytes).await.problem(422, "unusable_picture");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(reason), "{name}: {detail}");
        assert_eq!(
            world.jobs.submission.uploads().picture(&"ann".parse().unwrap(), &id.parse().unwrap()).await.unwrap(),
            None,
            "{name}"
        );
    }
}

#[tokio::test]
async fn too_many_bytes_are_refused_whatever_the_content_length() {
    let world = world();
    let (_, path) = world.create_upload("ann").await;
    let too_many = vec![0x89; (1 << 20) + 1];
    let problem = world.put(&path, too_many.clone()).await.problem(413, "payload_too_large");
    assert_eq!(problem["detail"], "the body may have at most 1048576 bytes");
    for announced in ["5", "99999999999"] {
        let request = with(request(Method::PUT, &path), &[("content-length", announced)]);
        let body = axum::body::Body::from(too_many.clone());
        world.send(request.body(body).unwrap()).await.problem(413, "payload_too_large");
    }
}

#[tokio::test]
async fn uploads_expire() {
    let world = world();
    let id = world.upload("ann", &blocks(1, 40, 30)).await;
    let there = async || world.media.head(&facts(&id)).await.unwrap().is_some();
    world.jobs.maintenance.sweep().await.unwrap();
    assert!(there().await);
    // The files carry the time of the machine, which is long after the time of the tests.
    world.clock.advance_ms(50 * 365 * 86_400_000);
    world.jobs.maintenance.sweep().await.unwrap();
    assert!(!there().await);
}

fn facts(id: &str) -> MediaKey {
    MediaKey::upload_facts(&"ann".parse().unwrap(), &id.parse().unwrap())
}

#[tokio::test]
async fn web_pages_of_allowed_origins_may_upload() {
    let world = world();
    let headers = [("origin", "https://app.example"), ("access-control-request-method", "PUT")];
    let request = with(request(Method::OPTIONS, "/uploads/upl_00000000000000000000"), &headers);
    let preflight = world.send(request.body(axum::body::Body::empty()).unwrap()).await;
    assert!(preflight.header("access-control-allow-methods").unwrap().contains("PUT"));
}
