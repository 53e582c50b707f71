//! Reproducible randomness: a generator with a seed, and tables of noise that are computed once.

use std::sync::OnceLock;

/// Side of the noise tables, a power of two so that they tile by masking.
const SIDE: usize = 256;

/// Mixes bits so that neighbouring inputs share nothing.
pub(super) fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ bits >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ bits >> 31
}

/// A hash of a text (FNV-1a, then mixed).
pub(super) fn hash(text: &str) -> u64 {
    mix(text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)))
}

/// Splitmix64: the same seed gives the same numbers on every machine.
#[derive(Debug, Clone)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    /// A generator for one purpose, so that a change elsewhere in a picture does not change this part.
    pub(super) fn fork(&self, purpose: u64) -> Self {
        Self::new(self.0 ^ mix(purpose))
    }

    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// A number in `[0, 1)`.
    pub(super) fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / 16_777_216.0
    }

    pub(super) fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    pub(super) fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }

    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[(self.bits() % of.len() as u64) as usize]
    }
}

/// Two tiling textures of bytes around 128.
pub(super) struct NoiseTables {
    soft: Vec<u8>,
    fine: Vec<u8>,
}

impl NoiseTables {
    pub(super) fn shared() -> &'static Self {
        static TABLES: OnceLock<NoiseTables> = OnceLock::new();
        TABLES.get_or_init(Self::compute)
    }

    /// Clouds: slow change over dozens of pixels.
    #[inline]
    pub(super) fn soft(&self, x: usize, y: usize) -> u8 {
        self.soft[(y & (SIDE - 1)) * SIDE + (x & (SIDE - 1))]
    }

    /// The row `y` of the clouds.
    #[inline]
    pub(super) fn soft_row(&self, y: usize) -> &[u8] {
        &self.soft[(y & (SIDE - 1)) * SIDE..][..SIDE]
    }

    /// The row `y` of the tooth of paper.
    #[inline]
    pub(super) fn fine_row(&self, y: usize) -> &[u8] {
        &self.fine[(y & (SIDE - 1)) * SIDE..][..SIDE]
    }

    fn compute() -> Self {
        let mut rng = Rng::new(7);
        let mut soft = vec![0.0_f32; SIDE * SIDE];
        for (cell, weight) in [(64, 0.5), (32, 0.28), (16, 0.15), (8, 0.07)] {
            octave(&mut soft, cell, weight, &mut rng);
        }
        let white: Vec<f32> = (0..SIDE * SIDE).map(|_| rng.unit()).collect();
        let at = |x: usize, y: usize| white[(y & (SIDE - 1)) * SIDE + (x & (SIDE - 1))];
        let fine = (0..SIDE * SIDE).map(|i| {
            let (x, y) = (i % SIDE + SIDE, i / SIDE + SIDE);
            // Lit from the upper left, as paper is.
            let tooth = at(x, y) + 0.6 * (at(x + 1, y) + at(x, y + 1)) - 0.6 * (at(x - 1, y) + at(x, y - 1));
            (128.0 + (tooth - 0.5) * 80.0).clamp(0.0, 255.0) as u8
        });
        let fine = fine.collect();
        Self { soft: soft.iter().map(|v| (128.0 + (v - 0.5) * 420.0).clamp(0.0, 255.0) as u8).collect(), fine }
    }
}

fn octave(into: &mut [f32], cell: usize, weight: f32, rng: &mut Rng) {
    let cells = SIDE / cell;
    let knots: Vec<f32> = (0..cells * cells).map(|_| rng.unit()).collect();
    let knot = |x: usize, y: usize| knots[(y % cells) * cells + x % cells];
    let ease = |t: f32| t * t * (3.0 - 2.0 * t);
    for y in 0..SIDE {
        let (row, v) = (y / cell, ease((y % cell) as f32 / cell as f32));
        for x in 0..SIDE {
            let (column, t) = (x / cell, ease((x % cell) as f32 / cell as f32));
            let top = knot(column, row) * (1.0 - t) + knot(column + 1, row) * t;
            let bottom = knot(column, row + 1) * (1.0 - t) + knot(column + 1, row + 1) * t;
            into[y * SIDE + x] += weight * (top * (1.0 - v) + bottom * v);
        }
    }
}
