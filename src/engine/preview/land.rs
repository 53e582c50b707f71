//! The ground: ridges near and far, mountains, water, streets.

use tiny_skia::{PathBuilder, Point};

use super::{
    brush::Painter,
    buildings,
    curves::smooth,
    hue::{Hue, WHITE, glow, rgb},
    noise::Rng,
    plants,
    stage::{Ridge, Stage},
    words::{Brief, Season, Setting, Thing, Time, Weather},
};

fn ridge(p: &mut Painter<'_>, ridge: &Ridge, hue: Hue) {
    if let Some(path) = ridge.path(p.width(), p.height()) {
        p.fill(&path, hue);
    }
}

/// What stands at the horizon.
pub(super) fn far(p: &mut Painter<'_>, brief: &Brief, stage: &Stage, rng: &mut Rng) {
    let unit = p.unit;
    match brief.place {
        Setting::City => skyline(p, stage, rng),
        Setting::Mountains => peaks(p, stage, 1.0, rng),
        Setting::Lake => peaks(p, stage, 0.62, rng),
        Setting::Desert => mesas(p, stage, rng),
        Setting::Coast => {
            p.haze = (p.palette.haze, 0.55);
            let (x, hue) = (stage.other_x, p.palette.peaks);
            let mut pen = p.pen(x, stage.horizon + unit * 0.004, unit * 0.2);
            pen.blob(&[(-1.3, -0.05), (-0.8, 0.16), (-0.3, 0.34), (0.2, 0.2), (0.7, 0.24), (1.4, -0.05)], hue);
        }
        Setting::Space => {
            p.haze = (p.palette.haze, 0.5);
            let hue = p.palette.land[0];
            ridge(p, &Ridge::new(stage.horizon - unit * 0.03, unit * 0.04, unit * 0.5, rng), hue);
        }
        _ => {
            for (rise, haze) in [(0.1, 0.62), (0.05, 0.4)] {
                p.haze = (p.palette.haze, haze);
                let hue = p.palette.peaks.mix(p.palette.land[0], 0.35);
                ridge(
                    p,
                    &Ridge::new(stage.horizon - unit * rise, unit * 0.045, unit * rng.between(0.8, 1.2), rng),
                    hue,
                );
            }
        }
    }
    p.haze.1 = 0.0;
}

fn peaks(p: &mut Painter<'_>, stage: &Stage, high: f32, rng: &mut Rng) {
    let (width, unit, hue) = (p.width(), p.unit, p.palette.peaks);
    for (layer, haze) in [(1.0_f32, 0.5), (0.66, 0.26)] {
        p.haze = (p.palette.haze, haze);
        let count = ((width / unit) * 3.0 / layer.max(0.7)) as usize + 1;
        for n in 0..count {
            let x = (n as f32 + rng.between(0.1, 0.9)) / count as f32 * width;
            let tall = unit * high * layer * rng.between(0.2, 0.38);
            let half = rng.between(0.75, 1.0);
            let lean = rng.between(-0.14, 0.14);
            let mut pen = p.pen(x, stage.horizon + unit * 0.03, tall);
            pen.poly(&[(-half, 0.0), (-half * 0.45, 0.52), (lean, 1.0), (half * 0.4, 0.56), (half, 0.0)], hue);
            pen.poly(
                &[(lean + 0.08, 0.0), (lean - 0.04, 0.5), (lean, 1.0), (half * 0.4, 0.56), (half, 0.0)],
                hue.darker(0.14),
            );
            let left = |t: f32| (lean + (-half * 0.45 - lean) * t, 1.0 - 0.48 * t);
            let right = |t: f32| (lean + (half * 0.4 - lean) * t, 1.0 - 0.44 * t);
            let (l, r) = (left(0.6), right(0.6));
            pen.poly(
                &[(lean, 1.0), r, (r.0 * 0.6 + lean * 0.4, 0.77), (lean, 0.68), (l.0 * 0.5 + lean * 0.5, 0.78), l],
                WHITE,
            );
        }
    }
}

fn mesas(p: &mut Painter<'_>, stage: &Stage, rng: &mut Rng) {
    let (width, unit, hue) = (p.width(), p.unit, p.palette.peaks);
    let count = (width / unit * 2.4) as usize + 1;
    p.haze = (p.palette.haze, 0.4);
    for n in 0..count {
        let x = (n as f32 + rng.between(0.2, 0.8)) / count as f32 * width;
        let (half, top) = (rng.between(0.5, 1.1), rng.between(0.5, 1.0));
        let mut pen = p.pen(x, stage.horizon + unit * 0.03, unit * 0.17);
        let outline = [
            (-half, 0.0),
            (-half * 0.74, top * 0.5),
            (-half * 0.66, top),
            (half * 0.6, top),
            (half * 0.72, top * 0.45),
            (half, 0.0),
        ];
        pen.poly(&outline, hue);
        pen.poly(
            &[(half * 0.16, 0.0), (half * 0.2, top), (half * 0.6, top), (half * 0.72, top * 0.45), (half, 0.0)],
            hue.darker(0.16),
        );
    }
}

fn skyline(p: &mut Painter<'_>, stage: &Stage, rng: &mut Rng) {
    let (width, unit, dark) = (p.width(), p.unit, p.palette.dark);
    let walls = [rgb(126, 142, 176), rgb(172, 132, 128), rgb(110, 126, 150), rgb(188, 166, 146), rgb(134, 118, 150)];
    let tall = stage.horizon.min(unit * 1.1);
    for (layer, (low, high, haze)) in [(0.4, 0.78, 0.66), (0.3, 0.66, 0.36), (0.2, 0.52, 0.0)].into_iter().enumerate() {
        p.haze = (p.palette.haze, if dark { haze * 0.55 } else { haze });
        let step = unit * (0.085 + layer as f32 * 0.02);
        let count = (width / step) as usize + 2;
        for n in 0..count {
            let x = (n as f32 + rng.between(-0.2, 0.2)) * step;
            let high = tall * rng.between(low, high);
            let half = step * rng.between(0.42, 0.58) / high;
            let wall = rng.pick(&walls);
            buildings::tower_block(&mut p.pen(x, stage.horizon, high), half, wall, layer == 2, rng);
        }
    }
}

/// The middle distance: land or water.
pub(super) fn ground(p: &mut Painter<'_>, brief: &Brief, stage: &Stage, rng: &mut Rng) {
    let (unit, land) = (p.unit, p.palette.land);
    match brief.place {
        Setting::Coast => {
            water(p, brief, stage, 0.62, rng);
            let rock = if brief.snowed_in() { rgb(188, 200, 218) } else { rgb(158, 138, 126) };
            let mut cliff = stage.mid.clone();
            cliff.base += unit * 0.035;
            cliff.falls = cliff.falls.map(|(x, half, depth)| (x, half * 1.12, depth));
            ridge(p, &cliff, rock);
            ridge(p, &stage.mid, land[1]);
        }
        Setting::Lake => {
            p.haze = (p.palette.haze, 0.15);
            ridge(p, &stage.mid, land[0].darker(0.12));
            p.haze.1 = 0.0;
        }
        Setting::City => street(p, brief, stage),
        _ => {
            p.haze = (p.palette.haze, 0.2);
            let mut back = stage.mid.clone();
            back.base = stage.horizon + unit * 0.02;
            back.amp = unit * 0.03;
            back.phase[0] += 2.0;
            ridge(p, &back, land[0]);
            if brief.place == Setting::Forest {
                woods(p, brief, &back, rng);
            }
            p.haze.1 = 0.0;
            ridge(p, &stage.mid, land[1]);
        }
    }
}

fn woods(p: &mut Painter<'_>, brief: &Brief, on: &Ridge, rng: &mut Rng) {
    let (width, unit) = (p.width(), p.unit);
    for (high, haze) in [(0.4, 0.5), (0.3, 0.28)] {
        p.haze = (p.palette.haze, haze);
        let count = (width / unit * 9.0) as usize;
        for n in 0..=count {
            let x = (n as f32 + rng.between(-0.3, 0.3)) / count as f32 * width;
            let scale = unit * high * rng.between(0.75, 1.15);
            let (pine, leaves) = (p.palette.pine, rng.pick(&p.palette.leaves));
            let mut pen = p.pen(x, on.y(x) + unit * 0.02, scale);
            if rng.chance(if brief.season == Season::Autumn { 0.25 } else { 0.7 }) {
                plants::pine(&mut pen, pine, brief.snowed_in(), rng);
            } else {
                plants::oak(&mut pen, leaves, brief.season, rng);
            }
        }
    }
}

/// Water that mirrors what has been drawn above it.
pub(super) fn water(p: &mut Painter<'_>, brief: &Brief, stage: &Stage, clear: f32, rng: &mut Rng) {
    let Some((top, bottom)) = stage.water else { return };
    let [far, near] = p.palette.water;
    p.mirror((top, bottom), (far, near), clear, 1.0);
    let (width, unit) = (p.width(), p.unit);
    // Glints: longer and further apart the nearer they are.
    let light = if p.palette.dark { glow(150, 170, 210) } else { glow(255, 252, 240) };
    let mut builder = PathBuilder::new();
    let count = (width / unit * 26.0) as usize;
    for n in 0..count {
        let depth = (n as f32 + rng.unit()) / count as f32;
        let y = top + unit * 0.012 + depth * depth * (bottom - top);
        let near_disc = brief.time != Time::Noon && n % 2 == 0;
        let spread = if near_disc { unit * (0.06 + depth * 0.12) } else { width };
        let x = if near_disc { stage.disc_x + rng.between(-1.0, 1.0) * spread } else { rng.unit() * width };
        let half = unit * (0.01 + depth * 0.035) * rng.between(0.6, 1.3);
        builder.move_to(x - half, y);
        builder.line_to(x + half, y);
    }
    if let Some(path) = builder.finish() {
        p.overlay(&path, Some((unit * 0.003).max(1.0)), light, 0.6);
    }
}

fn street(p: &mut Painter<'_>, brief: &Brief, stage: &Stage) {
    let (width, height, unit) = (p.width(), p.height(), p.unit);
    let wet = matches!(brief.weather, Weather::Rain | Weather::Storm);
    let asphalt = rgb(96, 100, 118);
    p.mirror((stage.horizon, height), (asphalt, asphalt.darker(0.2)), if wet { 0.7 } else { 0.12 }, 0.3);
    let edge = stage.near.y(0.0);
    p.pen(0.0, stage.horizon, 1.0).rect(
        -9.0,
        unit * 0.0,
        width + 9.0,
        stage.horizon - edge + unit * 0.02,
        rgb(196, 190, 190),
    );
    let middle = f32::midpoint(edge, height) + unit * 0.01;
    let mut x = unit * 0.05;
    while x < width {
        p.pen(x, middle, unit).rect(0.0, 0.0, 0.09, 0.008, rgb(246, 226, 160));
        x += unit * 0.18;
    }
}

/// The land in front of it, up to the lower edge.
pub(super) fn near(p: &mut Painter<'_>, brief: &Brief, stage: &Stage, rng: &mut Rng) {
    let (height, unit, land) = (p.height(), p.unit, p.palette.land);
    if matches!(brief.place, Setting::City) {
        return;
    }
    if brief.place == Setting::Coast {
        let sand = if brief.snowed_in() { land[2] } else { rgb(240, 218, 170) };
        if has_beach(brief) {
            ridge(p, &stage.near, sand);
        } else if brief.items.iter().any(|item| item.thing == Thing::Lighthouse) {
            path_to(p, stage, height);
        }
        return;
    }
    // A high picture gets more of them, so that no plain stretches on and on.
    let plain = if stage.water.is_some() { 0.0 } else { stage.near.base - stage.mid.base };
    let count = (plain / (unit * 0.2)) as usize;
    for n in 0..count {
        let base = stage.mid.base + (stage.near.base - stage.mid.base) * (n as f32 + 1.0) / (count as f32 + 1.0);
        let hue = land[1].mix(land[2], (n as f32 + 1.0) / (count as f32 + 1.0));
        ridge(p, &Ridge::new(base, unit * 0.03, unit * 1.4, rng), hue);
    }
    let home = brief.items.first().is_some_and(|item| {
        matches!(item.thing, Thing::House | Thing::Barn | Thing::Church | Thing::Castle | Thing::Windmill)
    });
    if stage.water.is_none() && home {
        path_to(p, stage, height);
    }
    ridge(p, &stage.near, land[2]);
}

/// Whether there is sand in front of the sea: for all that neither stands on the headland nor swims.
pub(super) fn has_beach(brief: &Brief) -> bool {
    let at_home = |thing| matches!(thing, Thing::Lighthouse | Thing::Sailboat | Thing::Whale);
    brief.items.iter().any(|item| !at_home(item.thing))
}

/// A way to the door.
fn path_to(p: &mut Painter<'_>, stage: &Stage, height: f32) {
    let (unit, x) = (p.unit, stage.main_x);
    let top = stage.mid.y(x) + unit * 0.02;
    let toward = (stage.other_x - x).signum();
    let deep = (height - top).min(unit * 0.5);
    let at = |t: f32, side: f32| {
        let bend = (t * 3.4).sin() * unit * 0.07 * toward + t * unit * 0.16 * toward;
        Point::from_xy(x + bend + side * unit * (0.014 + 0.07 * t * t), top + t * deep)
    };
    let mut points: Vec<Point> = (0..=6).map(|n| at(n as f32 / 6.0, -1.0)).collect();
    points.extend((0..=6).rev().map(|n| at(n as f32 / 6.0, 1.0)));
    if let Some(path) = smooth(&points, true) {
        let hue = p.palette.land[1].mix(rgb(244, 226, 186), 0.7);
        p.fill(&path, hue);
    }
}
