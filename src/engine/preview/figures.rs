//! Animals, plants and vehicles in blocks.

use super::{
    blocks::Builder,
    hue::{DARK, Hue, LAMP, WHITE, WOOD, glow, rgb},
    noise::Rng,
    palette::Palette,
    words::{Item, Season, Thing},
};

/// Animals are alike in blocks: legs, body, head, and what tells them apart.
pub(super) fn creature(b: &mut Builder, item: &Item) -> bool {
    let (coat, second, ears, upright) = match item.thing {
        Thing::Cat => (rgb(236, 156, 84), WHITE, 0.14, false),
        Thing::Dog => (rgb(206, 150, 94), rgb(140, 96, 64), 0.08, false),
        Thing::Fox => (rgb(232, 118, 50), WHITE, 0.18, false),
        Thing::Rabbit => (rgb(226, 206, 188), rgb(240, 168, 168), 0.34, false),
        Thing::Sheep => (rgb(250, 246, 238), DARK, 0.0, false),
        Thing::Bear => (rgb(140, 96, 70), rgb(206, 168, 132), 0.09, false),
        Thing::Owl => (rgb(156, 118, 90), rgb(222, 196, 160), 0.1, true),
        Thing::Penguin => (rgb(56, 64, 88), WHITE, 0.0, true),
        Thing::Bird => (rgb(82, 150, 206), rgb(250, 214, 120), 0.0, true),
        Thing::Duck => (rgb(250, 214, 96), rgb(240, 140, 58), 0.0, true),
        _ => return false,
    };
    let coat = item.paint.unwrap_or(coat);
    let beak = rgb(244, 166, 58);
    if upright {
        b.cube((0.0, 0.0, 0.06), (0.42, 0.36, 0.44), coat).cube((0.0, 0.185, 0.08), (0.3, 0.02, 0.36), second);
        for x in [-0.12, 0.12] {
            b.cube((x, 0.12, 0.0), (0.12, 0.2, 0.06), beak).cube(
                (x * 2.0, 0.0, 0.14),
                (0.06, 0.24, 0.3),
                coat.darker(0.18),
            );
            b.cube((x, 0.0, 0.82), (0.1, 0.1, ears), coat).cube((x, 0.185, 0.62), (0.1, 0.02, 0.1), WHITE);
            b.cube((x, 0.2, 0.63), (0.05, 0.02, 0.07), DARK);
        }
        b.cube((0.0, 0.0, 0.5), (0.38, 0.34, 0.32), coat).cube((0.0, 0.22, 0.55), (0.1, 0.1, 0.06), beak);
        return true;
    }
    for (x, y) in [(-0.13, -0.26), (0.13, -0.26), (-0.13, 0.14), (0.13, 0.14)] {
        b.cube(
            (x, y, 0.0),
            (0.12, 0.12, 0.16),
            if item.thing == Thing::Sheep || item.thing == Thing::Fox { DARK } else { coat.darker(0.1) },
        );
    }
    b.cube((0.0, -0.08, 0.14), (0.42, 0.62, 0.34), coat);
    let face = if item.thing == Thing::Sheep { second } else { coat };
    b.cube((0.0, 0.26, 0.36), (0.4, 0.34, 0.34), face).cube(
        (0.0, 0.44, 0.38),
        (0.2, 0.06, 0.14),
        if item.thing == Thing::Sheep { coat } else { second },
    );
    b.cube((0.0, 0.48, 0.47), (0.07, 0.02, 0.05), DARK);
    for x in [-0.13, 0.13] {
        b.cube((x, 0.24, 0.7), (0.11, 0.09, ears), coat.darker(0.06)).cube(
            (x, 0.435, 0.53),
            (0.06, 0.02, 0.08),
            if item.thing == Thing::Sheep { WHITE } else { DARK },
        );
    }
    match item.thing {
        Thing::Cat => b.cube((0.0, -0.42, 0.4), (0.1, 0.1, 0.4), coat.darker(0.08)),
        Thing::Fox => {
            b.cube((0.0, -0.5, 0.24), (0.18, 0.34, 0.18), coat).cube((0.0, -0.7, 0.26), (0.14, 0.14, 0.14), WHITE)
        }
        Thing::Dog => b.cube((0.0, -0.42, 0.4), (0.1, 0.1, 0.2), coat),
        _ => b.cube(
            (0.0, -0.42, 0.3),
            (0.14, 0.1, 0.14),
            if item.thing == Thing::Sheep { coat } else { coat.lighter(0.5) },
        ),
    };
    true
}

pub(super) fn plant(b: &mut Builder, item: &Item, season: Season, palette: &Palette, rng: &mut Rng) -> bool {
    let snowy = season == Season::Winter;
    match item.thing {
        Thing::Pine => {
            let hue = item.paint.unwrap_or(palette.pine);
            b.cube((0.0, 0.0, 0.0), (0.14, 0.14, 0.2), WOOD);
            for (n, (side, z)) in [(0.66, 0.2), (0.52, 0.48), (0.36, 0.76)].into_iter().enumerate() {
                b.roof(
                    (0.0, 0.0, z),
                    (side, side, 0.4),
                    (0.8, 0.8),
                    if snowy && n > 0 { WHITE } else { hue.lighter(n as f32 * 0.07) },
                );
            }
        }
        Thing::Oak => {
            let hue = item.paint.unwrap_or_else(|| rng.pick(&palette.leaves));
            b.cube((0.0, 0.0, 0.0), (0.16, 0.16, 0.4), WOOD).cube((0.0, 0.0, 0.36), (0.62, 0.62, 0.4), hue);
            b.cube((0.0, 0.0, 0.76), (0.4, 0.4, 0.18), hue.lighter(0.1)).cube(
                (0.26, 0.26, 0.3),
                (0.28, 0.28, 0.26),
                hue.darker(0.06),
            );
        }
        Thing::Palm => {
            let hue = item.paint.unwrap_or(rgb(86, 160, 96));
            for n in 0..4 {
                b.cube((n as f32 * 0.03, 0.0, n as f32 * 0.22), (0.12, 0.12, 0.22), WOOD.lighter(0.15));
            }
            b.cube((0.1, 0.0, 0.88), (0.86, 0.16, 0.07), hue).cube(
                (0.1, 0.0, 0.9),
                (0.16, 0.86, 0.07),
                hue.lighter(0.08),
            );
        }
        Thing::Cactus => {
            let hue = item.paint.unwrap_or(rgb(92, 160, 104));
            b.cube((0.0, 0.0, 0.0), (0.22, 0.22, 0.86), hue).cube(
                (0.0, 0.0, 0.86),
                (0.1, 0.1, 0.07),
                rgb(240, 120, 150),
            );
            b.cube((0.24, 0.0, 0.3), (0.26, 0.16, 0.14), hue).cube((0.3, 0.0, 0.44), (0.14, 0.16, 0.24), hue);
            b.cube((-0.24, 0.0, 0.42), (0.26, 0.16, 0.14), hue).cube((-0.3, 0.0, 0.56), (0.14, 0.16, 0.2), hue);
        }
        Thing::Flower => {
            let hue =
                item.paint.unwrap_or_else(|| rng.pick(&[rgb(244, 120, 120), rgb(250, 200, 90), rgb(180, 140, 220)]));
            b.cube((0.0, 0.0, 0.0), (0.08, 0.08, 0.4), rgb(90, 160, 90)).cube((0.0, 0.0, 0.4), (0.36, 0.36, 0.14), hue);
            b.cube((0.0, 0.0, 0.54), (0.14, 0.14, 0.08), rgb(252, 224, 130));
        }
        Thing::Mushroom => {
            let cap = item.paint.unwrap_or(rgb(220, 78, 66));
            b.cube((0.0, 0.0, 0.0), (0.24, 0.24, 0.36), rgb(248, 238, 220)).cube(
                (0.0, 0.0, 0.34),
                (0.66, 0.66, 0.22),
                cap,
            );
            b.cube((0.0, 0.0, 0.56), (0.42, 0.42, 0.12), cap.lighter(0.06)).cube(
                (0.1, 0.1, 0.68),
                (0.12, 0.12, 0.03),
                WHITE,
            );
            b.cube((0.335, 0.1, 0.42), (0.01, 0.12, 0.09), WHITE).cube((-0.1, 0.335, 0.42), (0.14, 0.01, 0.09), WHITE);
        }
        _ => return false,
    }
    true
}

#[expect(clippy::too_many_lines, reason = "a picture book: one arm per thing, no logic")]
pub(super) fn object(b: &mut Builder, item: &Item, rng: &mut Rng) {
    let paint = |or: Hue| item.paint.unwrap_or(or);
    let glass = rgb(150, 206, 228);
    match item.thing {
        Thing::Sailboat => {
            b.cube((0.0, 0.0, 0.0), (0.34, 0.8, 0.16), rgb(160, 86, 64)).cube(
                (0.0, 0.0, 0.16),
                (0.38, 0.86, 0.05),
                WHITE,
            );
            b.cube((0.0, 0.0, 0.2), (0.03, 0.03, 0.9), WOOD).roof(
                (0.0, 0.2, 0.3),
                (0.02, 0.36, 0.7),
                (0.0, 1.0),
                paint(WHITE),
            );
            b.roof((0.0, -0.2, 0.3), (0.02, 0.3, 0.56), (0.0, 1.0), paint(rgb(238, 112, 92)));
        }
        Thing::Balloon => {
            let hue = paint(rng.pick(&[rgb(234, 96, 82), rgb(76, 152, 184), rgb(244, 170, 74)]));
            b.cube((0.0, 0.0, 0.5), (0.2, 0.2, 0.14), WOOD);
            for (n, (side, z, high)) in
                [(0.3, 0.76, 0.1), (0.56, 0.86, 0.16), (0.72, 1.02, 0.34), (0.54, 1.36, 0.14), (0.3, 1.5, 0.06)]
                    .into_iter()
                    .enumerate()
            {
                b.cube((0.0, 0.0, z), (side, side, high), if n % 2 == 0 { hue } else { rgb(252, 236, 202) });
            }
        }
        Thing::Rocket => {
            let fin = paint(rgb(226, 84, 72));
            b.roof((0.0, 0.0, 0.1), (0.22, 0.22, 0.2), (-0.3, -0.3), glow(255, 176, 80)).cube(
                (0.0, 0.0, 0.3),
                (0.34, 0.34, 0.72),
                WHITE,
            );
            b.roof((0.0, 0.0, 1.02), (0.34, 0.34, 0.36), (1.0, 1.0), fin).cube(
                (0.0, 0.18, 0.7),
                (0.16, 0.01, 0.16),
                glass,
            );
            b.cube((0.24, 0.0, 0.22), (0.16, 0.06, 0.3), fin).cube((0.0, 0.24, 0.22), (0.06, 0.16, 0.3), fin);
        }
        Thing::Plane => {
            let body = paint(rgb(238, 100, 84));
            b.cube((0.0, 0.0, 0.8), (0.18, 0.86, 0.18), body).cube((0.0, 0.06, 0.84), (0.96, 0.2, 0.05), WHITE);
            b.cube((0.0, -0.38, 0.98), (0.05, 0.14, 0.18), WHITE).cube((0.0, 0.44, 0.88), (0.14, 0.02, 0.08), glass);
        }
        Thing::Car => {
            let body = paint(rng.pick(&[rgb(238, 182, 70), rgb(224, 92, 80), rgb(92, 166, 182)]));
            for y in [-0.25, 0.25] {
                b.cube((0.0, y, 0.0), (0.46, 0.18, 0.14), DARK);
            }
            b.cube((0.0, 0.0, 0.07), (0.42, 0.86, 0.19), body)
                .cube((0.0, -0.06, 0.26), (0.36, 0.46, 0.17), glass)
                .cube((0.0, -0.06, 0.43), (0.38, 0.48, 0.04), body);
            b.cube((0.12, 0.435, 0.14), (0.1, 0.01, 0.07), LAMP).cube((-0.12, 0.435, 0.14), (0.1, 0.01, 0.07), LAMP);
        }
        Thing::Snowman => {
            let snow = rgb(248, 251, 255);
            b.cube((0.0, 0.0, 0.0), (0.56, 0.56, 0.4), snow).cube((0.0, 0.0, 0.4), (0.42, 0.42, 0.32), snow).cube(
                (0.0, 0.0, 0.72),
                (0.46, 0.46, 0.07),
                rgb(216, 76, 72),
            );
            b.cube((0.0, 0.0, 0.79), (0.34, 0.34, 0.28), snow).cube(
                (0.0, 0.22, 0.9),
                (0.06, 0.14, 0.06),
                rgb(244, 146, 60),
            );
            b.cube((-0.09, 0.175, 0.98), (0.05, 0.01, 0.05), DARK).cube((0.09, 0.175, 0.98), (0.05, 0.01, 0.05), DARK);
            b.cube((0.0, 0.0, 1.07), (0.44, 0.44, 0.04), DARK).cube((0.0, 0.0, 1.11), (0.28, 0.28, 0.2), DARK);
        }
        Thing::Campfire => {
            b.cube((0.0, 0.0, 0.0), (0.7, 0.16, 0.12), WOOD).cube(
                (0.0, 0.0, 0.06),
                (0.16, 0.7, 0.12),
                WOOD.lighter(0.1),
            );
            b.roof((0.0, 0.0, 0.16), (0.4, 0.4, 0.56), (0.9, 0.9), glow(250, 140, 60)).roof(
                (0.08, 0.08, 0.18),
                (0.24, 0.24, 0.34),
                (0.9, 0.9),
                glow(255, 216, 110),
            );
        }
        Thing::Robot => {
            let metal = paint(rgb(134, 186, 200));
            for x in [-0.13, 0.13] {
                b.cube((x, 0.0, 0.0), (0.15, 0.2, 0.2), metal.darker(0.3)).cube(
                    (x * 2.3, 0.0, 0.26),
                    (0.1, 0.16, 0.3),
                    metal.darker(0.2),
                );
                b.cube((x * 0.8, 0.185, 0.82), (0.11, 0.01, 0.11), glow(255, 236, 160));
            }
            b.cube((0.0, 0.0, 0.2), (0.46, 0.32, 0.42), metal).cube(
                (0.0, 0.165, 0.3),
                (0.26, 0.01, 0.2),
                metal.darker(0.45),
            );
            b.cube((0.0, 0.0, 0.66), (0.52, 0.36, 0.36), metal.lighter(0.2))
                .cube((0.0, 0.0, 1.02), (0.04, 0.04, 0.14), DARK)
                .cube((0.0, 0.0, 1.16), (0.1, 0.1, 0.1), rgb(240, 98, 84));
        }
        // What lives in the water: a back, a tail and an eye above it.
        _ => {
            let skin = paint(if item.thing == Thing::Whale { rgb(82, 126, 170) } else { rgb(242, 138, 70) });
            b.cube((0.0, 0.1, -0.1), (0.44, 0.66, 0.36), skin).cube((0.0, -0.3, 0.0), (0.2, 0.2, 0.16), skin).cube(
                (0.0, -0.44, 0.12),
                (0.5, 0.14, 0.1),
                skin.darker(0.08),
            );
            b.cube((0.0, 0.435, -0.1), (0.36, 0.01, 0.12), WHITE)
                .cube((0.225, 0.26, 0.08), (0.01, 0.08, 0.08), DARK)
                .cube((-0.12, 0.435, 0.1), (0.08, 0.01, 0.08), DARK);
            if item.thing == Thing::Whale {
                b.cube((0.0, 0.1, 0.26), (0.05, 0.05, 0.24), rgb(220, 242, 250)).cube(
                    (0.0, 0.1, 0.48),
                    (0.24, 0.24, 0.05),
                    rgb(220, 242, 250),
                );
            }
        }
    }
}
