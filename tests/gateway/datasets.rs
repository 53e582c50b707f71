//! Zip archives as datasets: their content, and all reasons to refuse them.

use axum::{body::Body, http::Method};
use image::ImageFormat;
use serde_json::{Value, json};

use crate::{
    archives::{Item, archive},
    support::{
        Response, World,
        pictures::{blocks, chunk, encoded},
        request, with, world,
    },
};

fn png(seed: u64) -> Vec<u8> {
    encoded(&blocks(seed, 160, 130), ImageFormat::Png)
}

/// A valid archive of pictures, starting with this seed.
fn valid_archive(first: u64, count: u64) -> Vec<u8> {
    let item = |seed| Item::deflated(&format!("set/{seed:03}.png"), &png(seed));
    archive(&(first..first + count).map(item).collect::<Vec<_>>())
}

async fn create_upload(world: &World, size: usize) -> String {
    let body = json!({ "userId": "ann", "fileName": "a.zip", "contentType": "application/zip", "size": size });
    let answer = world.post("/uploads", &body).await;
    assert_eq!(answer.status, 201, "{}", answer.json());
    let place = answer.json();
    assert_eq!(place["headers"], json!({ "Content-Type": "application/zip" }));
    place["uploadId"].as_str().unwrap().to_owned()
}

async fn put(world: &World, id: &str, bytes: Vec<u8>) -> Response {
    let request =
        with(request(Method::PUT, &format!("/uploads/{id}?userId=ann")), &[("content-type", "application/zip")]);
    world.send(request.body(Body::from(bytes)).unwrap()).await
}

async fn upload(world: &World, bytes: Vec<u8>) -> String {
    let id = create_upload(world, bytes.len()).await;
    let answer = put(world, &id, bytes).await;
    assert_eq!(answer.status, 200, "{}", answer.json());
    id
}

fn training(images: &[&str]) -> Value {
    json!({ "userId": "ann", "brandName": "Acme", "trainingImages": images })
}

async fn dry_run(world: &World, images: &[&str]) -> Value {
    let answer = world.post("/train-brand?dryRun=true", &training(images)).await;
    assert_eq!(answer.status, 200, "{}", answer.json());
    answer.json()
}

fn field<'a>(answer: &'a Value, field: &str) -> Vec<&'a Value> {
    answer["verdicts"].as_array().unwrap().iter().map(|verdict| &verdict[field]).collect()
}

#[tokio::test]
async fn an_archive_counts_as_its_pictures() {
    let world = world();
    world.grant("users/ann", 30).await;
    let items = [
        Item::stored("set/", []).mode(0o040_755),
        Item::deflated("set/c.png", &png(2)),
        Item::stored("set/a.png", png(0)),
        Item::deflated("set/b.jpg", &encoded(&blocks(1, 200, 180), ImageFormat::Jpeg)),
        Item::stored("set/a.txt", "a lighthouse"),
        Item::stored("__MACOSX/set/._a.png", "resource fork"),
        Item::stored("set/.DS_Store", "finder"),
    ];
    let id = create_upload(&world, 1000).await;
    let answer = put(&world, &id, archive(&items)).await;
    assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({ "uploadId": id, "pictures": 3 })));
    // The same file may be sent again; a different file may not.
    assert_eq!(put(&world, &id, archive(&items)).await.json(), answer.json());
    put(&world, &id, valid_archive(0, 5)).await.problem(409, "upload_taken");
    world.put(&format!("/uploads/{id}?userId=ann"), png(0)).await.problem(409, "upload_taken");

    // Three pictures are too few; two more single pictures make them enough.
    let problem = world.post("/train-brand?dryRun=true", &training(&[&id])).await.problem(422, "invalid_fields");
    assert_eq!(problem["errors"][0]["pointer"], "/trainingImages");
    assert_eq!(problem["errors"][0]["detail"], "must list the uploadIds of 5 to 50 pictures; there are 3");
    let singles = [world.upload("ann", &blocks(3, 160, 130)).await, world.upload("ann", &blocks(4, 160, 130)).await];
    let images = [&singles[0], &id, &singles[1]].map(String::as_str);
    let answer = dry_run(&world, &images).await;
    assert_eq!(answer["accepted"], true);
    assert_eq!(field(&answer, "verdict"), vec!["ok"; 5]);
    assert_eq!(
        answer["verdicts"][1],
        json!({
            "uploadId": id, "entry": "set/a.png", "verdict": "ok", "detail": "fit for training"
        })
    );
    assert_eq!(
        field(&answer, "entry")[1..],
        [&json!("set/a.png"), &json!("set/b.jpg"), &json!("set/c.png"), &Value::Null]
    );

    let accepted = world.post("/train-brand", &training(&images)).await;
    assert_eq!(accepted.status, 202, "{}", accepted.json());
    let brand = accepted.json()["brandId"].as_str().unwrap().to_owned();
    assert_eq!(world.get(&format!("/brands/{brand}?userId=ann")).await.json()["imageCount"], 5);
    assert_eq!(world.media.list(&format!("brands/ann/{brand}/"), 100).await.unwrap().len(), 5);
    // Another user cannot use them.
    let mut theirs = training(&images);
    theirs["userId"] = json!("bob");
    let answer = world.post("/train-brand?dryRun=true", &theirs).await.json();
    assert_eq!(field(&answer, "verdict"), vec!["missing"; 3]);
}

#[tokio::test]
async fn each_picture_of_an_archive_is_checked() {
    let world = world();
    let whole = png(6);
    let animated = [&whole[..33], &chunk(*b"acTL", &[0, 0, 0, 2, 0, 0, 0, 0]), &whole[33..]].concat();
    let mut items: Vec<_> = (0..5).map(|seed| Item::deflated(&format!("a{seed}.png"), &png(seed))).collect();
    items.extend([
        Item::stored("b-sum.png", whole.clone()).corrupt(),
        Item::stored("c-animated.png", animated),
        Item::stored("d-vector.svg", "<svg xmlns='http://www.w3.org/2000/svg'/>"),
        Item::stored("e-small.png", encoded(&blocks(7, 160, 100), ImageFormat::Png)),
        Item::deflated("f-twin.png", &encoded(&blocks(0, 320, 260), ImageFormat::Png)),
        Item::stored("g-caption.png", png(8)),
        Item::stored("g-caption.txt", b"caf\xe9"),
        Item::stored("h-long.png", png(9)),
        Item::stored("h-long.txt", "x".repeat(1001)),
        Item::stored("i-half.png", whole[..whole.len() / 2].to_vec()),
        Item::stored("j-heavy.png", vec![7; (1 << 20) + 1]),
        Item::stored("k-notes.md", "# notes"),
    ]);
    let id = upload(&world, archive(&items)).await;
    let answer = dry_run(&world, &[&id]).await;
    assert_eq!(answer["accepted"], false);
    let expected = [
        "ok",
        "ok",
        "ok",
        "ok",
        "ok",
        "not_an_image",
        "not_an_image",
        "not_an_image",
        "too_small",
        "near_duplicate",
        "bad_caption",
        "bad_caption",
        "not_an_image",
        "not_an_image",
        "not_an_image",
    ];
    assert_eq!(field(&answer, "verdict"), expected, "{answer}");
    let detail = |n: usize| answer["verdicts"][n]["detail"].as_str().unwrap();
    for (n, part) in [
        (5, "damaged here"),
        (6, "animation"),
        (7, "not a PNG, JPEG or WebP"),
        (9, "looks like image 0"),
        (10, "UTF-8"),
        (11, "1000 characters"),
        (12, "cannot be decoded"),
        (13, "1048577 bytes"),
        (14, "not a PNG"),
    ] {
        assert!(detail(n).contains(part), "{n}: {}", detail(n));
    }
    let problem = world.post("/train-brand", &training(&[&id])).await.problem(422, "invalid_fields");
    assert_eq!(problem["verdicts"], answer["verdicts"]);
    assert_eq!(problem["errors"][3]["pointer"], "/trainingImages/0");
    assert!(problem["errors"][3]["detail"].as_str().unwrap().starts_with("e-small.png: its short side has 100 px"));
}

#[tokio::test]
async fn malicious_archives_are_refused_with_one_reason() {
    let world = world();
    let good = || Item::deflated("a.png", &png(0));
    let with_good = |item: Item| archive(&[good(), item]);
    let whole = valid_archive(0, 5);
    let zeros = vec![0; 900_000];
    let lying = archive(&[good(), Item::deflated("b.png", &zeros).claiming(5000)]);
    let modest = archive(&[Item::deflated("b.png", &png(1)).claiming(100_000), good()]);
    let bomb: Vec<_> = (0..9).map(|n| Item::deflated(&format!("{n}.png"), &zeros)).collect();
    let many: Vec<_> = (0..10_000).map(|n| Item::stored(&format!("{n}.png"), [])).collect();
    let pictures: Vec<_> = (0..51).map(|n| Item::stored(&format!("{n}.png"), "x")).collect();
    let comment =
        |length: usize| (0..40).map(|n| Item::stored(&format!(".{n}{}", "x".repeat(length)), [])).collect::<Vec<_>>();
    let mut uncounted = whole.clone();
    let at = uncounted.len() - 22;
    uncounted[at + 8..at + 12].copy_from_slice(&[0xff; 4]);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("no zip", png(0), "not a zip archive"),
        ("empty", Vec::new(), "not a zip archive"),
        ("another archive", b"Rar!\x1a\x07\x01\0".to_vec(), "not a zip archive"),
        ("a picture with an archive behind it", [&png(0)[..], &whole].concat(), "not a zip archive"),
        ("a page with an archive behind it", [b"<script>alert(1)</script>", &whole[..]].concat(), "not a zip archive"),
        (
            "an archive with an archive before it",
            [&archive(&[good()])[..], &whole].concat(),
            "not where its end record says",
        ),
        ("half an archive", whole[..whole.len() / 2].to_vec(), "cannot be read"),
        ("without its last bytes", whole[..whole.len() - 10].to_vec(), "cannot be read"),
        ("more entries than there are", uncounted, "the archive"),
        ("nothing in it", archive(&[]), "no pictures"),
        ("only clutter", archive(&[Item::stored("__MACOSX/._a.png", "x"), Item::stored("a.txt", "x")]), "no pictures"),
        ("only long clutter", archive(&comment(300)), "more than 255 characters"),
        ("a bomb", archive(&bomb), "more than 100 times its size"),
        ("a bomb in its words", with_good(Item::stored("b.png", "x").claiming(u32::MAX)), "more than 500000000 bytes"),
        ("more than it says", lying, "b.png in the archive does not have the size"),
        ("less than it says", modest, "b.png in the archive does not have the size"),
        ("10,000 entries", archive(&many), "more than 1000 files"),
        ("51 pictures", archive(&pictures), "contains 51 pictures; at most 50"),
        ("upwards", with_good(Item::stored("../../etc/passwd", "x")), "not a plain path"),
        ("absolute", with_good(Item::stored("/etc/passwd", "x")), "not a plain path"),
        ("absolute on Windows", with_good(Item::stored("C:\\x.png", "x")), "not a plain path"),
        ("a link", with_good(Item::stored("b.png", "/etc/passwd").mode(0o120_777)), "is a link"),
        ("a device", with_good(Item::stored("b.png", []).mode(0o020_644)), "is a link or another special file"),
        ("encrypted", with_good(Item::stored("b.png", png(1)).encrypted()), "b.png in the archive is encrypted"),
        ("another method", with_good(Item::stored("b.png", png(1)).method(12)), "a method other than deflate"),
        ("the same name", with_good(Item::stored("a.png", png(1))), "occurs twice"),
        ("nearly the same name", with_good(Item::stored("A.PNG", png(1))), "occurs twice"),
        (
            "an archive by name",
            with_good(Item::stored("more.zip", "x")),
            "more.zip in the archive is an archive itself",
        ),
        ("an archive by content", with_good(Item::stored("b.png", whole.clone())), "is an archive itself"),
        ("too deep", with_good(Item::stored("a/b/c.png", png(1))), "more than one folder deep"),
    ];
    let mut wrong = Vec::new();
    for (what, bytes, reason) in cases {
        let id = create_upload(&world, 1000).await;
        let answer = put(&world, &id, bytes).await;
        let problem = answer.json();
        let is_right = problem["code"] == "unusable_archive" && problem["detail"].as_str().unwrap().contains(reason);
        if answer.status != 422 || !is_right {
            wrong.push(format!("{what}: {} {problem}", answer.status));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn archives_have_their_own_size_limit() {
    let world = world();
    let body = json!({ "userId": "ann", "fileName": "a", "contentType": "application/zip", "size": (4 << 20) + 1 });
    let problem = world.post("/uploads", &body).await.problem(422, "invalid_fields");
    assert_eq!(problem["errors"][0]["detail"], "must be a whole number of bytes from 1 to 4194304");
    let id = create_upload(&world, 1000).await;
    put(&world, &id, vec![b'P'; (4 << 20) + 1]).await.problem(413, "payload_too_large");
    // Larger than the limit for a picture.
    let mut items = vec![Item::stored(".pad", vec![7; 2 << 20])];
    items.extend((0..5).map(|seed| Item::stored(&format!("{seed}.png"), png(seed))));
    assert_eq!(put(&world, &id, archive(&items)).await.json()["pictures"], 5);
}

#[tokio::test]
async fn an_interrupted_archive_is_resumed_and_expires_completely() {
    let world = world();
    let (id, bytes) = (create_upload(&world, 1000).await, valid_archive(0, 5));
    // Its facts are lost, so nothing shows that it was stored.
    assert_eq!(put(&world, &id, bytes.clone()).await.status, 200);
    let facts = format!("uploads/ann/{id}.json").parse().unwrap();
    world.media.delete(&facts).await.unwrap();
    let before = world.media.list("uploads/ann/", 100).await.unwrap().len();
    assert_eq!(put(&world, &id, bytes).await.status, 200);
    assert_eq!(world.media.list("uploads/ann/", 100).await.unwrap().len(), before + 1, "the same pictures, once");
    assert_eq!(field(&dry_run(&world, &[&id]).await, "verdict"), vec!["ok"; 5]);
    world.clock.advance_ms(50 * 365 * 86_400_000);
    world.jobs.maintenance.sweep().await.unwrap();
    assert_eq!(world.media.list("uploads/", 100).await.unwrap(), []);
    assert_eq!(field(&dry_run(&world, &[&id]).await, "verdict"), ["missing"]);
}
