//! Things built of blocks. Coordinates are blocks: `x` runs down to the right, `y` down to the left, `z` up.

use super::hue::Hue;

type Triple = (f32, f32, f32);

/// A box, or with a taper a roof.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub(super) at: Triple,
    pub(super) size: Triple,
    pub(super) hue: Hue,
    /// How far the top shrinks along x and y: 0 not, 1 to a line.
    pub(super) taper: (f32, f32),
}

impl Block {
    pub(super) fn new(at: Triple, size: Triple, hue: Hue) -> Self {
        Self { at, size, hue, taper: (0.0, 0.0) }
    }
}

/// A thing of blocks on `span` by `span` columns.
#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) blocks: Vec<Block>,
    pub(super) span: usize,
    corner: (usize, usize),
    floats: bool,
}

impl Model {
    /// The diagonal of its nearest column.
    pub(super) fn front(&self) -> usize {
        self.corner.0 + self.corner.1 + 2 * (self.span - 1)
    }

    pub(super) fn covers(&self, x: usize, y: usize) -> bool {
        let within = |at: usize, corner: usize| (corner..corner + self.span).contains(&at);
        within(x, self.corner.0) && within(y, self.corner.1)
    }

    /// The same model at a column.
    pub(super) fn moved(mut self, x: usize, y: usize, z: f32) -> Self {
        self.corner = (x, y);
        for block in &mut self.blocks {
            block.at = (block.at.0 + x as f32, block.at.1 + y as f32, block.at.2 + z);
        }
        self
    }

    /// Puts far and low blocks first.
    pub(super) fn sort(&mut self) {
        let key = |b: &Block| b.at.0 + b.at.1 + f32::midpoint(b.size.0, b.size.1) + b.at.2 * 1.2 + b.size.2 * 0.2;
        self.blocks.sort_by(|a, b| key(a).total_cmp(&key(b)));
    }

    /// Centre and reach of what floats, for its shadow.
    pub(super) fn shadow(&self) -> Option<Triple> {
        let half = self.span as f32 / 2.0;
        self.floats.then_some((self.corner.0 as f32 + half, self.corner.1 as f32 + half, half * 0.7))
    }
}

/// Collects blocks around the middle of a square, in units in which the square has side 1.
pub(super) struct Builder {
    blocks: Vec<Block>,
    scale: f32,
}

impl Builder {
    pub(super) fn new(scale: f32) -> Self {
        Self { blocks: Vec::new(), scale }
    }

    pub(super) fn finish(self, span: usize, floats: bool) -> Model {
        Model { blocks: self.blocks, span, corner: (0, 0), floats }
    }

    /// A box of a width, depth and height, its middle at (`x`, `y`), its foot at `z`.
    pub(super) fn cube(&mut self, (x, y, z): Triple, (dx, dy, dz): Triple, hue: Hue) -> &mut Self {
        self.roof((x, y, z), (dx, dy, dz), (0.0, 0.0), hue)
    }

    pub(super) fn roof(&mut self, (x, y, z): Triple, (dx, dy, dz): Triple, taper: (f32, f32), hue: Hue) -> &mut Self {
        let s = self.scale;
        let at = ((0.5 + x - dx / 2.0) * s, (0.5 + y - dy / 2.0) * s, z * s);
        self.blocks.push(Block { at, size: (dx * s, dy * s, dz * s), hue, taper });
        self
    }
}
