//! Things built of blocks. Coordinates are blocks: `x` runs down to the right, `y` down to the left, `z` up.

use super::{
    figures::{creature, object, plant},
    noise::Dice,
    palette::{DARK, Hue, LAMP, Palette, WHITE, WOOD, rgb},
    words::{Item, Season, Thing},
};

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

    /// The same at a column.
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

/// A thing of blocks, about `grow` times its usual size.
pub(super) fn model(item: &Item, grow: f32, season: Season, palette: &Palette, dice: &mut Dice) -> Model {
    let big = matches!(
        item.thing,
        Thing::Castle | Thing::Barn | Thing::House | Thing::Church | Thing::Pyramid | Thing::Bridge | Thing::Whale
    );
    let small = matches!(item.thing, Thing::Flower | Thing::Mushroom | Thing::Campfire | Thing::Duck);
    let (subject, main) = (grow > 1.0, grow > 1.2);
    let span = match (main, big || subject, small) {
        (true, _, false) => 3,
        (true, ..) | (false, true, _) => 2,
        _ => 1,
    };
    let floats = matches!(item.thing, Thing::Balloon | Thing::Plane | Thing::Bird | Thing::Rocket);
    let mut b = Builder { blocks: Vec::new(), scale: span as f32 };
    if !building(&mut b, item, palette, dice) && !creature(&mut b, item) && !plant(&mut b, item, season, palette, dice)
    {
        object(&mut b, item, dice);
    }
    Model { blocks: b.blocks, span, corner: (0, 0), floats }
}

/// A tall building with windows.
pub(super) fn tower(high: f32, palette: &Palette, dice: &mut Dice) -> Model {
    let wall = dice.pick(&[rgb(150, 166, 198), rgb(204, 168, 158), rgb(176, 184, 196), rgb(214, 196, 170)]);
    let mut b = Builder { blocks: Vec::new(), scale: 1.0 };
    b.cube((0.0, 0.0, 0.0), (0.84, 0.84, high), wall).cube((0.0, 0.0, high), (0.5, 0.5, 0.14), wall.darker(0.1));
    for floor in 0..((high - 0.16) / 0.3) as usize {
        let z = 0.16 + floor as f32 * 0.3;
        for side in [-0.22, 0.0, 0.22] {
            let pane = if palette.dark && dice.chance(0.6) { LAMP } else { rgb(112, 150, 184) };
            // Thin as a pane: just in front of the wall.
            b.cube((side, 0.43, z), (0.13, 0.01, 0.16), pane).cube((0.43, side, z), (0.01, 0.13, 0.16), pane);
        }
    }
    Model { blocks: b.blocks, span: 1, corner: (0, 0), floats: false }
}

#[expect(clippy::too_many_lines, reason = "a picture book: one arm per thing, no logic")]
fn building(b: &mut Builder, item: &Item, palette: &Palette, dice: &mut Dice) -> bool {
    let pane = if palette.dark { LAMP } else { rgb(140, 190, 214) };
    let roof = dice.pick(&[rgb(206, 92, 72), rgb(104, 118, 160), rgb(90, 140, 132)]);
    let paint = |or: Hue| item.paint.unwrap_or(or);
    match item.thing {
        Thing::House => {
            let wall = paint(rgb(250, 234, 208));
            b.cube((0.0, 0.0, 0.0), (0.66, 0.56, 0.36), wall).roof(
                (0.0, 0.0, 0.36),
                (0.78, 0.7, 0.3),
                (0.0, 1.0),
                roof,
            );
            b.cube((-0.18, -0.1, 0.46), (0.1, 0.1, 0.26), rgb(176, 112, 92)).cube(
                (0.1, 0.29, 0.0),
                (0.14, 0.01, 0.24),
                WOOD,
            );
            b.cube((-0.16, 0.29, 0.13), (0.14, 0.01, 0.14), pane).cube((0.34, 0.0, 0.13), (0.01, 0.16, 0.14), pane);
        }
        Thing::Lighthouse => {
            let stripe = paint(rgb(218, 76, 64));
            b.cube((0.0, 0.0, 0.0), (0.56, 0.56, 0.1), rgb(176, 172, 176));
            for n in 0..5 {
                let side = 0.4 - n as f32 * 0.036;
                b.cube((0.0, 0.0, 0.1 + n as f32 * 0.24), (side, side, 0.24), if n % 2 == 0 { WHITE } else { stripe });
            }
            b.cube((0.0, 0.0, 1.3), (0.36, 0.36, 0.05), DARK).cube((0.0, 0.0, 1.35), (0.2, 0.2, 0.2), LAMP);
            b.roof((0.0, 0.0, 1.55), (0.32, 0.32, 0.18), (1.0, 1.0), stripe).cube(
                (0.0, 0.21, 0.1),
                (0.1, 0.01, 0.18),
                WOOD,
            );
        }
        Thing::Castle => {
            let wall = paint(rgb(218, 210, 214));
            b.cube((0.0, 0.0, 0.0), (0.66, 0.66, 0.34), wall).cube(
                (0.0, 0.0, 0.34),
                (0.3, 0.3, 0.5),
                wall.darker(0.06),
            );
            b.roof((0.0, 0.0, 0.84), (0.36, 0.36, 0.32), (1.0, 1.0), roof);
            for (x, y) in [(-0.33, -0.33), (0.33, -0.33), (-0.33, 0.33), (0.33, 0.33)] {
                b.cube((x, y, 0.0), (0.22, 0.22, 0.54), wall).roof((x, y, 0.54), (0.28, 0.28, 0.26), (1.0, 1.0), roof);
            }
            b.cube((0.0, 0.335, 0.0), (0.18, 0.01, 0.22), WOOD.darker(0.2)).cube(
                (0.335, 0.0, 0.14),
                (0.01, 0.1, 0.12),
                pane,
            );
        }
        Thing::Barn => {
            let wall = paint(rgb(194, 68, 58));
            b.cube((-0.04, 0.06, 0.0), (0.62, 0.6, 0.36), wall).roof(
                (-0.04, 0.06, 0.36),
                (0.7, 0.68, 0.3),
                (0.56, 0.0),
                rgb(116, 104, 112),
            );
            b.cube((-0.04, 0.365, 0.0), (0.26, 0.01, 0.26), WHITE).cube(
                (-0.04, 0.372, 0.0),
                (0.21, 0.01, 0.23),
                wall.darker(0.1),
            );
            b.cube((0.275, 0.06, 0.14), (0.01, 0.14, 0.12), WHITE).cube(
                (-0.2, -0.4, 0.0),
                (0.2, 0.2, 0.74),
                rgb(206, 204, 206),
            );
            b.roof((-0.2, -0.4, 0.74), (0.22, 0.22, 0.14), (0.7, 0.7), rgb(150, 144, 150));
        }
        Thing::Windmill => {
            let wall = paint(rgb(248, 238, 218));
            b.roof((0.0, 0.0, 0.0), (0.54, 0.54, 0.84), (0.34, 0.34), wall).roof(
                (0.0, 0.0, 0.84),
                (0.42, 0.42, 0.24),
                (1.0, 1.0),
                roof,
            );
            b.cube((0.0, 0.28, 0.0), (0.13, 0.01, 0.22), WOOD);
            for (x, z, dx, dz) in
                [(0.0, 0.8, 0.1, 0.5), (0.0, 0.24, 0.1, 0.5), (0.3, 0.72, 0.5, 0.1), (-0.3, 0.72, 0.5, 0.1)]
            {
                b.cube((x, 0.3, z), (dx, 0.02, dz), rgb(252, 246, 234));
            }
            b.cube((0.0, 0.33, 0.72), (0.1, 0.06, 0.1), DARK);
        }
        Thing::Bridge => {
            let stone = paint(rgb(202, 182, 168));
            for (x, z) in [(-0.4, 0.1), (-0.2, 0.2), (0.0, 0.24), (0.2, 0.2), (0.4, 0.1)] {
                b.cube((x, 0.0, z), (0.2, 0.34, 0.12), stone);
            }
            b.cube((-0.3, 0.0, -0.1), (0.1, 0.3, 0.22), stone.darker(0.1)).cube(
                (0.3, 0.0, -0.1),
                (0.1, 0.3, 0.22),
                stone.darker(0.1),
            );
        }
        Thing::Church => {
            let wall = paint(rgb(246, 240, 230));
            b.cube((0.0, -0.1, 0.0), (0.44, 0.6, 0.3), wall).roof(
                (0.0, -0.1, 0.3),
                (0.52, 0.66, 0.24),
                (1.0, 0.0),
                roof,
            );
            b.cube((0.0, 0.3, 0.0), (0.26, 0.24, 0.58), wall).roof(
                (0.0, 0.3, 0.58),
                (0.3, 0.28, 0.36),
                (1.0, 1.0),
                roof,
            );
            b.cube((0.0, 0.425, 0.0), (0.1, 0.01, 0.18), WOOD).cube((0.22, -0.1, 0.1), (0.01, 0.1, 0.14), pane);
        }
        Thing::Tent => {
            let cloth = paint(rgb(242, 156, 68));
            b.roof((0.0, 0.0, 0.0), (0.7, 0.76, 0.5), (1.0, 0.0), cloth).roof(
                (0.0, 0.385, 0.0),
                (0.3, 0.01, 0.34),
                (1.0, 0.0),
                DARK,
            );
        }
        Thing::Igloo => {
            let ice = rgb(232, 244, 254);
            b.cube((0.0, 0.0, 0.0), (0.7, 0.7, 0.24), ice).cube((0.0, 0.0, 0.24), (0.54, 0.54, 0.16), ice).cube(
                (0.0, 0.0, 0.4),
                (0.3, 0.3, 0.08),
                ice,
            );
            b.cube((0.0, 0.4, 0.0), (0.3, 0.14, 0.24), ice).cube(
                (0.0, 0.475, 0.0),
                (0.16, 0.01, 0.16),
                rgb(70, 92, 130),
            );
        }
        Thing::Pyramid => {
            b.roof((0.0, 0.0, 0.0), (0.96, 0.96, 0.7), (1.0, 1.0), paint(rgb(240, 204, 132)));
        }
        _ => return false,
    }
    true
}
