//! Brand colours: a finished canvas is graded so that light stays light, dark stays dark, and everything takes the
//! brand's colours.
//!
//! Each colour goes to a blend of the brand's colours that are nearest to it in lightness (the brand's range stretched
//! over the scene's) and in hue; the blend is steep, so that surfaces show a brand colour and edges stay smooth.

use tiny_skia::Pixmap;

use super::{brush::RenderStyle, noise::hash};
use crate::domain::palette::{OkLab, Rgb};

/// The render styles that suit a brand's colours.
const STYLES: [RenderStyle; 2] = [RenderStyle::Flat, RenderStyle::Clay];

/// The render style of a brand, always the same for one brand.
pub(super) fn style(id: &str) -> RenderStyle {
    STYLES[(hash(id) % STYLES.len() as u64) as usize]
}

/// Steps of the table, along each channel.
const STEPS: usize = 17;

/// How much a difference of hue weighs against one of lightness.
const HUE: f64 = 0.8;
/// The smaller, the fewer colours between the brand's.
const SOFTNESS: f64 = 0.004;
/// How much of a surface's own lightness remains, so that shading stays visible.
const RELIEF: f64 = 0.25;
/// Lightness of the darkest and the lightest of a scene.
const SCENE: (f64, f64) = (0.34, 0.965);

/// What every colour becomes: a cube of `STEPS` along each channel.
pub(super) struct ColorGrade(Vec<[f32; 3]>);

impl ColorGrade {
    /// `None` for a brand without colours.
    pub(super) fn new(brand: &[Rgb]) -> Option<Self> {
        let anchors = anchors(brand)?;
        let channel = |step: usize| (step * 255 / (STEPS - 1)) as u8;
        let cube = (0..STEPS * STEPS * STEPS).map(|n| {
            let (r, g, b) = (channel(n / (STEPS * STEPS)), channel(n / STEPS % STEPS), channel(n % STEPS));
            bytes(graded(OkLab::from(Rgb { r, g, b }), &anchors))
        });
        Some(Self(cube.collect()))
    }

    /// Grades every pixel of an opaque canvas.
    pub(super) fn apply(&self, canvas: &mut Pixmap) {
        let mut last = ([0; 3], self.of([0; 3]));
        for pixel in canvas.data_mut().chunks_exact_mut(4) {
            let seen = [pixel[0], pixel[1], pixel[2]];
            if seen != last.0 {
                last = (seen, self.of(seen));
            }
            pixel[..3].copy_from_slice(&last.1);
        }
    }

    fn of(&self, colour: [u8; 3]) -> [u8; 3] {
        let place = colour.map(|channel| f32::from(channel) / 255.0 * (STEPS - 1) as f32);
        let low = place.map(|at| (at as usize).min(STEPS - 2));
        let mut sum = [0.0; 3];
        for corner in 0..8 {
            let (mut at, mut weight) = (0, 1.0);
            for axis in 0..3 {
                let high = corner >> axis & 1;
                let part = place[axis] - low[axis] as f32;
                weight *= if high == 1 { part } else { 1.0 - part };
                at = at * STEPS + low[axis] + high;
            }
            for (sum, channel) in sum.iter_mut().zip(self.0[at]) {
                *sum += channel * weight;
            }
        }
        sum.map(|channel| channel.clamp(0.0, 255.0) as u8)
    }
}

/// The brand's colours, and where they are all light or all dark a shade or a tint of one of them.
fn anchors(brand: &[Rgb]) -> Option<Vec<OkLab>> {
    let mut anchors: Vec<OkLab> = brand.iter().map(|colour| OkLab::from(*colour)).collect();
    let by_lightness = |x: &&OkLab, y: &&OkLab| x.l.total_cmp(&y.l);
    let darkest = *anchors.iter().min_by(by_lightness)?;
    let lightest = *anchors.iter().max_by(by_lightness)?;
    let toned = |of: OkLab, l: f64, chroma: f64| OkLab { l, a: of.a * chroma, b: of.b * chroma };
    if lightest.l < 0.8 {
        anchors.push(toned(lightest, lightest.l.max(0.68) + 0.11, 0.7));
    }
    if darkest.l > 0.5 {
        anchors.push(toned(darkest, 0.34, 0.6));
    }
    Some(anchors)
}

fn graded(colour: OkLab, anchors: &[OkLab]) -> OkLab {
    let range = anchors.iter().fold((1.0_f64, 0.0_f64), |(low, high), it| (low.min(it.l), high.max(it.l)));
    let part = ((colour.l - SCENE.0) / (SCENE.1 - SCENE.0)).clamp(0.0, 1.0);
    let lightness = range.0 + (range.1 - range.0) * part;
    let cost = |anchor: &OkLab| {
        let (l, a, b) = (anchor.l - lightness, anchor.a - colour.a, anchor.b - colour.b);
        l * l + HUE * (a * a + b * b)
    };
    let least = anchors.iter().map(cost).fold(f64::INFINITY, f64::min);
    let (mut sum, mut total) = (OkLab { l: 0.0, a: 0.0, b: 0.0 }, 0.0);
    for anchor in anchors {
        let weight = ((least - cost(anchor)) / SOFTNESS).exp();
        total += weight;
        sum = OkLab { l: sum.l + anchor.l * weight, a: sum.a + anchor.a * weight, b: sum.b + anchor.b * weight };
    }
    let blend = OkLab { l: sum.l / total, a: sum.a / total, b: sum.b / total };
    OkLab { l: blend.l + (lightness - blend.l) * RELIEF, ..blend }
}

/// The colour in sRGB, clipped to what a screen can show.
fn bytes(OkLab { l, a, b }: OkLab) -> [f32; 3] {
    let cubed = |x: f64| x * x * x;
    let (l, m, s) = (
        cubed(l + 0.396_337_777_4 * a + 0.215_803_757_3 * b),
        cubed(l - 0.105_561_345_8 * a - 0.063_854_172_8 * b),
        cubed(l - 0.089_484_177_5 * a - 1.291_485_548_0 * b),
    );
    [
        4.076_741_662_1 * l - 3.307_711_591_3 * m + 0.230_969_929_2 * s,
        -1.268_438_004_6 * l + 2.609_757_401_1 * m - 0.341_319_396_5 * s,
        -0.004_196_086_3 * l - 0.703_418_614_7 * m + 1.707_614_701_0 * s,
    ]
    .map(|linear| {
        let encoded =
            if linear <= 0.003_130_8 { 12.92 * linear } else { 1.055 * linear.max(0.0).powf(1.0 / 2.4) - 0.055 };
        (encoded.clamp(0.0, 1.0) * 255.0) as f32
    })
}
