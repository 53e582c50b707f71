//! The colours of a picture, each with the share of the picture it covers.

use std::collections::BTreeMap;

use image::imageops;

use super::{DecodeLimits, PictureError, decode};
use crate::domain::palette::Rgb;

/// The sides to which a picture is reduced: enough for its colours, and without grain.
const SIDE: u32 = 64;

/// Channels that differ by less than this count as equal.
const STEP: u8 = 8;

/// The colours of an encoded picture and their shares, which sum to 1. Transparent pixels do not count.
pub fn colors(bytes: &[u8], limits: &DecodeLimits) -> Result<Vec<(Rgb, f64)>, PictureError> {
    let image = decode(bytes, limits)?.image;
    let (width, height) = (image.width().min(SIDE), image.height().min(SIDE));
    let small = imageops::thumbnail(&image.into_rgba8(), width, height);
    let mut bins: BTreeMap<[u8; 3], [f64; 4]> = BTreeMap::new();
    for image::Rgba([r, g, b, alpha]) in small.pixels() {
        let bin = bins.entry([r, g, b].map(|channel| channel / STEP)).or_default();
        let weight = f64::from(*alpha);
        bin[3] += weight;
        for (sum, channel) in bin.iter_mut().zip([r, g, b]) {
            *sum += f64::from(*channel) * weight;
        }
    }
    let total: f64 = bins.values().map(|bin| bin[3]).sum();
    if total <= 0.0 {
        return Ok(Vec::new());
    }
    let mean = |[r, g, b, weight]: [f64; 4]| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a mean of bytes is one")]
        let channel = |sum: f64| (sum / weight).round() as u8;
        (Rgb { r: channel(r), g: channel(g), b: channel(b) }, weight / total)
    };
    Ok(bins.into_values().filter(|bin| bin[3] > 0.0).map(mean).collect())
}
