//! `mediaforge train` and `generate --style`.

use std::{
    path::{Path, PathBuf},
    process::Output,
    sync::Arc,
};

use image::{Rgb, RgbImage};

use crate::archives::{Item, archive};
use crate::support::{System, Topology, books, command};

/// A training that takes long enough for its progress to be seen.
const SHORT: (&str, &str) = ("MEDIAFORGE_TRAINER__MOCK__DURATION", "3s");
const ORANGE: Rgb<u8> = Rgb([0xff, 0x66, 0x00]);

pub use crate::output::{json, stderr, stdout};

/// Runs the binary with these variables, arguments and files.
pub async fn run(data_dir: &Path, environment: &[(&str, &str)], arguments: &[&str], files: &[PathBuf]) -> Output {
    let mut command = command(data_dir);
    command.envs(environment.iter().copied()).args(arguments).args(files);
    crate::output::run(&mut command).await
}

/// Pictures with different fingerprints: mosaics in orange, blue and shades in between.
pub fn pictures(dir: &Path, side: u32) -> Vec<PathBuf> {
    let picture = |n: u32| {
        let path = dir.join(format!("picture-{n}.png"));
        let pixel = |x: u32, y: u32| {
            let (column, row) = (x * 10 / side, y * 10 / side);
            let mixed = (n * 100 + row * 10 + column + 1).wrapping_mul(2_654_435_761);
            match mixed >> 30 {
                0 => ORANGE,
                1 => Rgb([0x00, 0x33, 0x66]),
                2 => Rgb([0xcc, 0x88, 0x44]),
                _ => Rgb([0x33, 0x66, 0x99]),
            }
        };
        RgbImage::from_fn(side, side, pixel).save(&path).expect("a picture");
        path
    };
    (0..5).map(picture).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_brand_is_trained_shown_and_drawn_in() {
    train_a_brand_and_draw_in_it(System::start(Topology::OneProcess, &[SHORT]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_brand_is_trained_shown_and_drawn_in_on_google_cloud() {
    let system = System::start(Topology::GoogleCloud, &[SHORT]).await;
    let storage = Arc::clone(&system.cloud().storage);
    train_a_brand_and_draw_in_it(system).await;
    let uploads: Vec<_> =
        storage.requests().into_iter().filter(|request| request.method == reqwest::Method::PUT).collect();
    assert_eq!(uploads.len(), 10, "five uploads for the dry run and five for the training");
    assert!(
        uploads.iter().all(|put| !put.headers.contains_key("authorization")),
        "uploads to the bucket carry no token"
    );
}

async fn train_a_brand_and_draw_in_it(system: System) {
    let dir = tempfile::tempdir().expect("a directory");
    let files = pictures(dir.path(), 600);
    let (data, url) = (system.data_dir(), system.gateway.clone());
    let (ada, eve) = (system.token("ada"), system.token("eve"));
    let (ada, eve) = ([("MEDIAFORGE_TOKEN", ada.as_str())], [("MEDIAFORGE_TOKEN", eve.as_str())]);
    let before = system.credits("ada").await;

    // A dry run shows the verdicts and the price.
    let dry = run(&data, &ada, &["train", "Acme", "--dry-run", "--user", "ada", "--url", &url], &files).await;
    assert!(dry.status.success(), "{}", stderr(&dry));
    let table = stdout(&dry);
    assert_eq!(table.lines().filter(|line| line.starts_with("ok ")).count(), 5, "{table}");
    assert!(table.contains("25 credits"), "{table}");
    assert_eq!(system.credits("ada").await, before, "a dry run changes nothing");

    let samples = dir.path().join("samples");
    let out = samples.to_str().expect("text");
    let arguments =
        ["train", "Acme", "--color", "#FF6600", "--user", "ada", "--url", &url, "--idempotency-key", "k1", "-o", out];
    let trained = run(&data, &ada, &arguments, &files).await;
    assert!(trained.status.success(), "{}", stderr(&trained));
    let shown = stdout(&trained);
    assert!(shown.contains("#ff6600") && shown.contains("--style Acme"), "{shown}");
    let saved: Vec<_> = std::fs::read_dir(&samples).expect("samples").collect();
    assert_eq!(saved.len(), 3, "{shown}");
    assert!(stderr(&trained).contains("training"), "progress is shown: {}", stderr(&trained));

    // Repeating the command finds the same brand, without uploads and without paying again.
    let again = run(&data, &ada, &[&arguments[..], &["--json"]].concat(), &files).await;
    assert!(again.status.success(), "{}", stderr(&again));
    let brand = json(&again);
    assert_eq!(brand["status"], "ready");
    assert!(shown.contains(brand["brandId"].as_str().expect("an id")), "{brand} is not the one of {shown}");
    assert_eq!(brand["files"].as_array().map(Vec::len), Some(3));
    let (available, held, spent, granted) = system.credits("ada").await;
    assert_eq!((held, spent, available + 25), (0, 25, granted), "one capture of the price");

    // The brand is found by its name in any case and by its id, but not by another user.
    for style in ["aCME", brand["brandId"].as_str().expect("an id")] {
        let arguments =
            ["generate", "a fox", "--style", style, "--size", "256x256", "--json", "--user", "ada", "-o", out];
        let drawn = run(&data, &ada, &[&arguments[..], &["--url", &url]].concat(), &[]).await;
        assert!(drawn.status.success(), "{}", stderr(&drawn));
        assert_eq!(json(&drawn)["styleId"], brand["brandId"]);
    }
    let stranger =
        run(&data, &eve, &["generate", "a fox", "--style", "acme", "--user", "eve", "--url", &url], &[]).await;
    assert_eq!(stranger.status.code(), Some(2), "{}", stderr(&stranger));
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unfit_pictures_are_listed_before_anything_is_charged() {
    let system = System::start(Topology::OneProcess, &[SHORT]).await;
    let dir = tempfile::tempdir().expect("a directory");
    let files = pictures(dir.path(), 600);
    let (data, url) = (system.data_dir(), system.gateway.clone());
    let before = system.credits("local").await;

    // The command itself refuses some files before it uploads anything.
    let text = dir.path().join("notes.png");
    std::fs::write(&text, "no picture").expect("a file");
    let wrong = [&files[..], &[text, dir.path().join("gone.png")]].concat();
    let output = run(&data, &[], &["train", "Acme", "--url", &url], &wrong).await;
    assert_eq!(output.status.code(), Some(2));
    for part in ["2 of 7", "notes.png: is neither a PNG", "gone.png: does not exist"] {
        assert!(stderr(&output).contains(part), "{part} in {}", stderr(&output));
    }

    // The service checks the rest.
    let small = dir.path().join("small.png");
    RgbImage::from_pixel(300, 300, ORANGE).save(&small).expect("a picture");
    let twin = dir.path().join("twin.png");
    std::fs::copy(&files[2], &twin).expect("a copy");
    let unfit = [&files[..], &[small, twin]].concat();
    for json_wanted in [false, true] {
        let flags: &[&str] = if json_wanted { &["--json"] } else { &[] };
        let output = run(&data, &[], &[&["train", "Acme", "--url", &url][..], flags].concat(), &unfit).await;
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains("2 of 7 pictures are not fit"), "{}", stderr(&output));
        if json_wanted {
            let answer = json(&output);
            let verdicts: Vec<_> =
                answer["verdicts"].as_array().expect("verdicts").iter().map(|verdict| &verdict["verdict"]).collect();
            assert_eq!(verdicts, ["ok", "ok", "ok", "ok", "ok", "too_small", "near_duplicate"]);
        } else {
            assert!(stderr(&output).contains("picture-2.png"), "the duplicate is named: {}", stderr(&output));
            assert_eq!(stdout(&output), "");
        }
    }

    let few = run(&data, &[], &["train", "Acme", "--url", &url], &files[..4]).await;
    assert_eq!(few.status.code(), Some(2));
    assert!(stderr(&few).contains("IMAGES"), "{}", stderr(&few));
    assert_eq!(system.credits("local").await, before);
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zip_can_be_trained_on() {
    train_on_a_zip(&[SHORT]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zip_in_a_bucket_can_be_trained_on() {
    let storage = gcloud_emulator::Storage::start().await.unwrap_or_else(|error| panic!("{error}"));
    let bucket = storage.create_bucket().await.expect("a bucket");
    let dir = tempfile::tempdir().expect("a directory");
    let key = dir.path().join("signer.json");
    std::fs::write(&key, storage.signing_key()).expect("a key");
    let environment = [
        SHORT,
        ("MEDIAFORGE_MEDIA__BACKEND", "gcs"),
        ("MEDIAFORGE_MEDIA__GCS__BUCKET", &bucket),
        ("MEDIAFORGE_MEDIA__GCS__ENDPOINT", &storage.url()),
        ("MEDIAFORGE_MEDIA__GCS__SIGNING_KEY__FILE", key.to_str().expect("text")),
    ];
    train_on_a_zip(&environment).await;
}

async fn train_on_a_zip(environment: &[(&str, &str)]) {
    let system = System::start(Topology::OneProcess, environment).await;
    let dir = tempfile::tempdir().expect("a directory");
    let files = pictures(dir.path(), 600);
    let (data, url) = (system.data_dir(), system.gateway.clone());
    let zip = |name: &str, items: &[Item]| {
        let path = dir.path().join(name);
        std::fs::write(&path, archive(items)).expect("a file");
        path
    };
    let item = |n: usize| Item::deflated(&format!("set/{n}.png"), &std::fs::read(&files[n]).expect("a picture"));
    let four: Vec<_> = (0..4).map(item).collect();

    // One entry is not a picture, and one picture is outside the archive.
    let odd = zip("odd.zip", &[&four[..], &[Item::stored("set/x.svg", "<svg/>")]].concat());
    let output = run(&data, &[], &["train", "Acme", "--url", &url], &[odd, files[4].clone()]).await;
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    for part in ["odd.zip/set/0.png", "odd.zip/set/x.svg", "not a PNG", "1 of 6 pictures are not fit"] {
        assert!(stderr(&output).contains(part), "{part} in {}", stderr(&output));
    }
    let hostile = zip("hostile.zip", &[&four[..], &[Item::stored("../x.png", "x")]].concat());
    let output = run(&data, &[], &["train", "Acme", "--url", &url], &[hostile]).await;
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("not a plain path inside the archive"), "{}", stderr(&output));

    let good = zip("good.zip", &(0..5).map(item).collect::<Vec<_>>());
    let trained = run(&data, &[], &["train", "Acme", "--json", "--url", &url], &[good]).await;
    assert!(trained.status.success(), "{}", stderr(&trained));
    let brand = json(&trained);
    assert_eq!((&brand["status"], &brand["imageCount"]), (&"ready".into(), &5.into()));
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn train_needs_no_server() {
    let dir = tempfile::tempdir().expect("a directory");
    let files = pictures(dir.path(), 600);
    let data = dir.path().join("data");
    // Nothing listens on this port, as if the local gateway were not running.
    let environment = [SHORT, ("MEDIAFORGE_GATEWAY__LISTEN", "127.0.0.1:1")];
    let trained = run(&data, &environment, &["train", "Acme", "--json"], &files).await;
    assert!(trained.status.success(), "{}", stderr(&trained));
    let brand = json(&trained);
    assert_eq!((&brand["status"], &brand["imageCount"]), (&"ready".into(), &5.into()));
    books::check(&data);
}
