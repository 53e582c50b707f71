//! Animals, looking to the right or at us. Coordinates: the ground is y = 0, the whole animal about 1 high.

use super::{
    hue::{DARK, Hue, WHITE, rgb},
    noise::Rng,
    pen::Pen,
};

const PINK: Hue = rgb(238, 160, 160);
const BEAK: Hue = rgb(244, 166, 58);

fn eye(pen: &mut Pen<'_, '_>, x: f32, y: f32, r: f32) {
    pen.oval(x, y, r, r * 1.15, rgb(40, 36, 48));
    pen.oval(x + r * 0.3, y + r * 0.4, r * 0.36, r * 0.36, WHITE);
}

pub(super) fn cat(pen: &mut Pen<'_, '_>, paint: Option<Hue>, rng: &mut Rng) {
    let fur = paint.unwrap_or_else(|| rng.pick(&[rgb(232, 148, 76), rgb(92, 92, 112), rgb(206, 172, 140)]));
    let tail = [(-0.2, 0.1), (-0.44, 0.08), (-0.56, 0.26), (-0.46, 0.46), (-0.54, 0.58)];
    pen.line(&tail, 0.1, fur.darker(0.1));
    pen.blob(&[(-0.3, 0.0), (-0.32, 0.22), (-0.2, 0.5), (0.0, 0.6), (0.2, 0.5), (0.3, 0.22), (0.26, 0.0)], fur);
    pen.blob(&[(-0.1, 0.06), (-0.12, 0.3), (0.0, 0.48), (0.12, 0.3), (0.1, 0.06)], fur.lighter(0.55));
    for x in [-0.12, 0.12] {
        pen.oval(x, 0.05, 0.1, 0.06, fur.lighter(0.3));
    }
    for side in [-1.0, 1.0] {
        pen.poly(&[(side * 0.27, 0.78), (side * 0.25, 1.06), (side * 0.06, 0.92)], fur);
        pen.poly(&[(side * 0.22, 0.84), (side * 0.22, 0.98), (side * 0.12, 0.91)], PINK);
    }
    pen.oval(0.0, 0.73, 0.29, 0.24, fur);
    for y in [0.9, 0.86] {
        pen.line(&[(-0.06, y), (0.06, y)], 0.02, fur.darker(0.25));
    }
    pen.oval(0.0, 0.65, 0.13, 0.09, fur.lighter(0.6));
    eye(pen, -0.12, 0.75, 0.042);
    eye(pen, 0.12, 0.75, 0.042);
    pen.poly(&[(-0.03, 0.69), (0.03, 0.69), (0.0, 0.655)], PINK.darker(0.15));
    for side in [-1.0, 1.0] {
        for lift in [0.0, 0.05] {
            pen.line(&[(side * 0.12, 0.65 + lift * 0.4), (side * 0.34, 0.62 + lift * 1.6)], 0.008, WHITE.darker(0.12));
        }
    }
}

pub(super) fn dog(pen: &mut Pen<'_, '_>, paint: Option<Hue>, rng: &mut Rng) {
    let fur = paint.unwrap_or_else(|| rng.pick(&[rgb(206, 150, 94), rgb(150, 108, 76), rgb(236, 214, 180)]));
    pen.line(&[(-0.24, 0.14), (-0.44, 0.26), (-0.5, 0.46)], 0.08, fur.darker(0.08));
    pen.blob(&[(-0.28, 0.0), (-0.3, 0.24), (-0.16, 0.52), (0.0, 0.6), (0.18, 0.52), (0.28, 0.24), (0.26, 0.0)], fur);
    pen.oval(0.0, 0.3, 0.12, 0.2, fur.lighter(0.5));
    for x in [-0.13, 0.13] {
        pen.oval(x, 0.05, 0.11, 0.06, fur.lighter(0.25));
    }
    pen.oval(0.0, 0.74, 0.25, 0.25, fur);
    for side in [-1.0, 1.0] {
        let ear = [(0.16, 0.95), (0.3, 0.9), (0.36, 0.68), (0.3, 0.54), (0.22, 0.66)];
        pen.blob(&ear.map(|(x, y)| (x * side, y)), fur.darker(0.28));
        eye(pen, side * 0.1, 0.78, 0.04);
    }
    pen.oval(0.0, 0.64, 0.15, 0.11, fur.lighter(0.6));
    pen.oval(0.0, 0.69, 0.05, 0.036, DARK);
    pen.blob(&[(-0.03, 0.6), (0.03, 0.6), (0.035, 0.53), (0.0, 0.5), (-0.035, 0.53)], rgb(232, 118, 118));
    pen.line(&[(-0.15, 0.53), (0.0, 0.49), (0.15, 0.53)], 0.045, rgb(206, 70, 64));
}

pub(super) fn fox(pen: &mut Pen<'_, '_>, paint: Option<Hue>) {
    let fur = paint.unwrap_or(rgb(230, 116, 48));
    pen.blob(&[(-0.2, 0.04), (-0.5, 0.0), (-0.78, 0.2), (-0.8, 0.52), (-0.66, 0.6), (-0.52, 0.36), (-0.26, 0.26)], fur);
    pen.blob(&[(-0.8, 0.42), (-0.86, 0.6), (-0.72, 0.74), (-0.62, 0.58), (-0.68, 0.44)], WHITE);
    pen.blob(&[(-0.28, 0.0), (-0.3, 0.26), (-0.14, 0.52), (0.04, 0.58), (0.2, 0.5), (0.26, 0.2), (0.22, 0.0)], fur);
    pen.blob(&[(-0.06, 0.12), (-0.06, 0.36), (0.06, 0.54), (0.18, 0.36), (0.16, 0.12)], WHITE);
    for x in [-0.04, 0.16] {
        pen.rect(x - 0.045, 0.0, x + 0.045, 0.16, DARK.mix(fur, 0.2));
    }
    for side in [-1.0, 1.0] {
        let x = |x: f32| 0.06 + side * x;
        pen.poly(&[(x(0.28), 0.76), (x(0.26), 1.1), (x(0.06), 0.9)], fur.darker(0.08));
        pen.poly(&[(x(0.24), 0.84), (x(0.235), 1.0), (x(0.13), 0.9)], DARK);
    }
    pen.blob(&[(-0.26, 0.8), (-0.02, 0.94), (0.14, 0.94), (0.38, 0.8), (0.24, 0.62), (0.06, 0.5), (-0.12, 0.62)], fur);
    for side in [-1.0, 1.0] {
        let x = |x: f32| 0.06 + side * x;
        pen.blob(&[(x(0.3), 0.78), (x(0.12), 0.74), (x(0.01), 0.56), (x(0.16), 0.6)], WHITE);
        eye(pen, x(0.12), 0.78, 0.038);
    }
    pen.oval(0.06, 0.54, 0.042, 0.034, DARK);
}

pub(super) fn rabbit(pen: &mut Pen<'_, '_>, paint: Option<Hue>) {
    let fur = paint.unwrap_or(rgb(214, 190, 168));
    pen.oval(-0.32, 0.14, 0.1, 0.1, WHITE);
    pen.blob(&[(-0.3, 0.0), (-0.32, 0.26), (-0.14, 0.48), (0.1, 0.46), (0.26, 0.24), (0.24, 0.0)], fur);
    for (side, lean) in [(-1.0, 0.04), (1.0, 0.1)] {
        let x = |x: f32| 0.06 + side * x;
        pen.blob(
            &[(x(0.04), 0.66), (x(0.05 + lean), 0.96), (x(0.12 + lean), 1.08), (x(0.19 + lean), 0.94), (x(0.18), 0.66)],
            fur,
        );
        pen.blob(
            &[(x(0.08), 0.7), (x(0.09 + lean), 0.94), (x(0.12 + lean), 1.0), (x(0.15 + lean), 0.92), (x(0.14), 0.7)],
            PINK,
        );
    }
    pen.oval(0.06, 0.56, 0.23, 0.2, fur);
    for side in [-1.0, 1.0] {
        eye(pen, 0.06 + side * 0.1, 0.6, 0.034);
        pen.oval(0.06 + side * 0.13, 0.52, 0.04, 0.026, PINK);
    }
    pen.oval(0.06, 0.53, 0.028, 0.022, PINK.darker(0.2));
    pen.oval(0.02, 0.16, 0.13, 0.15, fur.lighter(0.55));
    for x in [-0.16, 0.18] {
        pen.oval(x, 0.04, 0.12, 0.06, fur.lighter(0.25));
    }
}

/// Birds in the air: a few strokes.
pub(super) fn flock(pen: &mut Pen<'_, '_>, hue: Hue, count: usize, rng: &mut Rng) {
    for n in 0..count {
        let (x, y) = (n as f32 * 0.55 + rng.between(-0.2, 0.2), rng.between(-0.3, 0.4));
        let (wing, lift) = (rng.between(0.16, 0.24), rng.between(0.08, 0.16));
        pen.line(&[(x - wing, y + lift * 0.6), (x - wing * 0.5, y + lift), (x, y)], 0.045, hue);
        pen.line(&[(x, y), (x + wing * 0.5, y + lift), (x + wing, y + lift * 0.6)], 0.045, hue);
    }
}

pub(super) fn bird(pen: &mut Pen<'_, '_>, paint: Option<Hue>, rng: &mut Rng) {
    let feathers = paint.unwrap_or_else(|| rng.pick(&[rgb(72, 138, 196), rgb(222, 92, 74), rgb(246, 196, 76)]));
    for x in [-0.06, 0.1] {
        pen.line(&[(x, 0.26), (x, 0.0), (x + 0.1, 0.0)], 0.03, BEAK.darker(0.2));
    }
    pen.poly(&[(-0.28, 0.42), (-0.72, 0.34), (-0.7, 0.5), (-0.26, 0.6)], feathers.darker(0.2));
    pen.blob(
        &[(-0.36, 0.44), (-0.2, 0.24), (0.1, 0.2), (0.32, 0.42), (0.36, 0.74), (0.2, 0.92), (0.0, 0.82), (-0.14, 0.64)],
        feathers,
    );
    pen.blob(&[(0.06, 0.24), (0.28, 0.42), (0.3, 0.62), (0.14, 0.58), (0.02, 0.4)], feathers.lighter(0.6));
    pen.blob(&[(-0.3, 0.46), (-0.1, 0.34), (0.08, 0.44), (0.02, 0.6), (-0.14, 0.62)], feathers.darker(0.22));
    pen.poly(&[(0.34, 0.8), (0.54, 0.72), (0.34, 0.68)], BEAK);
    eye(pen, 0.22, 0.77, 0.045);
}

pub(super) fn owl(pen: &mut Pen<'_, '_>, paint: Option<Hue>) {
    let feathers = paint.unwrap_or(rgb(150, 112, 86));
    pen.line(&[(-0.7, 0.02), (0.0, -0.03), (0.7, 0.04)], 0.1, rgb(112, 78, 58));
    for side in [-1.0, 1.0] {
        pen.poly(&[(side * 0.34, 0.82), (side * 0.36, 1.04), (side * 0.12, 0.92)], feathers.darker(0.14));
    }
    pen.blob(
        &[(-0.3, 0.06), (-0.4, 0.4), (-0.36, 0.8), (0.0, 0.94), (0.36, 0.8), (0.4, 0.4), (0.3, 0.06), (0.0, 0.0)],
        feathers,
    );
    pen.blob(&[(-0.2, 0.08), (-0.22, 0.36), (0.0, 0.5), (0.22, 0.36), (0.2, 0.08)], feathers.lighter(0.5));
    for (x, y) in [(-0.08, 0.34), (0.08, 0.34), (0.0, 0.24), (-0.1, 0.15), (0.1, 0.15)] {
        pen.line(&[(x - 0.035, y + 0.02), (x, y - 0.02), (x + 0.035, y + 0.02)], 0.02, feathers.darker(0.1));
    }
    for side in [-1.0, 1.0] {
        let wing = [(0.34, 0.6), (0.45, 0.36), (0.36, 0.1), (0.25, 0.34)];
        pen.blob(&wing.map(|(x, y)| (x * side, y)), feathers.darker(0.25));
        pen.oval(side * 0.155, 0.7, 0.15, 0.15, WHITE);
        pen.oval(side * 0.145, 0.7, 0.1, 0.1, rgb(248, 190, 60));
        eye(pen, side * 0.14, 0.7, 0.06);
        pen.oval(side * 0.1, 0.03, 0.06, 0.03, BEAK);
    }
    pen.poly(&[(-0.05, 0.64), (0.05, 0.64), (0.0, 0.53)], BEAK);
}

pub(super) fn sheep(pen: &mut Pen<'_, '_>, paint: Option<Hue>) {
    let wool = paint.unwrap_or(rgb(248, 244, 234));
    for x in [-0.34, -0.18, 0.14, 0.3] {
        pen.rect(x - 0.04, 0.0, x + 0.04, 0.3, DARK);
    }
    let (mut fleece, bumps) = (Vec::new(), 22);
    for n in 0..bumps {
        let (sin, cos) = (n as f32 / bumps as f32 * std::f32::consts::TAU).sin_cos();
        let out = if n % 2 == 0 { 1.0 } else { 0.88 };
        fleece.push((cos * 0.54 * out, 0.52 + sin * 0.34 * out));
    }
    pen.blob(&fleece, wool);
    pen.blob(&[(0.36, 0.78), (0.58, 0.82), (0.72, 0.64), (0.68, 0.46), (0.52, 0.44), (0.4, 0.58)], DARK.lighter(0.06));
    pen.blob(&[(0.4, 0.8), (0.26, 0.78), (0.3, 0.68), (0.42, 0.7)], DARK.lighter(0.12));
    pen.blob(&[(0.34, 0.86), (0.44, 0.94), (0.56, 0.9), (0.58, 0.8), (0.44, 0.76)], wool.darker(0.03));
    pen.oval(0.56, 0.68, 0.04, 0.045, WHITE);
    pen.oval(0.57, 0.68, 0.02, 0.026, DARK);
}

pub(super) fn fish(pen: &mut Pen<'_, '_>, paint: Option<Hue>, rng: &mut Rng) {
    let scales = paint.unwrap_or_else(|| rng.pick(&[rgb(240, 132, 62), rgb(86, 164, 190), rgb(236, 106, 112)]));
    pen.poly(&[(-0.4, 0.5), (-0.82, 0.8), (-0.7, 0.5), (-0.82, 0.2)], scales.darker(0.12));
    pen.blob(&[(-0.1, 0.76), (0.04, 1.0), (0.28, 0.74)], scales.darker(0.12));
    pen.blob(&[(-0.5, 0.5), (-0.14, 0.76), (0.3, 0.76), (0.64, 0.5), (0.3, 0.24), (-0.14, 0.24)], scales);
    pen.blob(&[(-0.3, 0.42), (0.1, 0.34), (0.54, 0.42), (0.28, 0.27), (-0.1, 0.28)], scales.lighter(0.5));
    for x in [-0.14, 0.06] {
        pen.line(&[(x, 0.66), (x + 0.07, 0.5), (x, 0.34)], 0.03, WHITE);
    }
    pen.blob(&[(0.08, 0.48), (-0.1, 0.36), (0.04, 0.34), (0.16, 0.42)], scales.darker(0.18));
    eye(pen, 0.42, 0.56, 0.055);
}

pub(super) fn whale(pen: &mut Pen<'_, '_>, paint: Option<Hue>) {
    let skin = paint.unwrap_or(rgb(70, 112, 154));
    pen.blob(
        &[(-0.9, 0.36), (-1.12, 0.66), (-0.98, 0.72), (-0.84, 0.56), (-0.7, 0.74), (-0.56, 0.7), (-0.74, 0.38)],
        skin.darker(0.08),
    );
    pen.blob(
        &[
            (-0.94, 0.42),
            (-0.7, 0.16),
            (-0.2, -0.06),
            (0.5, -0.06),
            (0.86, 0.16),
            (0.82, 0.46),
            (0.5, 0.64),
            (0.1, 0.62),
            (-0.4, 0.4),
            (-0.74, 0.36),
        ],
        skin,
    );
    pen.blob(&[(-0.1, -0.06), (0.3, 0.1), (0.84, 0.2), (0.76, 0.02), (0.4, -0.08)], rgb(226, 234, 238));
    for y in [0.0, 0.06] {
        pen.line(&[(0.2, y), (0.5, y + 0.05), (0.8, y + 0.1)], 0.012, skin.darker(0.05));
    }
    eye(pen, 0.56, 0.3, 0.04);
    for (x, lean) in [(0.28, -0.22), (0.3, 0.0), (0.32, 0.22)] {
        pen.line(&[(x, 0.66), (x + lean * 0.5, 0.9), (x + lean, 0.86)], 0.04, rgb(214, 238, 248));
    }
}

pub(super) fn bear(pen: &mut Pen<'_, '_>, paint: Option<Hue>) {
    let fur = paint.unwrap_or(rgb(134, 92, 66));
    pen.blob(&[(-0.34, 0.0), (-0.4, 0.3), (-0.24, 0.58), (0.0, 0.66), (0.24, 0.58), (0.4, 0.3), (0.34, 0.0)], fur);
    pen.oval(0.0, 0.28, 0.2, 0.22, fur.lighter(0.35));
    for side in [-1.0, 1.0] {
        pen.oval(side * 0.24, 0.06, 0.13, 0.09, fur.darker(0.12));
        pen.oval(side * 0.36, 0.36, 0.09, 0.17, fur.darker(0.08));
        pen.oval(side * 0.22, 0.96, 0.09, 0.09, fur);
        pen.oval(side * 0.22, 0.96, 0.05, 0.05, fur.lighter(0.4));
    }
    pen.oval(0.0, 0.78, 0.29, 0.25, fur);
    pen.oval(0.0, 0.7, 0.13, 0.1, fur.lighter(0.5));
    pen.oval(0.0, 0.74, 0.048, 0.034, DARK);
    pen.line(&[(-0.05, 0.67), (0.0, 0.65), (0.05, 0.67)], 0.016, DARK);
    for side in [-1.0, 1.0] {
        eye(pen, side * 0.12, 0.82, 0.034);
    }
}

pub(super) fn penguin(pen: &mut Pen<'_, '_>, paint: Option<Hue>) {
    let coat = paint.unwrap_or(rgb(50, 58, 82));
    for x in [-0.12, 0.12] {
        pen.oval(x, 0.02, 0.11, 0.04, BEAK);
    }
    pen.blob(
        &[(-0.24, 0.02), (-0.34, 0.34), (-0.24, 0.76), (0.0, 0.98), (0.24, 0.76), (0.34, 0.34), (0.24, 0.02)],
        coat,
    );
    pen.blob(
        &[(-0.16, 0.05), (-0.22, 0.34), (-0.12, 0.6), (0.0, 0.64), (0.12, 0.6), (0.22, 0.34), (0.16, 0.05)],
        WHITE,
    );
    for side in [-1.0, 1.0] {
        let wing = [(0.26, 0.6), (0.42, 0.34), (0.38, 0.2), (0.28, 0.32)];
        pen.blob(&wing.map(|(x, y)| (x * side, y)), coat.darker(0.2));
        pen.oval(side * 0.09, 0.76, 0.075, 0.085, WHITE);
        eye(pen, side * 0.08, 0.77, 0.034);
    }
    pen.poly(&[(-0.06, 0.72), (0.06, 0.72), (0.0, 0.63)], BEAK);
}

pub(super) fn duck(pen: &mut Pen<'_, '_>, paint: Option<Hue>) {
    let down = paint.unwrap_or(rgb(250, 214, 92));
    pen.blob(&[(-0.62, 0.5), (-0.5, 0.14), (-0.1, -0.02), (0.34, 0.06), (0.46, 0.34), (0.2, 0.5), (-0.2, 0.4)], down);
    pen.blob(&[(-0.4, 0.36), (-0.2, 0.16), (0.12, 0.18), (0.2, 0.34), (-0.06, 0.4)], down.darker(0.12));
    pen.oval(0.28, 0.66, 0.24, 0.23, down);
    pen.blob(&[(0.46, 0.7), (0.72, 0.66), (0.72, 0.58), (0.46, 0.56)], BEAK.mix(rgb(230, 90, 50), 0.3));
    eye(pen, 0.36, 0.72, 0.042);
}
