//! What people built. Coordinates: the ground is y = 0, the whole thing about 1 high.

use super::{
    hue::{DARK, Hue, LAMP, WHITE, WOOD, rgb},
    noise::Rng,
    pen::Pen,
};

const STONE: Hue = rgb(186, 180, 184);
const ROOF: Hue = rgb(196, 84, 66);
const GLASS: Hue = rgb(146, 186, 206);

/// A window: lit in the dark.
fn window(pen: &mut Pen<'_, '_>, x: f32, y: f32, w: f32, h: f32) {
    let pane = if pen.painter.palette.dark { LAMP } else { GLASS };
    pen.rect(x - w, y - h, x + w, y + h, pane);
}

pub(super) fn house(pen: &mut Pen<'_, '_>, paint: Option<Hue>, rng: &mut Rng) {
    let wall = paint.unwrap_or_else(|| rng.pick(&[rgb(250, 232, 206), rgb(238, 206, 170), rgb(222, 228, 224)]));
    let roof = rng.pick(&[ROOF, rgb(98, 108, 144), rgb(178, 106, 70), rgb(84, 128, 124)]);
    pen.rect(0.26, 0.62, 0.38, 0.98, rgb(170, 110, 92));
    pen.rect(-0.52, 0.0, 0.52, 0.5, wall);
    pen.rect(0.2, 0.0, 0.52, 0.5, wall.darker(0.1));
    pen.poly(&[(-0.64, 0.46), (-0.4, 0.9), (0.4, 0.9), (0.64, 0.46)], roof);
    pen.poly(&[(-0.1, 0.46), (0.2, 0.98), (0.5, 0.46)], wall.darker(0.04));
    pen.line(&[(-0.15, 0.42), (0.2, 1.0)], 0.05, roof.darker(0.15));
    pen.line(&[(0.2, 1.0), (0.55, 0.42)], 0.05, roof.darker(0.15));
    pen.rect(0.1, 0.0, 0.3, 0.34, WOOD);
    window(pen, -0.32, 0.26, 0.08, 0.09);
    window(pen, 0.2, 0.62, 0.06, 0.07);
}

pub(super) fn lighthouse(pen: &mut Pen<'_, '_>, paint: Option<Hue>, _dice: &mut Rng) {
    let stripe = paint.unwrap_or(rgb(214, 72, 60));
    let side = |y: f32| 0.115 - y * 0.055;
    // A keeper's cottage first: it stands behind.
    pen.rect(0.06, 0.0, 0.36, 0.13, WHITE.darker(0.05));
    pen.poly(&[(0.03, 0.12), (0.09, 0.23), (0.33, 0.23), (0.39, 0.12)], stripe.darker(0.1));
    window(pen, 0.26, 0.07, 0.025, 0.03);
    for band in 0..5 {
        let (low, high) = (band as f32 * 0.15, band as f32 * 0.15 + 0.15);
        let hue = if band % 2 == 0 { WHITE } else { stripe };
        pen.poly(&[(-side(low), low), (side(low), low), (side(high), high), (-side(high), high)], hue);
        let inner = |y: f32| side(y) * 0.4;
        pen.poly(&[(inner(low), low), (side(low), low), (side(high), high), (inner(high), high)], hue.darker(0.14));
    }
    window(pen, -0.02, 0.37, 0.014, 0.026);
    window(pen, -0.02, 0.62, 0.012, 0.024);
    pen.rect(-0.1, 0.74, 0.1, 0.77, DARK);
    pen.halo(0.0, 0.83, 0.32, LAMP, 0.55);
    pen.rect(-0.055, 0.77, 0.055, 0.88, LAMP);
    pen.rect(-0.006, 0.77, 0.006, 0.88, DARK);
    pen.blob(&[(-0.08, 0.875), (-0.04, 0.945), (0.0, 0.965), (0.04, 0.945), (0.08, 0.875)], stripe.darker(0.1));
    pen.line(&[(0.0, 0.96), (0.0, 1.02)], 0.012, DARK);
}

pub(super) fn castle(pen: &mut Pen<'_, '_>, paint: Option<Hue>, rng: &mut Rng) {
    let wall = paint.unwrap_or(rgb(214, 204, 206));
    let roof = rng.pick(&[rgb(92, 106, 160), ROOF, rgb(128, 92, 150)]);
    for (x, half, top) in [(-0.12, 0.1, 0.78), (0.17, 0.07, 0.68)] {
        tower(pen, x, half, top, wall.darker(0.12), roof.darker(0.08));
    }
    pen.rect(-0.46, 0.0, 0.46, 0.38, wall);
    for n in 0..9 {
        let x = -0.46 + n as f32 * 0.104;
        pen.rect(x, 0.37, x + 0.06, 0.43, wall);
    }
    tower(pen, -0.5, 0.09, 0.58, wall.darker(0.05), roof);
    tower(pen, 0.5, 0.09, 0.54, wall.darker(0.05), roof);
    pen.blob(&[(-0.11, -0.01), (-0.11, 0.16), (0.0, 0.25), (0.11, 0.16), (0.11, -0.01)], WOOD.darker(0.25));
    for x in [-0.3, 0.3] {
        window(pen, x, 0.2, 0.025, 0.05);
    }
}

fn tower(pen: &mut Pen<'_, '_>, x: f32, half: f32, top: f32, wall: Hue, roof: Hue) {
    pen.rect(x - half, 0.0, x + half, top, wall);
    pen.rect(x + half * 0.35, 0.0, x + half, top, wall.darker(0.1));
    pen.poly(&[(x - half * 1.35, top - 0.01), (x, top + half * 2.7), (x + half * 1.35, top - 0.01)], roof);
    window(pen, x, top - 0.12, 0.02, 0.04);
    let tip = top + half * 2.7;
    pen.line(&[(x, tip), (x, tip + 0.08)], 0.01, DARK);
    pen.poly(&[(x, tip + 0.08), (x + 0.08, tip + 0.055), (x, tip + 0.03)], rgb(226, 92, 74));
}

pub(super) fn barn(pen: &mut Pen<'_, '_>, paint: Option<Hue>, snowy: bool) {
    let wall = paint.unwrap_or(rgb(188, 62, 52));
    let roof = if snowy { rgb(240, 246, 252) } else { rgb(104, 96, 104) };
    // A silo beside it.
    pen.rect(0.56, 0.0, 0.78, 0.78, STONE.lighter(0.2));
    pen.rect(0.7, 0.0, 0.78, 0.78, STONE);
    pen.blob(&[(0.54, 0.77), (0.58, 0.88), (0.67, 0.93), (0.76, 0.88), (0.8, 0.77)], roof.darker(0.06));
    pen.rect(0.1, 0.0, 0.62, 0.42, wall.darker(0.14));
    pen.poly(&[(0.0, 0.82), (0.46, 0.82), (0.58, 0.66), (0.66, 0.4), (0.3, 0.4)], roof);
    let front = [(-0.5, 0.0), (-0.5, 0.42), (-0.36, 0.66), (-0.06, 0.82), (0.2, 0.66), (0.34, 0.42), (0.34, 0.0)];
    pen.poly(&front, wall);
    for pair in front[1..6].windows(2) {
        pen.line(&[pair[0], pair[1]], 0.055, roof);
    }
    pen.rect(-0.3, 0.0, 0.14, 0.34, WHITE);
    pen.rect(-0.275, 0.0, 0.115, 0.315, wall.darker(0.12));
    pen.line(&[(-0.275, 0.0), (0.115, 0.315)], 0.024, WHITE);
    pen.line(&[(0.115, 0.0), (-0.275, 0.315)], 0.024, WHITE);
    pen.rect(-0.16, 0.46, 0.0, 0.6, WHITE);
    window(pen, -0.08, 0.53, 0.055, 0.048);
}

pub(super) fn windmill(pen: &mut Pen<'_, '_>, paint: Option<Hue>, rng: &mut Rng) {
    let wall = paint.unwrap_or(rgb(246, 236, 216));
    pen.poly(&[(-0.19, 0.0), (-0.12, 0.6), (0.12, 0.6), (0.19, 0.0)], wall);
    pen.poly(&[(0.06, 0.0), (0.05, 0.6), (0.12, 0.6), (0.19, 0.0)], wall.darker(0.12));
    pen.blob(&[(-0.15, 0.59), (-0.1, 0.72), (0.0, 0.77), (0.1, 0.72), (0.15, 0.59)], ROOF);
    pen.blob(&[(-0.055, -0.01), (-0.055, 0.13), (0.0, 0.17), (0.055, 0.13), (0.055, -0.01)], WOOD);
    window(pen, -0.03, 0.38, 0.025, 0.035);
    let turn = rng.between(0.2, 1.2);
    for blade in 0..4 {
        let (sin, cos) = (turn + blade as f32 * std::f32::consts::FRAC_PI_2).sin_cos();
        let at = |along: f32, aside: f32| (cos * along - sin * aside, 0.64 + sin * along + cos * aside);
        pen.poly(&[at(0.08, 0.015), at(0.44, 0.015), at(0.44, 0.105), at(0.08, 0.085)], rgb(250, 244, 230));
        pen.line(&[at(0.0, 0.0), at(0.46, 0.0)], 0.018, WOOD.darker(0.2));
    }
    pen.oval(0.0, 0.64, 0.03, 0.03, DARK);
}

pub(super) fn bridge(pen: &mut Pen<'_, '_>, paint: Option<Hue>) {
    let stone = paint.unwrap_or(rgb(198, 176, 160));
    let deck = |x: f32| 0.3 + 0.12 * (1.0 - x * x / 1.7);
    let mut outline = vec![(-1.3, -0.06), (-1.3, deck(-1.3))];
    outline.extend((-12..=12).map(|n| n as f32 * 1.3 / 12.0).map(|x| (x, deck(x) + 0.04)));
    outline.extend([(1.3, deck(1.3)), (1.3, -0.06)]);
    for centre in [0.86, 0.0, -0.86] {
        outline.extend((0..=10).map(|n| {
            let (sin, cos) = (n as f32 * std::f32::consts::PI / 10.0).sin_cos();
            (centre + cos * 0.32, -0.06 + sin * (deck(centre) - 0.02))
        }));
    }
    pen.poly(&outline, stone);
    let rail: Vec<_> = (-12..=12).map(|n| n as f32 * 1.3 / 12.0).map(|x| (x, deck(x) + 0.05)).collect();
    pen.line(&rail, 0.05, stone.darker(0.22));
    for x in [-0.43, 0.43] {
        pen.line(&[(x, deck(x) + 0.05), (x, deck(x) + 0.26)], 0.016, DARK);
        pen.oval(x, deck(x) + 0.28, 0.028, 0.034, if pen.painter.palette.dark { LAMP } else { WHITE });
    }
}

pub(super) fn church(pen: &mut Pen<'_, '_>, paint: Option<Hue>, rng: &mut Rng) {
    let wall = paint.unwrap_or(rgb(244, 238, 226));
    let roof = rng.pick(&[rgb(98, 108, 144), ROOF, rgb(84, 122, 116)]);
    pen.rect(-0.1, 0.0, 0.5, 0.32, wall.darker(0.06));
    pen.poly(&[(-0.1, 0.31), (0.0, 0.52), (0.44, 0.52), (0.55, 0.31)], roof);
    for x in [0.1, 0.26, 0.42] {
        window(pen, x, 0.17, 0.025, 0.06);
    }
    pen.rect(-0.32, 0.0, -0.06, 0.6, wall);
    pen.rect(-0.14, 0.0, -0.06, 0.6, wall.darker(0.1));
    pen.poly(&[(-0.36, 0.59), (-0.19, 0.96), (-0.02, 0.59)], roof.darker(0.06));
    pen.oval(-0.2, 0.48, 0.055, 0.055, rgb(250, 222, 150));
    pen.blob(&[(-0.26, -0.01), (-0.26, 0.14), (-0.2, 0.2), (-0.14, 0.14), (-0.14, -0.01)], WOOD);
    pen.line(&[(-0.19, 0.95), (-0.19, 1.08)], 0.016, DARK);
    pen.line(&[(-0.23, 1.03), (-0.15, 1.03)], 0.016, DARK);
}

pub(super) fn tent(pen: &mut Pen<'_, '_>, paint: Option<Hue>) {
    let cloth = paint.unwrap_or(rgb(240, 152, 62));
    pen.poly(&[(-0.2, 0.9), (0.3, 0.94), (1.0, 0.0), (0.4, 0.0)], cloth.darker(0.16));
    pen.poly(&[(-0.9, 0.0), (-0.2, 0.92), (0.5, 0.0)], cloth);
    let inside = if pen.painter.palette.dark { LAMP } else { cloth.darker(0.55) };
    pen.poly(&[(-0.42, 0.0), (-0.2, 0.66), (0.06, 0.0)], inside);
    pen.line(&[(-0.2, 0.92), (-0.2, 1.02)], 0.03, WOOD);
    pen.line(&[(-0.9, 0.0), (-1.06, -0.04)], 0.02, WOOD);
}

pub(super) fn igloo(pen: &mut Pen<'_, '_>) {
    let ice = rgb(226, 240, 252);
    pen.blob(&[(-0.8, -0.04), (-0.78, 0.3), (-0.46, 0.74), (0.0, 0.88), (0.46, 0.74), (0.78, 0.3), (0.8, -0.04)], ice);
    for (y, reach) in [(0.28, 0.76), (0.54, 0.62)] {
        pen.line(&[(-reach, y), (0.0, y + 0.06), (reach, y)], 0.012, ice.darker(0.25));
    }
    pen.blob(&[(-0.36, -0.06), (-0.36, 0.28), (0.0, 0.5), (0.36, 0.28), (0.36, -0.06)], ice.darker(0.12));
    let inside = if pen.painter.palette.dark { LAMP } else { ice.darker(0.7) };
    pen.blob(&[(-0.22, -0.06), (-0.22, 0.2), (0.0, 0.34), (0.22, 0.2), (0.22, -0.06)], inside);
}

pub(super) fn pyramid(pen: &mut Pen<'_, '_>, paint: Option<Hue>) {
    let stone = paint.unwrap_or(rgb(238, 198, 124));
    for (x, s) in [(0.86, 0.62), (0.0, 1.0)] {
        pen.poly(&[(x - 0.9 * s, 0.0), (x, 0.92 * s), (x + 0.24 * s, 0.0)], stone);
        pen.poly(&[(x + 0.24 * s, 0.0), (x, 0.92 * s), (x + 0.9 * s, 0.0)], stone.darker(0.24));
        for row in [0.22, 0.44, 0.66] {
            let reach = 0.9 * s * (1.0 - row / 0.92);
            pen.line(&[(x - reach, row * s), (x + reach * 0.26, row * s)], 0.01, stone.darker(0.16));
        }
    }
}

/// A tall building, 1 high and `half * 2` wide, with windows of which some are lit.
pub(super) fn tower_block(pen: &mut Pen<'_, '_>, half: f32, wall: Hue, detail: bool, rng: &mut Rng) {
    let top = rng.pick(&[0, 1, 2, 3]);
    pen.rect(-half, -0.05, half, 0.94, wall);
    pen.rect(half * 0.4, -0.05, half, 0.94, wall.darker(0.14));
    match top {
        0 => pen.rect(-half * 0.5, 0.93, half * 0.5, 1.0, wall.darker(0.06)),
        1 => pen.poly(&[(-half, 0.93), (half, 0.93), (half, 1.04)], wall.darker(0.06)),
        2 => {
            pen.rect(-half * 0.6, 0.93, half * 0.6, 0.98, wall);
            pen.line(&[(0.0, 0.98), (0.0, 1.12)], half * 0.08, DARK);
        }
        _ => {}
    }
    if !detail {
        return;
    }
    let dark = pen.painter.palette.dark;
    let columns = ((half * 20.0) as usize).clamp(2, 4);
    let rows = 9;
    let (step_x, step_y) = (2.0 * half / columns as f32, 0.86 / rows as f32);
    for row in 0..rows {
        for column in 0..columns {
            let (x, y) = (-half + (column as f32 + 0.5) * step_x, 0.08 + row as f32 * step_y);
            let pane = match (dark, rng.chance(0.55)) {
                (true, true) => rng.pick(&[LAMP, LAMP.mix(rgb(255, 170, 90), 0.4), LAMP.mix(rgb(255, 250, 230), 0.5)]),
                (true, false) => wall.darker(0.4),
                (false, lit) => GLASS.mix(wall, if lit { 0.1 } else { 0.45 }),
            };
            pen.rect(x - step_x * 0.27, y - step_y * 0.28, x + step_x * 0.27, y + step_y * 0.28, pane);
        }
    }
}
