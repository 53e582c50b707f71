//! What moves or was made by hand, and the one place that knows how to draw each [`Thing`].

use super::{
    animals, buildings,
    hue::{DARK, Hue, LAMP, WHITE, WOOD, glow, rgb},
    noise::Rng,
    pen::Pen,
    plants,
    words::{Item, Season, Thing},
};

/// Draws a thing where the pen stands.
pub(super) fn draw(pen: &mut Pen<'_, '_>, item: &Item, season: Season, rng: &mut Rng) {
    let (paint, snowy) = (item.paint, season == Season::Winter);
    let (leaves, pine) = (pen.painter.palette.leaves, pen.painter.palette.pine);
    match item.thing {
        Thing::House => buildings::house(pen, paint, rng),
        Thing::Lighthouse => buildings::lighthouse(pen, paint, rng),
        Thing::Castle => buildings::castle(pen, paint, rng),
        Thing::Barn => buildings::barn(pen, paint, snowy),
        Thing::Windmill => buildings::windmill(pen, paint, rng),
        Thing::Bridge => buildings::bridge(pen, paint),
        Thing::Church => buildings::church(pen, paint, rng),
        Thing::Tent => buildings::tent(pen, paint),
        Thing::Igloo => buildings::igloo(pen),
        Thing::Pyramid => buildings::pyramid(pen, paint),
        Thing::Cat => animals::cat(pen, paint, rng),
        Thing::Dog => animals::dog(pen, paint, rng),
        Thing::Fox => animals::fox(pen, paint),
        Thing::Rabbit => animals::rabbit(pen, paint),
        Thing::Bird => animals::bird(pen, paint, rng),
        Thing::Owl => animals::owl(pen, paint),
        Thing::Sheep => animals::sheep(pen, paint),
        Thing::Fish => animals::fish(pen, paint, rng),
        Thing::Whale => animals::whale(pen, paint),
        Thing::Bear => animals::bear(pen, paint),
        Thing::Penguin => animals::penguin(pen, paint),
        Thing::Duck => animals::duck(pen, paint),
        Thing::Pine => plants::pine(pen, paint.unwrap_or(pine), snowy, rng),
        Thing::Oak => plants::oak(pen, paint.unwrap_or(leaves[0]), season, rng),
        Thing::Palm => plants::palm(pen, paint.unwrap_or(rgb(76, 150, 88))),
        Thing::Cactus => plants::cactus(pen, paint, rng),
        Thing::Flower => plants::flower(pen, paint, rng),
        Thing::Mushroom => plants::mushroom(pen, paint),
        Thing::Sailboat => sailboat(pen, paint, rng),
        Thing::Balloon => balloon(pen, paint, rng),
        Thing::Rocket => rocket(pen, paint),
        Thing::Plane => plane(pen, paint),
        Thing::Car => car(pen, paint, rng),
        Thing::Snowman => snowman(pen),
        Thing::Campfire => campfire(pen),
        Thing::Robot => robot(pen, paint),
    }
}

fn sailboat(pen: &mut Pen<'_, '_>, paint: Option<Hue>, rng: &mut Rng) {
    let sail = paint.unwrap_or_else(|| rng.pick(&[WHITE, rgb(250, 226, 186), rgb(232, 104, 84)]));
    pen.line(&[(0.0, 0.1), (0.0, 1.04)], 0.022, WOOD.darker(0.2));
    pen.blob(&[(0.035, 0.24), (0.035, 0.96), (0.3, 0.6), (0.46, 0.26), (0.24, 0.22)], sail);
    pen.poly(&[(0.05, 0.56), (0.31, 0.58), (0.38, 0.44), (0.05, 0.42)], sail.darker(0.12));
    pen.blob(&[(-0.035, 0.3), (-0.035, 0.86), (-0.2, 0.56), (-0.34, 0.3), (-0.18, 0.28)], sail.darker(0.06));
    pen.poly(&[(0.0, 1.04), (0.14, 0.995), (0.0, 0.95)], rgb(222, 82, 70));
    let hull = [(-0.5, 0.19), (-0.4, 0.02), (-0.28, -0.05), (0.28, -0.05), (0.44, 0.02), (0.56, 0.19)];
    pen.poly(&hull, rgb(150, 76, 58));
    pen.poly(&[(-0.5, 0.19), (-0.47, 0.13), (0.54, 0.13), (0.56, 0.19)], WHITE);
}

fn balloon(pen: &mut Pen<'_, '_>, paint: Option<Hue>, rng: &mut Rng) {
    let hue = paint.unwrap_or_else(|| rng.pick(&[rgb(228, 86, 72), rgb(66, 140, 170), rgb(240, 160, 62)]));
    let second = rng.pick(&[rgb(252, 234, 196), rgb(250, 206, 106)]);
    for x in [-0.1, 0.1] {
        pen.line(&[(x * 1.6, 0.3), (x * 0.8, 0.13)], 0.012, WOOD.darker(0.3));
    }
    let half = |part: f32| {
        [(0.0, 1.0), (0.26 * part, 0.95), (0.4 * part, 0.74), (0.36 * part, 0.54), (0.16 * part, 0.29), (0.0, 0.27)]
    };
    for (part, hue) in [(1.0, hue), (0.68, second), (0.3, hue)] {
        let mut points: Vec<_> = half(part).to_vec();
        points.extend(half(-part).into_iter().rev().skip(1).take(4));
        pen.blob(&points, hue);
    }
    pen.oval_faint(-0.17, 0.78, 0.07, 0.12, WHITE, 0.35);
    pen.rect(-0.09, 0.0, 0.09, 0.13, WOOD.lighter(0.1));
    pen.rect(-0.105, 0.11, 0.105, 0.145, WOOD.darker(0.1));
}

fn rocket(pen: &mut Pen<'_, '_>, paint: Option<Hue>) {
    let fin = paint.unwrap_or(rgb(222, 78, 66));
    pen.halo(0.0, 0.02, 0.34, glow(255, 176, 80), 0.5);
    pen.blob(&[(-0.09, 0.16), (-0.12, 0.02), (0.0, -0.2), (0.12, 0.02), (0.09, 0.16)], glow(255, 150, 62));
    pen.blob(&[(-0.05, 0.15), (-0.06, 0.05), (0.0, -0.08), (0.06, 0.05), (0.05, 0.15)], glow(255, 226, 130));
    for side in [-1.0, 1.0] {
        let points = [(0.12, 0.42), (0.27, 0.24), (0.28, 0.08), (0.11, 0.18)];
        pen.poly(&points.map(|(x, y)| (x * side, y)), fin);
    }
    pen.blob(
        &[(-0.11, 0.15), (-0.16, 0.46), (-0.12, 0.76), (0.0, 1.02), (0.12, 0.76), (0.16, 0.46), (0.11, 0.15)],
        WHITE,
    );
    pen.blob(
        &[(0.05, 0.15), (0.07, 0.46), (0.05, 0.76), (0.0, 1.02), (0.12, 0.76), (0.16, 0.46), (0.11, 0.15)],
        WHITE.darker(0.16),
    );
    pen.blob(&[(-0.105, 0.79), (-0.06, 0.92), (0.0, 1.03), (0.06, 0.92), (0.105, 0.79), (0.0, 0.77)], fin);
    pen.oval(0.0, 0.6, 0.078, 0.078, DARK.lighter(0.2));
    pen.oval(0.0, 0.6, 0.054, 0.054, rgb(134, 202, 226));
    pen.poly(&[(-0.03, 0.36), (0.0, 0.4), (0.03, 0.36), (0.025, 0.06), (-0.025, 0.06)], fin.darker(0.1));
}

fn plane(pen: &mut Pen<'_, '_>, paint: Option<Hue>) {
    let body = paint.unwrap_or(rgb(236, 92, 76));
    pen.poly(&[(-0.1, 0.6), (-0.32, 0.92), (-0.14, 0.92), (0.2, 0.6)], WHITE.darker(0.12));
    pen.poly(&[(-0.76, 0.56), (-0.94, 0.86), (-0.78, 0.86), (-0.56, 0.6)], body.darker(0.12));
    pen.blob(&[(-0.86, 0.56), (-0.4, 0.4), (0.4, 0.38), (0.76, 0.5), (0.6, 0.64), (0.2, 0.7), (-0.4, 0.66)], body);
    pen.blob(&[(-0.7, 0.5), (-0.3, 0.4), (0.4, 0.38), (0.7, 0.46), (0.2, 0.48)], WHITE);
    pen.poly(&[(-0.06, 0.5), (-0.42, 0.18), (-0.2, 0.16), (0.26, 0.5)], WHITE);
    for x in [-0.3, -0.12, 0.06, 0.24] {
        pen.oval(x, 0.57, 0.038, 0.04, rgb(150, 204, 226));
    }
    pen.blob(&[(0.42, 0.64), (0.4, 0.55), (0.58, 0.54), (0.56, 0.62)], rgb(150, 204, 226));
}

fn car(pen: &mut Pen<'_, '_>, paint: Option<Hue>, rng: &mut Rng) {
    let body = paint.unwrap_or_else(|| rng.pick(&[rgb(236, 178, 62), rgb(220, 84, 72), rgb(86, 160, 176)]));
    pen.poly(&[(-0.6, 0.5), (-0.42, 0.92), (0.3, 0.92), (0.56, 0.5)], body);
    pen.poly(&[(-0.48, 0.54), (-0.36, 0.83), (-0.08, 0.83), (-0.08, 0.54)], rgb(178, 218, 232));
    pen.poly(&[(0.0, 0.54), (0.0, 0.83), (0.25, 0.83), (0.42, 0.54)], rgb(178, 218, 232));
    pen.poly(&[(-0.92, 0.16), (-0.92, 0.46), (-0.84, 0.54), (0.86, 0.54), (0.96, 0.4), (0.96, 0.16)], body);
    pen.rect(-0.94, 0.14, 0.98, 0.24, WHITE.darker(0.12));
    for x in [-0.52, 0.54] {
        pen.oval(x, 0.17, 0.19, 0.19, DARK);
        pen.oval(x, 0.17, 0.09, 0.09, WHITE.darker(0.1));
    }
    pen.oval(0.9, 0.4, 0.06, 0.06, LAMP);
}

fn snowman(pen: &mut Pen<'_, '_>) {
    let snow = rgb(248, 251, 255);
    for (side, end) in [(-1.0, 0.62), (1.0, 0.7)] {
        pen.line(&[(side * 0.2, 0.52), (side * 0.46, end)], 0.03, WOOD);
    }
    pen.oval(0.0, 0.22, 0.3, 0.25, snow);
    pen.oval(0.0, 0.54, 0.22, 0.19, snow);
    pen.oval(0.0, 0.8, 0.16, 0.15, snow);
    pen.line(&[(-0.14, 0.69), (0.0, 0.665), (0.14, 0.69)], 0.055, rgb(214, 70, 66));
    pen.poly(&[(0.06, 0.68), (0.16, 0.5), (0.08, 0.48)], rgb(214, 70, 66));
    for x in [-0.055, 0.055] {
        pen.oval(x, 0.84, 0.02, 0.024, DARK);
    }
    pen.poly(&[(0.0, 0.81), (0.2, 0.775), (0.0, 0.77)], rgb(244, 142, 54));
    for y in [0.5, 0.58] {
        pen.oval(0.0, y, 0.02, 0.02, DARK);
    }
    pen.rect(-0.18, 0.91, 0.18, 0.94, DARK);
    pen.rect(-0.11, 0.93, 0.11, 1.1, DARK);
    pen.rect(-0.11, 0.95, 0.11, 0.985, rgb(214, 70, 66));
}

fn campfire(pen: &mut Pen<'_, '_>) {
    pen.halo(0.0, 0.4, 1.1, glow(255, 170, 80), 0.4);
    pen.line(&[(-0.5, 0.02), (0.4, 0.2)], 0.13, WOOD.darker(0.15));
    pen.line(&[(0.5, 0.02), (-0.4, 0.2)], 0.13, WOOD);
    pen.blob(
        &[(-0.34, 0.2), (-0.3, 0.5), (-0.12, 0.66), (0.02, 1.0), (0.16, 0.62), (0.32, 0.46), (0.32, 0.2), (0.0, 0.1)],
        glow(246, 122, 50),
    );
    pen.blob(&[(-0.18, 0.18), (-0.14, 0.42), (0.02, 0.7), (0.16, 0.4), (0.18, 0.18), (0.0, 0.12)], glow(255, 214, 100));
}

fn robot(pen: &mut Pen<'_, '_>, paint: Option<Hue>) {
    let metal = paint.unwrap_or(rgb(126, 178, 192));
    for side in [-1.0, 1.0] {
        pen.rect(side * 0.15 - 0.06, 0.0, side * 0.15 + 0.06, 0.2, metal.darker(0.35));
        pen.oval(side * 0.16, 0.03, 0.11, 0.05, DARK);
        pen.line(&[(side * 0.28, 0.48), (side * 0.42, 0.36), (side * 0.4, 0.22)], 0.07, metal.darker(0.3));
        pen.oval(side * 0.4, 0.2, 0.06, 0.06, rgb(244, 170, 72));
    }
    pen.rect(-0.28, 0.17, 0.28, 0.54, metal);
    pen.rect(-0.16, 0.26, 0.16, 0.44, metal.darker(0.4));
    for (x, hue) in [(-0.08, rgb(240, 98, 84)), (0.0, rgb(250, 206, 96)), (0.08, rgb(130, 206, 130))] {
        pen.oval(x, 0.36, 0.03, 0.03, hue);
    }
    pen.line(&[(0.0, 0.9), (0.0, 1.02)], 0.025, DARK);
    pen.oval(0.0, 1.04, 0.05, 0.05, rgb(240, 98, 84));
    pen.blob(
        &[(-0.3, 0.6), (-0.31, 0.84), (-0.2, 0.93), (0.2, 0.93), (0.31, 0.84), (0.3, 0.6), (0.2, 0.56), (-0.2, 0.56)],
        metal.lighter(0.18),
    );
    for x in [-0.12, 0.12] {
        pen.oval(x, 0.77, 0.08, 0.08, WHITE);
        pen.oval(x + 0.015, 0.77, 0.042, 0.045, DARK);
    }
    pen.line(&[(-0.09, 0.65), (0.0, 0.625), (0.09, 0.65)], 0.026, DARK);
}
