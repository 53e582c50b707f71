//! The model of each thing in blocks: buildings here, everything else in `figures.rs`.

use super::{
    blocks::{Builder, Model},
    figures::{creature, object, plant},
    hue::{DARK, Hue, LAMP, WHITE, WOOD, rgb},
    noise::Rng,
    palette::Palette,
    words::{Item, Season, Thing},
};

/// A thing of blocks, about `grow` times its usual size.
pub(super) fn model(item: &Item, grow: f32, season: Season, palette: &Palette, rng: &mut Rng) -> Model {
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
    let mut b = Builder::new(span as f32);
    if !building(&mut b, item, palette, rng) && !creature(&mut b, item) && !plant(&mut b, item, season, palette, rng) {
        object(&mut b, item, rng);
    }
    b.finish(span, floats)
}

/// A tall building with windows.
pub(super) fn tower(high: f32, palette: &Palette, rng: &mut Rng) -> Model {
    let wall = rng.pick(&[rgb(150, 166, 198), rgb(204, 168, 158), rgb(176, 184, 196), rgb(214, 196, 170)]);
    let mut b = Builder::new(1.0);
    b.cube((0.0, 0.0, 0.0), (0.84, 0.84, high), wall).cube((0.0, 0.0, high), (0.5, 0.5, 0.14), wall.darker(0.1));
    for floor in 0..((high - 0.16) / 0.3) as usize {
        let z = 0.16 + floor as f32 * 0.3;
        for side in [-0.22, 0.0, 0.22] {
            let pane = if palette.dark && rng.chance(0.6) { LAMP } else { rgb(112, 150, 184) };
            // Thin as a pane: just in front of the wall.
            b.cube((side, 0.43, z), (0.13, 0.01, 0.16), pane).cube((0.43, side, z), (0.01, 0.13, 0.16), pane);
        }
    }
    b.finish(1, false)
}

#[expect(clippy::too_many_lines, reason = "a picture book: one arm per thing, no logic")]
fn building(b: &mut Builder, item: &Item, palette: &Palette, rng: &mut Rng) -> bool {
    let pane = if palette.dark { LAMP } else { rgb(140, 190, 214) };
    let roof = rng.pick(&[rgb(206, 92, 72), rgb(104, 118, 160), rgb(90, 140, 132)]);
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
