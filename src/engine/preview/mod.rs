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
    brand::Grade,
    brush::{Look, Painter},
    noise::{Dice, hash},
    palette::Palette,
    words::Brief,
};
use super::{AttemptContext, Generated, Generation, ImageEngine, ImageSpec};
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

/// When a simulated "too many requests" says to come back.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Draws without AI; misbehaves as configured.
pub(super) struct Preview {
    config: PreviewConfig,
    random: Arc<dyn Random>,
}

impl Preview {
    pub(super) fn new(config: PreviewConfig, random: Arc<dyn Random>) -> Self {
        Self { config, random }
    }

    fn happens(&self, fraction: f64) -> bool {
        self.random.unit() < fraction
    }
}

/// Tells the drawing thread that nobody waits any more.
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
            return Err(AttemptFailure::throttled("the preview engine plays rate-limited", Some(RETRY_AFTER)));
        }
        if self.happens(self.config.misconfigured) {
            let message = "the preview engine plays misconfigured; set engine.preview.misconfigured to 0";
            return Err(AttemptFailure::misconfigured(message));
        }
        if self.happens(self.config.unavailable) {
            return Err(AttemptFailure::retry(ErrorCode::EngineUnavailable, "the preview engine plays unavailable"));
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
            // Each picture waits its share, so that progress moves as a real engine's does.
            let at_least = tokio::time::Instant::now() + share;
            if self.happens(self.config.filtered) {
                filtered += 1;
            } else {
                let (spec, stop) = (spec.clone(), Arc::clone(&stop.0));
                let drawn = tokio::task::spawn_blocking(move || draw(&spec, n, &stop)).await;
                let bytes = drawn.map_err(|panic| AttemptFailure::fail(ErrorCode::Internal, panic.to_string()))??;
                images.push(Generated { bytes: bytes.into() });
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
    let dice = Dice::new(hash(&wanted.prompt) ^ noise::mix(u64::from(seed) + 1));
    let brief = Brief::read(&wanted.prompt, &dice);
    let style = &wanted.style;
    let look = if JobKind::of_id(&style.id) == Some(JobKind::Brand) {
        brand::look(&style.id)
    } else {
        Look::of_style(&style.id)
    };
    let palette = Palette::new(&brief, &mut dice.fork(hash("palette")));
    let mut painter = Painter::new(look, palette, (wanted.width, wanted.height), stop).ok_or_else(|| {
        AttemptFailure::fail(
            ErrorCode::InvalidRequest,
            format!("cannot draw {}x{} pixels", wanted.width, wanted.height),
        )
    })?;
    let painted = if look == Look::Isometric {
        isometric::paint(&mut painter, &brief, &dice)
    } else {
        scene::paint(&mut painter, &brief, &dice)
    };
    if painted.is_none() {
        // Nobody reads this: the future that waited for it is gone.
        return Err(AttemptFailure::retry(ErrorCode::EngineUnavailable, "the drawing was stopped"));
    }
    if let Some(grade) = Grade::new(&style.palette) {
        grade.apply(&mut painter.colours);
    }
    let pixels = finish::develop(&painter);
    finish::encode(&pixels, wanted.width, wanted.height).map_err(|error| {
        AttemptFailure::fail(ErrorCode::EngineError, format!("the picture cannot be encoded: {error}"))
    })
}

#[cfg(test)]
mod tests;
