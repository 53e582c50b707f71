//! What is above and in the air: sky, sun, moon, stars, clouds, weather.

use tiny_skia::{PathBuilder, Point};

use super::{
    brush::{Painter, RenderStyle},
    curves::smooth,
    hue::{Hue, WHITE, glow, rgb},
    noise::Rng,
    words::{Brief, Setting, Time, Weather},
};

/// The sky down to the horizon and what shines in it.
pub(super) fn paint(p: &mut Painter<'_>, brief: &Brief, horizon: f32, disc_x: f32, rng: &mut Rng) {
    let (sky, bands) = (p.palette.sky, if p.style == RenderStyle::Flat { 7.0 } else { 0.0 });
    let end = horizon / p.height();
    p.rows(|y| {
        let mut t = (y / end).min(1.0);
        if bands > 0.0 {
            t = (t * bands).floor() / (bands - 1.0);
        }
        if t < 0.55 { sky[0].mix(sky[1], t / 0.55) } else { sky[1].mix(sky[2], ((t - 0.55) / 0.45).min(1.0)) }
    });
    if p.palette.dark {
        stars(p, horizon, rng);
    }
    if brief.place == Setting::Space {
        planets(p, horizon, disc_x, rng);
    } else {
        disc(p, brief, horizon, disc_x);
    }
    if brief.rainbow {
        rainbow(p, horizon);
    }
    let clouds = match (brief.weather, brief.place, brief.time) {
        (Weather::Storm | Weather::Rain, ..) => 7,
        (Weather::Cloudy, ..) => 6,
        (_, Setting::Space, _) => 0,
        (_, _, Time::Night) => 2,
        _ => 3,
    };
    clouds_in(p, clouds, horizon, rng);
    if brief.weather == Weather::Storm {
        lightning(p, horizon, disc_x);
    }
}

fn stars(p: &mut Painter<'_>, horizon: f32, rng: &mut Rng) {
    let unit = p.unit;
    let count = (p.width() * horizon / (unit * unit) * 90.0) as usize;
    let mut builder = PathBuilder::new();
    for _ in 0..count.min(600) {
        let (x, y) = (rng.unit() * p.width(), rng.unit() * rng.unit().sqrt() * horizon * 0.92);
        let r = unit * rng.pick(&[0.0012, 0.0016, 0.002, 0.0028]);
        builder.push_circle(x, y, r.max(0.7));
    }
    if let Some(path) = builder.finish() {
        p.overlay(&path, None, glow(255, 250, 230), 0.85);
    }
    for _ in 0..5 {
        let (x, y) = (rng.unit() * p.width(), rng.between(0.06, 0.6) * horizon);
        let (long, thin) = (unit * rng.between(0.012, 0.02), unit * 0.003);
        let mut builder = PathBuilder::new();
        for n in 0..8 {
            let (sin, cos) = (n as f32 * std::f32::consts::FRAC_PI_4).sin_cos();
            let r = if n % 2 == 0 { long } else { thin };
            let (x, y) = (x + cos * r, y + sin * r);
            if n == 0 { builder.move_to(x, y) } else { builder.line_to(x, y) }
        }
        builder.close();
        if let Some(path) = builder.finish() {
            p.overlay(&path, None, glow(255, 246, 214), 0.95);
        }
    }
}

fn disc(p: &mut Painter<'_>, brief: &Brief, horizon: f32, x: f32) {
    let hidden = matches!(brief.weather, Weather::Rain | Weather::Storm | Weather::Snow);
    if hidden && brief.time != Time::Night {
        return;
    }
    let (hue, unit) = (p.palette.disc, p.unit);
    let (y, r) = match brief.time {
        Time::Dawn => (horizon - unit * 0.1, unit * 0.075),
        Time::Sunset => (horizon - unit * 0.07, unit * 0.095),
        Time::Noon => ((horizon * 0.26).max(unit * 0.14), unit * 0.07),
        Time::Night => ((horizon * 0.3).max(unit * 0.14), unit * if brief.moon { 0.11 } else { 0.075 }),
    };
    let strength = if brief.time == Time::Night { 0.3 } else { 0.6 };
    p.halo(x, y, r * 4.2, hue, strength);
    let mut pen = p.pen(x, y, r);
    if brief.time == Time::Night {
        pen.oval(0.0, 0.0, 1.0, 1.0, hue);
        for (x, y, r) in [(-0.35, 0.3, 0.2), (0.25, -0.1, 0.27), (-0.2, -0.45, 0.15), (0.4, 0.5, 0.12)] {
            pen.oval_faint(x, y, r, r, glow(214, 206, 190), 0.5);
        }
        return;
    }
    pen.oval(0.0, 0.0, 1.0, 1.0, hue);
    if p.style == RenderStyle::Line {
        for n in 0..24 {
            let (sin, cos) = (n as f32 * std::f32::consts::TAU / 24.0).sin_cos();
            let reach = if n % 2 == 0 { 1.75 } else { 1.5 };
            p.pen(x, y, r).line(&[(cos * 1.22, sin * 1.22), (cos * reach, sin * reach)], 0.02, hue);
        }
    }
}

fn planets(p: &mut Painter<'_>, horizon: f32, x: f32, rng: &mut Rng) {
    let unit = p.unit;
    let hue = rng.pick(&[glow(236, 152, 110), glow(120, 176, 206), glow(216, 140, 176)]);
    let y = horizon * 0.34;
    p.halo(x, y, unit * 0.3, hue, 0.3);
    let mut pen = p.pen(x, y, unit * 0.15);
    pen.oval(0.0, 0.0, 1.0, 1.0, hue);
    for (y, half) in [(0.42, 0.84), (-0.1, 0.96), (-0.5, 0.8)] {
        pen.oval_faint(0.0, y, half, 0.1, WHITE, 0.25);
    }
    pen.line(
        &[(-0.98, 0.16), (-1.6, 0.1), (-1.2, -0.24), (0.0, -0.4), (1.3, -0.12), (1.65, 0.3), (0.96, 0.26)],
        0.09,
        glow(250, 224, 180),
    );
    let (x, y) = (p.width() - x, horizon * 0.2);
    p.pen(x, y, unit * 0.04).oval(0.0, 0.0, 1.0, 1.0, glow(200, 206, 226));
}

fn rainbow(p: &mut Painter<'_>, horizon: f32) {
    let (unit, centre) = (p.unit, p.width() * 0.5);
    let hues = [
        rgb(232, 92, 86),
        rgb(244, 160, 80),
        rgb(250, 222, 104),
        rgb(126, 196, 120),
        rgb(92, 154, 214),
        rgb(146, 110, 190),
    ];
    for (n, hue) in hues.into_iter().enumerate() {
        let r = unit * (0.5 - n as f32 * 0.022);
        if let Some(path) = PathBuilder::from_circle(centre, horizon + unit * 0.04, r) {
            p.overlay(&path, Some(unit * 0.023), hue, 0.55);
        }
    }
}

fn clouds_in(p: &mut Painter<'_>, count: usize, horizon: f32, rng: &mut Rng) {
    let (width, unit, hue) = (p.width(), p.unit, p.palette.cloud);
    let count = (count as f32 * (width / unit).min(3.0)) as usize;
    for n in 0..count {
        // One per column, so that they never pile up.
        let x = (n as f32 + rng.between(0.15, 0.85)) / count as f32 * width;
        let y = rng.between(0.14, 0.62) * horizon;
        let scale = unit * rng.between(0.07, 0.13) * (1.2 - y / horizon * 0.8);
        let mut bump = |x: f32, y: f32| (x + rng.between(-0.04, 0.04), y + rng.between(-0.06, 0.06));
        let outline = [
            (-1.15, 0.0),
            bump(-0.95, 0.2),
            bump(-0.62, 0.26),
            bump(-0.45, 0.54),
            bump(-0.05, 0.68),
            bump(0.26, 0.5),
            bump(0.46, 0.32),
            bump(0.8, 0.3),
            (1.1, 0.04),
            (0.9, -0.06),
            (-0.9, -0.06),
        ];
        p.haze = (p.palette.sky[1], 0.25);
        p.pen(x, y, scale).blob(&outline, hue);
    }
    p.haze.1 = 0.0;
}

fn lightning(p: &mut Painter<'_>, horizon: f32, x: f32) {
    let unit = p.unit;
    let top = horizon * 0.3;
    p.halo(x, top + unit * 0.16, unit * 0.36, glow(255, 250, 214), 0.35);
    let points = [(0.0, 1.0), (-0.26, 0.46), (-0.04, 0.48), (-0.24, 0.0), (0.2, 0.58), (-0.02, 0.56), (0.16, 1.0)];
    p.pen(x, horizon * 0.98, (horizon - top) * 0.9).poly(&points.map(|(x, y)| (x * 0.6, y)), glow(255, 246, 190));
}

/// What falls, and the fog, over everything else.
pub(super) fn weather(p: &mut Painter<'_>, brief: &Brief, horizon: f32, rng: &mut Rng) {
    let area = p.width() * p.height() / (p.unit * p.unit);
    match brief.weather {
        Weather::Rain => rain(p, area * 150.0, rng),
        Weather::Storm => rain(p, area * 230.0, rng),
        Weather::Snow => snow(p, area * 130.0, rng),
        Weather::Fog => fog(p, horizon, rng),
        Weather::Clear | Weather::Cloudy => {}
    }
}

fn rain(p: &mut Painter<'_>, count: f32, rng: &mut Rng) {
    let mut builder = PathBuilder::new();
    for _ in 0..count.min(1600.0) as usize {
        let (x, y) = (rng.unit() * p.width() * 1.1, rng.unit() * p.height());
        let long = p.unit * rng.between(0.02, 0.045);
        builder.move_to(x, y);
        builder.line_to(x - long * 0.26, y + long);
    }
    if let Some(path) = builder.finish() {
        p.overlay(&path, Some((p.unit * 0.0022).max(1.0)), glow(226, 238, 250), 0.5);
    }
}

fn snow(p: &mut Painter<'_>, count: f32, rng: &mut Rng) {
    let mut builder = PathBuilder::new();
    for _ in 0..count.min(1400.0) as usize {
        let near = rng.unit();
        builder.push_circle(rng.unit() * p.width(), rng.unit() * p.height(), p.unit * (0.002 + near * near * 0.006));
    }
    if let Some(path) = builder.finish() {
        p.overlay(&path, None, glow(255, 255, 255), 0.9);
    }
}

fn fog(p: &mut Painter<'_>, horizon: f32, rng: &mut Rng) {
    let hue = p.palette.haze.lighter(0.25);
    let hue = Hue { glows: true, ..hue };
    for n in 0..7 {
        let y = horizon + p.unit * (n as f32 * 0.07 - 0.2 + rng.between(-0.02, 0.02));
        let x = rng.between(-0.1, 1.1) * p.width();
        let (long, thin) = (p.width().max(p.unit) * rng.between(0.4, 0.7), p.unit * rng.between(0.02, 0.05));
        let points = [(-1.0, 0.0), (-0.5, -1.0), (0.2, -0.7), (0.7, -1.0), (1.0, 0.0), (0.4, 1.0), (-0.4, 0.8)];
        let points = points.map(|(dx, dy)| Point::from_xy(x + dx * long, y + dy * thin));
        if let Some(path) = smooth(&points, true) {
            p.overlay(&path, None, hue, 0.42);
        }
    }
}
