//! The preview engine: a small illustrator without AI, for laptops, tests and demonstrations.
//!
//! It follows the words it knows (see `words.rs`), lets the prompt and the seed decide the rest, and draws the same bytes
//! for the same prompt, style, size and seed on every run. Style modifiers are not read: the style id picks the tools, and
//! the style's palette, where it has one, the colours.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::similar_names,
    reason = "pixel arithmetic: numbers are small, x and y are names"
)]

mod animals;
mod blocks;
mod brand;
mod brush;
mod buildings;
mod curves;
mod figures;
mod finish;
mod hue;
mod isometric;
mod land;
mod models;
mod noise;
mod palette;
mod pen;
mod plants;
mod scene;
mod sky;
mod stage;
mod things;
mod words;

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;

use self::{
    brand::ColorGrade,
    brush::{Painter, RenderStyle},
    noise::{Rng, hash},
    palette::Palette,
    words::Brief,
};
use super::{
    AttemptContext, GeneratedImage, Generation, ImageEngine, ImageSpec,
    descriptor::{EngineDescriptor, OpenEngine},
};
use crate::{
    config::PreviewConfig,
    domain::{
        clock::Random,
        failure::{AttemptFailure, ErrorCode},
        job::Progress,
        kind::JobKind,
        request::{IllustrationSpec, MAX_SEED},
    },
};

/// The `Retry-After` of a simulated "too many requests".
const RETRY_AFTER: Duration = Duration::from_secs(2);

pub(super) const ENGINE: EngineDescriptor = EngineDescriptor {
    name: "preview",
    needs_google_credentials: false,
    location: EngineDescriptor::built_in,
    open: OpenEngine::BuiltIn(|config, random| Arc::new(Preview::new(config.preview.clone(), Arc::clone(random)))),
};

/// Draws without AI; simulates faults as configured.
struct Preview {
    config: PreviewConfig,
    random: Arc<dyn Random>,
}

impl Preview {
    fn new(config: PreviewConfig, random: Arc<dyn Random>) -> Self {
        Self { config, random }
    }

    fn happens(&self, fraction: f64) -> bool {
        self.random.unit() < fraction
    }
}

/// Stops the drawing thread when the future is dropped.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[async_trait]
impl ImageEngine for Preview {
    async fn generate(&self, spec: &ImageSpec, cx: &AttemptContext) -> Result<Generation, AttemptFailure> {
        if self.happens(self.config.rate_limited) {
            return Err(AttemptFailure::throttled("the preview engine simulates a rate limit", Some(RETRY_AFTER)));
        }
        if self.happens(self.config.misconfigured) {
            let message = "the preview engine simulates a misconfiguration; set engine.preview.misconfigured to 0";
            return Err(AttemptFailure::misconfigured(message));
        }
        if self.happens(self.config.unavailable) {
            return Err(AttemptFailure::retry(ErrorCode::EngineUnavailable, "the preview engine simulates an outage"));
        }
        if self.happens(self.config.hang) {
            std::future::pending::<()>().await;
        }
        let count = spec.illustration.count;
        let stop = StopOnDrop(Arc::new(AtomicBool::new(false)));
        let (mut images, mut filtered) = (Vec::new(), 0);
        let share = self.config.latency / count.max(1);
        for n in 0..count {
            report(cx, n, count);
            // Each picture takes its share of the latency, so that progress moves as a real engine's does.
            let at_least = tokio::time::Instant::now() + share;
            if self.happens(self.config.filtered) {
                filtered += 1;
            } else {
                let (spec, stop) = (spec.clone(), Arc::clone(&stop.0));
                let drawn = tokio::task::spawn_blocking(move || draw(&spec, n, &stop)).await;
                let bytes = drawn.map_err(|panic| AttemptFailure::fail(ErrorCode::Internal, panic.to_string()))??;
                images.push(GeneratedImage { bytes: bytes.into() });
            }
            tokio::time::sleep_until(at_least).await;
        }
        report(cx, count, count);
        Ok(Generation {
            images,
            filtered,
            model: "preview".to_owned(),
            final_prompt: spec.illustration.final_prompt(),
            seed: Some(spec.seed),
            cost_micro_usd: 0,
        })
    }

    fn routes(&self, _illustration: &IllustrationSpec) -> Vec<Cow<'_, str>> {
        vec!["preview".into()]
    }
}

fn report(cx: &AttemptContext, done: u32, of: u32) {
    let fraction = f64::from(done) / f64::from(of.max(1));
    let progress = Progress { fraction, step: Some(done), total_steps: Some(of), eta_seconds: None };
    cx.progress.send_replace(Some(progress));
}

/// Draws the `n`-th picture as PNG.
fn draw(spec: &ImageSpec, n: u32, stop: &AtomicBool) -> Result<Vec<u8>, AttemptFailure> {
    let wanted = &spec.illustration;
    let seed = spec.seed.wrapping_add(n) & MAX_SEED;
    let rng = Rng::new(hash(&wanted.prompt) ^ noise::mix(u64::from(seed) + 1));
    let brief = Brief::read(&wanted.prompt, &rng);
    let style = &wanted.style;
    let render_style = if JobKind::of_id(&style.id) == Some(JobKind::Brand) {
        brand::style(&style.id)
    } else {
        RenderStyle::of_style(&style.id)
    };
    let palette = Palette::new(&brief, &mut rng.fork(hash("palette")));
    let mut painter = Painter::new(render_style, palette, (wanted.width, wanted.height), stop).ok_or_else(|| {
        AttemptFailure::fail(
            ErrorCode::InvalidRequest,
            format!("cannot draw {}x{} pixels", wanted.width, wanted.height),
        )
    })?;
    let painted = if render_style == RenderStyle::Isometric {
        isometric::paint(&mut painter, &brief, &rng)
    } else {
        scene::paint(&mut painter, &brief, &rng)
    };
    if painted.is_none() {
        // No caller reads this: its future was dropped.
        return Err(AttemptFailure::retry(ErrorCode::EngineUnavailable, "the drawing was stopped"));
    }
    if let Some(grade) = ColorGrade::new(&style.palette) {
        grade.apply(&mut painter.colours);
    }
    let pixels = finish::develop(&painter);
    finish::encode(&pixels, wanted.width, wanted.height).map_err(|error| {
        AttemptFailure::fail(ErrorCode::EngineError, format!("the picture cannot be encoded: {error}"))
    })
}

#[cfg(test)]
mod tests;
