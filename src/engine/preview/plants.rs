//! Plants. Coordinates: the ground is y = 0, a full-grown plant 1 high.

use super::{
    hue::{Hue, WHITE, WOOD, rgb},
    noise::Rng,
    pen::Pen,
    words::Season,
};

pub(super) fn pine(pen: &mut Pen<'_, '_>, needles: Hue, snowy: bool, rng: &mut Rng) {
    let width = rng.between(0.24, 0.32);
    pen.rect(-0.035, -0.02, 0.035, 0.2, WOOD.darker(0.1));
    for (n, (low, high, part)) in [(0.12, 0.52, 1.0), (0.34, 0.76, 0.78), (0.58, 1.0, 0.54)].into_iter().enumerate() {
        let half = width * part;
        let hue = needles.lighter(n as f32 * 0.05);
        pen.poly(&[(-half, low), (0.0, high), (half, low), (half * 0.4, low + 0.025), (-half * 0.4, low + 0.025)], hue);
        pen.poly(&[(half * 0.15, low + 0.02), (0.0, high), (half, low)], hue.darker(0.14));
        if snowy {
            let cap = |x: f32, y: f32| (x * half, high + (low - high) * y);
            pen.poly(
                &[cap(-0.55, 0.55), cap(0.0, 0.0), cap(0.55, 0.55), cap(0.2, 0.46), cap(0.0, 0.6), cap(-0.25, 0.44)],
                WHITE,
            );
        }
    }
}

pub(super) fn oak(pen: &mut Pen<'_, '_>, leaves: Hue, season: Season, rng: &mut Rng) {
    let trunk = WOOD.darker(0.08);
    pen.poly(&[(-0.06, -0.02), (-0.035, 0.5), (0.035, 0.5), (0.06, -0.02)], trunk);
    pen.line(&[(0.0, 0.34), (0.12, 0.5), (0.2, 0.62)], 0.035, trunk);
    pen.line(&[(0.0, 0.4), (-0.1, 0.54), (-0.2, 0.6)], 0.03, trunk);
    if season == Season::Winter {
        for (x, y) in [(-0.3, 0.78), (-0.12, 0.9), (0.08, 0.96), (0.28, 0.82)] {
            pen.line(&[(x * 0.2, 0.46), (x * 0.7, y * 0.8), (x, y)], 0.022, trunk);
            pen.line(&[(x * 0.6, y * 0.76), (x * 1.3, y * 0.86)], 0.014, trunk);
        }
        return;
    }
    let crown = |x: f32, y: f32, r: f32, rng: &mut Rng| -> Vec<(f32, f32)> {
        (0..9)
            .map(|n| {
                let (sin, cos) = (n as f32 / 9.0 * std::f32::consts::TAU).sin_cos();
                let out = r * rng.between(0.9, 1.1);
                (x + cos * out * 1.12, y + sin * out)
            })
            .collect()
    };
    for (x, y, r, shade) in
        [(0.17, 0.6, 0.2, 0.18), (-0.18, 0.62, 0.2, 0.08), (0.02, 0.74, 0.26, 0.0), (-0.08, 0.8, 0.13, -0.14)]
    {
        let hue = if shade < 0.0 { leaves.lighter(-shade) } else { leaves.darker(shade) };
        let points = crown(x, y, r, rng);
        pen.blob(&points, hue);
    }
}

pub(super) fn palm(pen: &mut Pen<'_, '_>, leaves: Hue) {
    pen.line(&[(0.0, -0.02), (0.05, 0.4), (0.16, 0.78)], 0.055, WOOD.lighter(0.12));
    for (dx, dy, bend) in [
        (-0.36, 0.02, 0.16),
        (-0.28, -0.2, 0.14),
        (0.36, 0.0, 0.16),
        (0.28, -0.22, 0.14),
        (-0.12, 0.2, 0.1),
        (0.2, 0.18, 0.1),
    ] {
        let (x, y) = (0.16, 0.79);
        let middle = (x + dx * 0.55, y + dy * 0.5 + bend);
        let under = (x + dx * 0.5, y + dy * 0.5 + bend * 0.35);
        pen.blob(
            &[(x, y + 0.01), middle, (x + dx, y + dy), under],
            if dy < -0.1 { leaves.darker(0.16) } else { leaves },
        );
    }
    for (x, y) in [(0.13, 0.755), (0.19, 0.745)] {
        pen.oval(x, y, 0.03, 0.03, WOOD.darker(0.2));
    }
}

pub(super) fn cactus(pen: &mut Pen<'_, '_>, paint: Option<Hue>, rng: &mut Rng) {
    let skin = paint.unwrap_or(rgb(84, 150, 98));
    let (left, right) = (rng.between(0.36, 0.5), rng.between(0.26, 0.42));
    pen.line(&[(0.0, left), (-0.2, left + 0.02), (-0.22, left + 0.14), (-0.22, left + 0.28)], 0.12, skin.darker(0.08));
    pen.line(&[(0.0, right), (0.2, right + 0.02), (0.22, right + 0.1), (0.22, right + 0.22)], 0.11, skin.darker(0.14));
    pen.line(&[(0.0, -0.02), (0.0, 0.5), (0.0, 0.92)], 0.18, skin);
    for x in [-0.035, 0.035] {
        pen.line(&[(x, 0.06), (x, 0.86)], 0.012, skin.lighter(0.3));
    }
    pen.oval(0.0, 1.0, 0.05, 0.035, rgb(240, 110, 140));
    pen.oval(-0.22, left + 0.34, 0.036, 0.026, rgb(240, 110, 140));
}

pub(super) fn flower(pen: &mut Pen<'_, '_>, paint: Option<Hue>, rng: &mut Rng) {
    let petals = paint.unwrap_or_else(|| {
        rng.pick(&[rgb(240, 104, 104), rgb(250, 188, 72), rgb(238, 140, 180), rgb(150, 116, 204), rgb(252, 246, 236)])
    });
    let lean = rng.between(-0.1, 0.1);
    let stem = rgb(84, 144, 82);
    pen.line(&[(0.0, -0.02), (lean * 0.4, 0.4), (lean, 0.8)], 0.045, stem);
    pen.blob(&[(lean * 0.2, 0.18), (0.16, 0.36), (0.3, 0.4), (0.2, 0.24)], stem.lighter(0.1));
    if rng.chance(0.4) {
        let cup = [
            (-0.15, 0.78),
            (-0.17, 1.02),
            (-0.07, 0.92),
            (0.0, 1.06),
            (0.07, 0.92),
            (0.17, 1.02),
            (0.15, 0.78),
            (0.0, 0.68),
        ];
        pen.poly(&cup.map(|(x, y)| (x + lean, y)), petals);
        return;
    }
    for n in 0..6 {
        let (sin, cos) = (n as f32 / 6.0 * std::f32::consts::TAU).sin_cos();
        pen.oval(lean + cos * 0.12, 0.86 + sin * 0.12, 0.085, 0.085, petals);
    }
    pen.oval(lean, 0.86, 0.075, 0.075, rgb(246, 190, 80));
}

pub(super) fn mushroom(pen: &mut Pen<'_, '_>, paint: Option<Hue>) {
    let cap = paint.unwrap_or(rgb(216, 70, 58));
    pen.blob(&[(-0.16, 0.0), (-0.11, 0.3), (-0.12, 0.56), (0.12, 0.56), (0.11, 0.3), (0.16, 0.0)], rgb(246, 236, 216));
    pen.blob(&[(-0.46, 0.5), (-0.36, 0.8), (0.0, 0.98), (0.36, 0.8), (0.46, 0.5), (0.0, 0.42)], cap);
    for (x, y, r) in [(-0.22, 0.68, 0.07), (0.04, 0.82, 0.08), (0.25, 0.64, 0.06), (0.0, 0.6, 0.045)] {
        pen.oval(x, y, r, r * 0.8, WHITE);
    }
}

/// A tuft of grass or reeds.
pub(super) fn tuft(pen: &mut Pen<'_, '_>, hue: Hue, rng: &mut Rng) {
    for _ in 0..5 {
        let (x, lean, high) = (rng.between(-0.4, 0.4), rng.between(-0.4, 0.4), rng.between(0.5, 1.0));
        pen.poly(&[(x - 0.07, -0.05), (x + lean, high), (x + 0.07, -0.05)], hue);
    }
}

pub(super) fn rock(pen: &mut Pen<'_, '_>, hue: Hue, rng: &mut Rng) {
    let top = rng.between(0.4, 0.6);
    pen.poly(&[(-0.6, -0.06), (-0.44, top * 0.7), (-0.1, top), (0.3, top * 0.8), (0.6, -0.06)], hue);
    pen.poly(&[(0.08, -0.06), (-0.1, top), (0.3, top * 0.8), (0.6, -0.06)], hue.darker(0.16));
}
