//! The contract of `ImageEngine`: every engine runs the same cases.

mod bodies;
mod gemini;
mod imagen;
mod openai;
mod preview;
mod refusals;
mod remote;
mod server;
mod tokens;

use std::sync::Arc;

use bytes::Bytes;
use mediaforge::{
    domain::{
        failure::{AttemptFailure, Disposition, ErrorCode},
        job::Progress,
        request::IllustrationSpec,
        style::{Learnt, Style},
    },
    engine::{AttemptContext, Generation, ImageEngine, ImageSpec},
    media::image::{DecodeLimits, decode},
};
use tokio::sync::watch;

type Engine = Arc<dyn ImageEngine>;

fn spec(prompt: &str, style: &str, (width, height): (u32, u32), count: u32, seed: u32) -> ImageSpec {
    let style = Style {
        id: style.to_owned(),
        name: "A style".to_owned(),
        description: String::new(),
        modifier: "drawn with care".to_owned(),
        palette: Vec::new(),
        learnt: Learnt { references: Vec::new(), model_path: Some("gs://models/acme.safetensors".to_owned()) },
    };
    let illustration = IllustrationSpec { prompt: prompt.to_owned(), style, width, height, count, seed: Some(seed) };
    ImageSpec { illustration, seed, route: "preview".to_owned(), references: Vec::new() }
}

fn context() -> (AttemptContext, watch::Receiver<Option<Progress>>) {
    let (progress, seen) = watch::channel(None);
    (AttemptContext { job_id: "ill_00000000000000000000".parse().unwrap(), attempt: 1, progress }, seen)
}

/// The n-th attempt of the same job.
fn attempt(n: u32) -> AttemptContext {
    AttemptContext { attempt: n, ..context().0 }
}

async fn drawn(engine: &Engine, spec: &ImageSpec) -> Generation {
    engine.generate(spec, &context().0).await.unwrap()
}

async fn refused(engine: &Engine, spec: &ImageSpec, attempt_number: u32) -> AttemptFailure {
    engine.generate(spec, &attempt(attempt_number)).await.unwrap_err()
}

#[track_caller]
fn assert_failure(failure: &AttemptFailure, code: ErrorCode, disposition: Disposition, case: &str) {
    assert_eq!((failure.error.code, failure.disposition), (code, disposition), "{case}: {failure}");
    let message = &failure.error.message;
    assert!(message.chars().count() < 700 && !message.ends_with('.') && !message.contains('\n'), "{case}: {message}");
}

const RETRY: Disposition = Disposition::Retry { after: None };

fn is_picture(bytes: &Bytes) -> bool {
    decode(bytes, &DecodeLimits::default()).is_ok()
}

async fn draws_the_requested_number_and_all_decode(engine: Engine) {
    for count in [1, 4, 9] {
        let spec = spec("a cat under the stars", "watercolor", (300, 260), count, 5);
        let generation = drawn(&engine, &spec).await;
        assert_eq!((u32::try_from(generation.images.len()).unwrap(), generation.filtered), (count, 0));
        assert!(!generation.model.is_empty());
        assert_eq!(generation.final_prompt, "a cat under the stars, drawn with care");
        for (n, image) in generation.images.iter().enumerate() {
            assert!(is_picture(&image.bytes));
            assert!(generation.images[..n].iter().all(|other| other != image), "pictures of one job differ");
        }
    }
}

async fn progress_grows_to_the_end(engine: Engine) {
    let (cx, mut seen) = context();
    let watcher = tokio::spawn(async move {
        let mut fractions = Vec::new();
        while seen.changed().await.is_ok() {
            let progress = *seen.borrow_and_update();
            fractions.extend(progress.map(|progress| progress.fraction));
        }
        fractions
    });
    engine.generate(&spec("a house", "flat-2d", (256, 256), 3, 1), &cx).await.unwrap();
    drop(cx);
    let fractions = watcher.await.unwrap();
    assert!(fractions.is_sorted(), "{fractions:?}");
    assert!(fractions.iter().all(|fraction| (0.0..=1.0).contains(fraction)), "{fractions:?}");
    assert!((fractions.last().unwrap() - 1.0).abs() < f64::EPSILON, "{fractions:?}");
}

/// A route is named `engine` or `engine/model`, and a check covers exactly the routes.
async fn is_called_by_its_name(engine: Engine, name: &str) {
    let spec = spec("a house", "flat-2d", (256, 256), 1, 1);
    assert_eq!(engine.routes(&spec.illustration), [name]);
    for checked in engine.check(crate::support::start()).await {
        assert_eq!((checked.route.as_str(), checked.outcome), (name, Ok(None)));
    }
}

/// Cases for every engine that draws.
async fn all(name: &str, open: impl AsyncFn() -> Engine) {
    draws_the_requested_number_and_all_decode(open().await).await;
    progress_grows_to_the_end(open().await).await;
    is_called_by_its_name(open().await, name).await;
}
