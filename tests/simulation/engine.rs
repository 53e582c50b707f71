//! The engine: draws small pictures of one colour, and fails in every possible way.

use std::{
    collections::BTreeMap,
    io::Cursor,
    sync::{Arc, OnceLock},
};

use async_trait::async_trait;
use bytes::Bytes;
use image::{ImageFormat, Rgb, RgbImage};
use mediaforge::{
    domain::{
        failure::{AttemptFailure, ErrorCode},
        ids::JobId,
        job::Progress,
    },
    engine::{AttemptContext, GeneratedImage, Generation, ImageEngine, ImageSpec},
};
use tokio::time::sleep;

use crate::{plan::Fault, process::Process};

/// How often the provider was called, by job.
#[derive(Default)]
pub struct Calls(pub BTreeMap<JobId, u64>);

pub struct SimEngine(pub Arc<Process>);

#[async_trait]
impl ImageEngine for SimEngine {
    async fn generate(&self, spec: &ImageSpec, cx: &AttemptContext) -> Result<Generation, AttemptFailure> {
        let world = &self.0.world;
        self.0.runs().await;
        self.0.travel().await;
        // From here on the call costs money.
        *world.calls.lock().expect("a lock").0.entry(cx.job_id.clone()).or_default() += 1;
        world.event(&self.0.name, "engine draws", cx.job_id.as_str(), || format!("attempt {}", cx.attempt));
        let slow = world.strikes(Fault::EngineSlow);
        for step in 1..=4 {
            sleep(if slow { world.dice.millis(500, 12_000) } else { world.dice.millis(5, 900) }).await;
            self.0.runs().await;
            cx.progress.send_replace(Some(Progress { fraction: f64::from(step) / 4.0, ..Progress::default() }));
        }
        if world.strikes(Fault::EngineHangs) {
            std::future::pending::<()>().await;
        }
        if world.strikes(Fault::EnginePanics) {
            // Without the panic hook, whose message would be noise.
            std::panic::resume_unwind(Box::new("the engine plays a panic"));
        }
        self.failure().map_or(Ok(()), Err)?;
        let mut pictures = usize::try_from(spec.illustration.count).expect("a few");
        if world.strikes(Fault::EngineFiltersAll) {
            pictures = 0;
        } else if pictures > 1 && world.strikes(Fault::EngineFiltersSome) {
            pictures -= 1;
        }
        let corrupt = world.strikes(Fault::EngineCorrupt);
        let side = spec.illustration.width;
        let draw = |_| {
            if corrupt {
                Bytes::from_static(b"\x89PNG\r\n\x1a\n, or so")
            } else {
                picture(side, world.dice.index(SHADES))
            }
        };
        let images: Vec<_> = (0..pictures).map(draw).map(|bytes| GeneratedImage { bytes }).collect();
        self.0.alone().await;
        Ok(Generation {
            filtered: spec.illustration.count - u32::try_from(images.len()).expect("a few"),
            images,
            model: "simulated".to_owned(),
            final_prompt: spec.illustration.final_prompt(),
            seed: Some(spec.seed),
            cost_micro_usd: 1,
        })
    }
}

impl SimEngine {
    fn failure(&self) -> Option<AttemptFailure> {
        let world = &self.0.world;
        if world.strikes(Fault::EngineRetry) {
            Some(AttemptFailure::retry(ErrorCode::EngineUnavailable, "the engine plays unavailable"))
        } else if world.strikes(Fault::EngineFails) {
            Some(AttemptFailure::fail(ErrorCode::InvalidRequest, "the engine plays incapable"))
        } else if world.strikes(Fault::EngineThrottles) {
            Some(AttemptFailure::throttled("the engine plays full", None))
        } else if world.strikes(Fault::EngineThrottlesWithDate) {
            let after = world.dice.millis(100, 20_000);
            Some(AttemptFailure::throttled("the engine plays full", Some(after)))
        } else {
            None
        }
    }
}

const SHADES: usize = 4;
const SIDES: [u32; 3] = [8, 16, 512];

/// A picture of one colour; the small sides come in several shades.
pub fn picture(side: u32, shade: usize) -> Bytes {
    static PICTURES: OnceLock<Vec<Bytes>> = OnceLock::new();
    let drawn = PICTURES.get_or_init(|| {
        let shades = (0..SHADES).map(|shade| u8::try_from(shade * 60).expect("a shade"));
        shades.flat_map(|shade| SIDES.map(|side| draw(side, shade))).collect()
    });
    let at = SIDES.iter().position(|known| *known == side).expect("a side that is asked for");
    drawn[shade * SIDES.len() + at].clone()
}

fn draw(side: u32, shade: u8) -> Bytes {
    let mut bytes = Vec::new();
    let image = RgbImage::from_pixel(side, side, Rgb([shade, 200, 100]));
    image.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).expect("a picture");
    bytes.into()
}
