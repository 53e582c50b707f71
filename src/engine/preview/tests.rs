//! Pictures to look at: `MEDIAFORGE_PREVIEW_SAMPLES=/tmp/samples cargo test --release preview_samples -- --ignored`.

mod brands;

use std::{sync::atomic::AtomicBool, time::Instant};

use super::*;
use crate::domain::{
    request::IllustrationSpec,
    style::{Learnt, Style},
};

const STYLES: [&str; 5] = ["watercolor", "flat-2d", "line-art", "isometric", "clay-3d"];

fn spec(prompt: &str, style: &str, (width, height): (u32, u32), seed: u32) -> ImageSpec {
    let style = Style {
        id: style.to_owned(),
        name: String::new(),
        description: String::new(),
        modifier: String::new(),
        palette: Vec::new(),
        learnt: Learnt::default(),
    };
    let illustration = IllustrationSpec { prompt: prompt.to_owned(), style, width, height, count: 1, seed: None };
    ImageSpec { illustration, seed, route: "preview".to_owned(), references: Vec::new() }
}

fn drawn(spec: &ImageSpec) -> Vec<u8> {
    draw(spec, 0, &AtomicBool::new(false)).unwrap()
}

#[test]
fn every_word_can_be_drawn_in_every_style() {
    let prompts = [
        "house lighthouse castle barn",
        "windmill church bridge tent",
        "igloo pyramid cats dogs",
        "foxes rabbits owl sheep",
        "fish whale duck sailboat",
        "bear penguin pines oaks",
        "palm cactus flowers mushroom",
        "balloon rocket plane car",
        "snowman campfire robot birds",
        "bird rainbow storm",
        "city rain night",
        "space",
        "foggy village",
        "desert moon",
    ];
    for style in STYLES {
        for prompt in prompts {
            let bytes = drawn(&spec(prompt, style, (96, 80), 3));
            assert_eq!(image::load_from_memory(&bytes).unwrap().width(), 96, "{style}: {prompt}");
        }
    }
}

#[test]
fn a_stopped_drawing_ends_early() {
    let failure = draw(&spec("a cat", "flat-2d", (256, 256), 1), 0, &AtomicBool::new(true)).unwrap_err();
    assert_eq!(failure.error.code, ErrorCode::EngineUnavailable);
}

#[test]
fn dropping_the_future_stops_the_drawing() {
    let stop = StopOnDrop(Arc::new(AtomicBool::new(false)));
    let seen = Arc::clone(&stop.0);
    drop(stop);
    assert!(seen.load(Ordering::Relaxed));
}

#[test]
#[ignore = "writes pictures to look at into the directory MEDIAFORGE_PREVIEW_SAMPLES"]
fn preview_samples() {
    let directory = std::env::var("MEDIAFORGE_PREVIEW_SAMPLES").expect("a directory to write to");
    let list = std::env::var("MEDIAFORGE_PREVIEW_PROMPTS").unwrap_or_else(|_| "a lighthouse at dawn".to_owned());
    let number = |name: &str, or: u32| std::env::var(name).ok().and_then(|side| side.parse().ok()).unwrap_or(or);
    let size = (number("MEDIAFORGE_PREVIEW_WIDTH", 1024), number("MEDIAFORGE_PREVIEW_HEIGHT", 1024));
    let (cell, gap) = (number("MEDIAFORGE_PREVIEW_CELL", 380), 8);
    let (rows, columns) = (u32::try_from(list.split('|').count()).unwrap(), 5);
    let cell_height = cell * size.1 / size.0;
    let mut sheet = image::RgbImage::from_pixel(
        columns * (cell + gap) - gap,
        rows * (cell_height + gap) - gap,
        image::Rgb([255; 3]),
    );
    for (row, prompt) in (0_u32..).zip(list.split('|')) {
        for (column, style) in (0_u32..).zip(STYLES) {
            let begun = Instant::now();
            let bytes = drawn(&spec(prompt, style, size, number("MEDIAFORGE_PREVIEW_SEED", 7)));
            println!("{:4} ms {:5} kB {style} {prompt}", begun.elapsed().as_millis(), bytes.len() / 1024);
            let picture = image::load_from_memory(&bytes).unwrap().to_rgb8();
            let small = image::imageops::resize(&picture, cell, cell_height, image::imageops::FilterType::CatmullRom);
            image::imageops::replace(
                &mut sheet,
                &small,
                (column * (cell + gap)).into(),
                (row * (cell_height + gap)).into(),
            );
            std::fs::write(format!("{directory}/{row:02}-{style}.png"), bytes).unwrap();
        }
    }
    sheet.save(format!("{directory}/sheet.png")).unwrap();
}

#[test]
fn nothing_is_drawn_on_the_threads_of_the_runtime() {
    use std::sync::mpsc;

    use futures::poll;

    use crate::domain::{clock::SystemRandom, ids::JobId, kind::JobKind};

    // One thread for blocking work, which is taken: whatever gets done is done by the runtime itself.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).max_blocking_threads(1).build().unwrap();
    let (free, wait) = mpsc::channel::<()>();
    let config = PreviewConfig {
        latency: Duration::ZERO,
        rate_limited: 0.0,
        unavailable: 0.0,
        filtered: 0.0,
        hang: 0.0,
        misconfigured: 0.0,
    };
    let engine = Preview::new(config, Arc::new(SystemRandom));
    let spec = spec("a cat", "flat-2d", (64, 64), 1);
    let job_id = JobId::random(JobKind::Illustration, &SystemRandom);
    let cx = AttemptContext { job_id, attempt: 1, progress: tokio::sync::watch::channel(None).0 };
    runtime.block_on(async {
        let taken = tokio::task::spawn_blocking(move || wait.recv());
        let mut drawing = engine.generate(&spec, &cx);
        for _ in 0..3 {
            assert!(poll!(&mut drawing).is_pending(), "it draws without a thread to draw on");
            tokio::time::advance(Duration::from_mins(1)).await;
        }
        free.send(()).unwrap();
        assert_eq!(drawing.await.unwrap().images.len(), 1);
        taken.await.unwrap().unwrap();
    });
}
