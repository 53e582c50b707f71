//! The preview engine beyond the contract, and the engine that draws nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use mediaforge::{
    config::{Config, EngineConfig, PreviewConfig},
    domain::{
        clock::Random,
        failure::{Disposition, ErrorCode},
    },
    engine,
    media::image::{DecodeLimits, decode},
};

use super::{Engine, all, context, drawn, spec};
use crate::support::defaults;

const STYLES: [&str; 6] = ["watercolor", "flat-2d", "line-art", "isometric", "clay-3d", "unheard-of"];

/// A fixed sequence of numbers: all runs are equal, and fractions of 0 and 1 mean never and always.
struct Counting(AtomicU64);

impl Random for Counting {
    fn next_u64(&self) -> u64 {
        self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed)
    }
}

fn knobs() -> PreviewConfig {
    PreviewConfig {
        latency: Duration::ZERO,
        rate_limited: 0.0,
        unavailable: 0.0,
        misconfigured: 0.0,
        filtered: 0.0,
        hang: 0.0,
    }
}

fn opened(engine: EngineConfig) -> Engine {
    let random: Arc<dyn Random> = Arc::new(Counting(AtomicU64::new(1)));
    engine::open(&Config { engine, ..defaults() }, &random).unwrap()
}

fn preview(preview: PreviewConfig) -> Engine {
    opened(EngineConfig { default: "preview".to_owned(), preview, ..defaults().engine })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn preview_keeps_the_contract() {
    all("preview", async || preview(knobs())).await;
}

#[tokio::test]
async fn preview_has_the_exact_size_in_every_style() {
    let engine = preview(knobs());
    for style in STYLES {
        for size in [(256, 256), (1000, 256), (256, 777)] {
            let spec = spec("sailboat at sunset", style, size, 1, 9);
            let generation = drawn(&engine, &spec).await;
            let picture = decode(&generation.images[0].bytes, &DecodeLimits::default()).unwrap().image;
            assert_eq!((picture.width(), picture.height()), size, "{style}");
        }
    }
}

#[tokio::test]
async fn preview_repeats_itself_and_follows_prompt_style_size_and_seed() {
    let (engine, again) = (preview(knobs()), preview(knobs()));
    let base = spec("a fox", "clay-3d", (256, 256), 1, 42);
    let picture = drawn(&engine, &base).await;
    assert_eq!(picture, drawn(&again, &base).await);
    assert_eq!(picture.seed, Some(42));
    let others = [
        spec("a fox!", "clay-3d", (256, 256), 1, 42),
        spec("a fox", "flat-2d", (256, 256), 1, 42),
        spec("a fox", "clay-3d", (256, 257), 1, 42),
        spec("a fox", "clay-3d", (256, 256), 1, 43),
    ];
    for other in others {
        assert_ne!(picture.images, drawn(&engine, &other).await.images, "{other:?}");
    }
    let two = drawn(&engine, &spec("a fox", "clay-3d", (256, 256), 2, 42)).await;
    let second = drawn(&engine, &spec("a fox", "clay-3d", (256, 256), 1, 43)).await;
    assert_eq!(two.images, [picture.images[0].clone(), second.images[0].clone()], "the n-th picture has seed + n");
}

#[tokio::test]
async fn preview_draws_any_prompt() {
    let engine = preview(knobs());
    for prompt in ["quantum computing onboarding", "\u{0}\u{202e}🐈 日本語", "cat cats CAT", &"fox ".repeat(1000)]
    {
        let generation = drawn(&engine, &spec(prompt, "isometric", (256, 256), 1, u32::MAX)).await;
        assert_eq!(generation.images.len(), 1);
    }
}

#[tokio::test]
async fn preview_simulates_the_configured_faults() {
    let spec = spec("a cat", "flat-2d", (256, 256), 3, 1);
    let limited = preview(PreviewConfig { rate_limited: 1.0, ..knobs() });
    let failure = limited.generate(&spec, &context().0).await.unwrap_err();
    assert_eq!(failure.error.code, ErrorCode::RateLimited);
    assert!(matches!(failure.disposition, Disposition::Throttled { .. }));

    let misconfigured = preview(PreviewConfig { misconfigured: 1.0, ..knobs() });
    let failure = misconfigured.generate(&spec, &context().0).await.unwrap_err();
    assert_eq!(failure.error.code, ErrorCode::EngineMisconfigured);
    assert_eq!(failure.disposition, Disposition::Misconfigured);

    let unavailable = preview(PreviewConfig { unavailable: 1.0, ..knobs() });
    let failure = unavailable.generate(&spec, &context().0).await.unwrap_err();
    assert_eq!(failure.error.code, ErrorCode::EngineUnavailable);
    assert!(matches!(failure.disposition, Disposition::Retry { .. }));

    let generation = drawn(&preview(PreviewConfig { filtered: 1.0, ..knobs() }), &spec).await;
    assert_eq!((generation.images.len(), generation.filtered), (0, 3));
    let generation = drawn(&preview(PreviewConfig { filtered: 0.5, ..knobs() }), &spec).await;
    assert_eq!(generation.images.len() + generation.filtered as usize, 3);
}

#[tokio::test(start_paused = true)]
async fn preview_hangs_until_it_is_dropped() {
    let (engine, spec) = (preview(PreviewConfig { hang: 1.0, ..knobs() }), spec("a cat", "flat-2d", (256, 256), 1, 1));
    let cx = context().0;
    let call = tokio::time::timeout(Duration::from_hours(24), engine.generate(&spec, &cx));
    assert!(call.await.is_err());
}

#[tokio::test(start_paused = true)]
async fn preview_takes_its_time() {
    let engine = preview(PreviewConfig { latency: Duration::from_secs(16), ..knobs() });
    let begun = tokio::time::Instant::now();
    drawn(&engine, &spec("a cat", "flat-2d", (256, 256), 4, 1)).await;
    let took = begun.elapsed();
    assert!((Duration::from_secs(16)..Duration::from_secs(17)).contains(&took), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_call_stops_the_work() {
    let engine = preview(knobs());
    let (cx, mut seen) = context();
    let call = tokio::spawn(async move {
        engine.generate(&spec("city rain night", "line-art", (512, 512), 1000, 1), &cx).await.map(drop)
    });
    // It is running.
    seen.wait_for(|progress| progress.is_some_and(|progress| progress.step >= Some(1))).await.unwrap();
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    // The sender was dropped with the call, and no later picture reports progress.
    assert!(seen.changed().await.is_err() || seen.has_changed().is_err());
}

#[tokio::test]
async fn noop_withholds_every_picture() {
    let config = EngineConfig { default: "noop".to_owned(), ..defaults().engine };
    let engine = opened(config);
    let generation = drawn(&engine, &spec("a fox", "clay-3d", (256, 256), 3, 42)).await;
    assert_eq!((generation.images.len(), generation.filtered), (0, 3));
}
