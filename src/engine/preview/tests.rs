//! Pictures to look at: `MEDIAFORGE_PREVIEW_SAMPLES=/tmp/samples cargo test --release preview_samples -- --ignored`.

mod brands;

use std::{sync::atomic::AtomicBool, time::Instant};

use super::*;
use crate::domain::{request::IllustrationSpec, style::Style};

const STYLES: [&str; 5] = ["watercolor", "flat-2d", "line-art", "isometric", "clay-3d"];

fn spec(prompt: &str, style: &str, (width, height): (u32, u32), seed: u32) -> ImageSpec {
    let style = Style {
        id: style.to_owned(),
        name: String::new(),
        description: String::new(),
        modifier: String::new(),
        palette: Vec::new(),
    };
    let illustration = IllustrationSpec { prompt: prompt.to_owned(), style, width, height, count: 1, seed: None };
    ImageSpec { illustration, seed }
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
fn whoever_waits_no_more_stops_the_drawing() {
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
