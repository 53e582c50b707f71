//! A colour, and how it is mixed, shaded and lit.

/// A colour; a glowing one (a lamp, the moon) is not dimmed by the night.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Hue {
    pub(super) r: f32,
    pub(super) g: f32,
    pub(super) b: f32,
    pub(super) glows: bool,
}

pub(super) const fn rgb(r: u8, g: u8, b: u8) -> Hue {
    Hue { r: r as f32, g: g as f32, b: b as f32, glows: false }
}

pub(super) const fn glow(r: u8, g: u8, b: u8) -> Hue {
    Hue { r: r as f32, g: g as f32, b: b as f32, glows: true }
}

pub(super) const WHITE: Hue = rgb(250, 248, 242);
pub(super) const DARK: Hue = rgb(52, 50, 64);
pub(super) const WOOD: Hue = rgb(128, 88, 62);
pub(super) const LAMP: Hue = glow(255, 216, 124);

impl Hue {
    /// This colour with `part` of it replaced by another.
    pub(super) fn mix(self, other: Self, part: f32) -> Self {
        let blend = |a: f32, b: f32| a + (b - a) * part;
        Self { r: blend(self.r, other.r), g: blend(self.g, other.g), b: blend(self.b, other.b), glows: self.glows }
    }

    pub(super) fn darker(self, part: f32) -> Self {
        // Shadows lean towards blue: grey ones look dirty.
        self.mix(rgb(38, 40, 74), part)
    }

    pub(super) fn lighter(self, part: f32) -> Self {
        self.mix(rgb(255, 250, 236), part)
    }

    pub(super) fn times(self, light: [f32; 3]) -> Self {
        Self { r: self.r * light[0], g: self.g * light[1], b: self.b * light[2], ..self }
    }

    pub(super) fn bytes(self) -> [u8; 3] {
        [self.r, self.g, self.b].map(|channel| channel.clamp(0.0, 255.0) as u8)
    }
}
