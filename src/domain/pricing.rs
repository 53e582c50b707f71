//! What a job costs.

use super::credits::Credits;

/// The price list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prices {
    /// Credits for an image whose longest side is at most `large_above_px`.
    pub image: Credits,
    /// Credits for an image with a longer side.
    pub image_large: Credits,
    /// The longest side, in pixels, that still costs `image`.
    pub large_above_px: u32,
    /// Credits for training a brand.
    pub training: Credits,
}

impl Prices {
    /// Credits for one image of this size, in pixels.
    pub fn per_image(&self, width: u32, height: u32) -> Credits {
        if width.max(height) <= self.large_above_px { self.image } else { self.image_large }
    }
}
