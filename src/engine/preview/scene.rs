//! Composition: far things first, each where it belongs, the subject at a third of the width.

use tiny_skia::{PathBuilder, Point};

use super::{
    animals,
    brush::{Painter, RenderStyle},
    curves::smooth,
    hue::{Hue, WHITE, rgb},
    land,
    noise::{Rng, hash},
    plants, sky,
    stage::{Stage, Zone, zone},
    things,
    words::{Brief, Item, Season, Setting, Thing, Weather},
};

/// Height of a thing, in units of the shorter side.
fn size(thing: Thing) -> f32 {
    match thing {
        Thing::Lighthouse => 0.56,
        Thing::Castle | Thing::Windmill | Thing::Rocket => 0.5,
        Thing::Church | Thing::Oak | Thing::Palm => 0.46,
        Thing::Pine | Thing::Pyramid | Thing::Cactus => 0.42,
        Thing::Bear | Thing::Snowman | Thing::Robot | Thing::Cat | Thing::Fox => 0.36,
        Thing::Dog | Thing::Owl | Thing::Bridge | Thing::Barn | Thing::Sailboat | Thing::Balloon => 0.34,
        Thing::House | Thing::Flower | Thing::Penguin | Thing::Whale => 0.3,
        Thing::Sheep | Thing::Rabbit | Thing::Mushroom | Thing::Bird => 0.25,
        Thing::Igloo | Thing::Tent | Thing::Fish => 0.2,
        Thing::Car | Thing::Campfire => 0.15,
        Thing::Plane | Thing::Duck => 0.13,
    }
}

/// Half the width of a thing, in units of its height.
fn half_width(thing: Thing) -> f32 {
    match thing {
        Thing::Bridge | Thing::Pyramid => 1.35,
        Thing::Whale | Thing::Tent | Thing::Plane | Thing::Car => 1.05,
        Thing::Castle | Thing::Barn | Thing::Fox | Thing::Fish | Thing::Igloo => 0.8,
        _ => 0.6,
    }
}

/// Draws the picture; `None` if it was cancelled.
pub(super) fn paint(p: &mut Painter<'_>, brief: &Brief, rng: &Rng) -> Option<()> {
    let mut rng = rng.fork(hash("scene"));
    let stage = Stage::new(p, brief, &mut rng);
    sky::paint(p, brief, stage.horizon, stage.disc_x, &mut rng.fork(1));
    live(p)?;
    land::far(p, brief, &stage, &mut rng.fork(2));
    live(p)?;
    in_zone(p, brief, &stage, Zone::Air, &rng);
    land::ground(p, brief, &stage, &mut rng.fork(3));
    live(p)?;
    if brief.place != Setting::Lake {
        in_zone(p, brief, &stage, Zone::Water, &rng);
    }
    companions(p, brief, &stage, &mut rng.fork(4));
    in_zone(p, brief, &stage, Zone::Mid, &rng);
    if brief.place == Setting::Lake {
        // What stands on the far shore is mirrored, what floats hides the mirror.
        land::water(p, brief, &stage, 0.72, &mut rng.fork(8));
        in_zone(p, brief, &stage, Zone::Water, &rng);
    }
    live(p)?;
    land::near(p, brief, &stage, &mut rng.fork(5));
    in_zone(p, brief, &stage, Zone::Near, &rng);
    foreground(p, brief, &stage, &mut rng.fork(6));
    live(p)?;
    sky::weather(p, brief, stage.horizon, &mut rng.fork(7));
    live(p)
}

fn live(p: &Painter<'_>) -> Option<()> {
    (!p.stopped()).then_some(())
}

fn in_zone(p: &mut Painter<'_>, brief: &Brief, stage: &Stage, wanted: Zone, rng: &Rng) {
    for (index, item) in brief.items.iter().enumerate().filter(|(_, item)| zone(item, brief.place) == wanted) {
        let mut rng = rng.fork(100 + index as u64);
        let main = if index == 0 { 1.0 } else { 0.7 };
        let scale = p.unit * size(item.thing) * main;
        let x = stage.x(index, p.width());
        let copies: &[(f32, f32, f32)] =
            if item.many { &[(1.85, -0.16, 0.6), (1.0, -0.08, 0.76), (0.0, 0.0, 1.0)] } else { &[(0.0, 0.0, 1.0)] };
        if item.thing == Thing::Bird && item.many {
            let hue = if p.palette.dark { rgb(190, 200, 230) } else { rgb(70, 76, 100) };
            let (x, y) = (stage.other_x - p.unit * 0.25, stage.horizon * 0.36);
            animals::flock(&mut p.pen(x, y, p.unit * 0.16), hue, 6, &mut rng);
            continue;
        }
        for (dx, dy, part) in copies {
            let half = half_width(item.thing) * scale * part;
            let toward = (p.width() / 2.0 - x).signum();
            let x = (x + dx * scale * toward).clamp(half, (p.width() - half).max(half));
            let scale = scale * part;
            let y = foot(p, stage, wanted, item.thing, x, scale) + dy * p.unit * 0.3;
            if wanted == Zone::Water {
                wake(p, x, y, scale, item.thing);
            } else if wanted == Zone::Near && p.style != RenderStyle::Clay {
                let shade = p.palette.land[2].darker(0.4);
                p.pen(x, y, scale).oval_faint(0.0, 0.0, 0.5, 0.07, shade, 0.35);
            }
            let mut pen = p.pen(x, y, scale);
            // Looks into the picture.
            pen.flip = if x > pen.painter.width() / 2.0 { -1.0 } else { 1.0 };
            pen.painter.spared = if index == 0 { 0.45 } else { 0.3 };
            things::draw(&mut pen, item, brief.season, &mut rng);
            p.spared = 0.0;
        }
    }
}

/// The height of the ground (or air) under a thing.
fn foot(p: &Painter<'_>, stage: &Stage, zone: Zone, thing: Thing, x: f32, scale: f32) -> f32 {
    let height = p.height();
    match zone {
        Zone::Air if thing == Thing::Rocket => stage.horizon - p.unit * 0.06,
        Zone::Air if thing == Thing::Plane => stage.horizon * 0.42,
        Zone::Air => (stage.horizon * 0.3 + scale * 0.62).min(stage.horizon - p.unit * 0.1),
        Zone::Water => {
            let (top, bottom) = stage.water.unwrap_or((stage.horizon, height));
            let depth = match thing {
                Thing::Duck => 0.7,
                Thing::Bridge => 0.25,
                _ => 0.42,
            };
            top + (bottom - top).min(p.unit * 0.6) * depth
        }
        Zone::Mid => stage.mid.y(x) + p.unit * 0.012,
        Zone::Near => {
            let ground = stage.near.y(x);
            (ground + (height - ground).min(p.unit * 0.4) * 0.45).min(height - p.unit * 0.035)
        }
    }
}

/// What a thing on the water does to it.
fn wake(p: &mut Painter<'_>, x: f32, y: f32, scale: f32, thing: Thing) {
    let hue = p.palette.water[1].darker(0.3);
    let wide = if thing == Thing::Bridge { 1.3 } else { 0.6 };
    for (n, part) in [1.0, 0.72, 0.46, 0.24].into_iter().enumerate() {
        let dy = -0.05 - n as f32 * 0.075;
        p.pen(x, y, scale).oval_faint(0.0, dy, wide * part, 0.032, hue, 0.34);
    }
}

/// Trees and houses that keep the subject company, on the other side.
fn companions(p: &mut Painter<'_>, brief: &Brief, stage: &Stage, rng: &mut Rng) {
    let (width, unit, snowy) = (p.width(), p.unit, brief.snowed_in());
    if matches!(brief.place, Setting::City | Setting::Space | Setting::Desert) {
        return;
    }
    p.haze = (p.palette.haze, 0.14);
    let groups = ((width / unit) * 1.4).max(1.0) as usize;
    for group in 0..groups {
        let centre = (group as f32 + rng.between(0.2, 0.8)) / groups as f32 * width;
        for _ in 0..3 {
            let x = centre + rng.between(-0.13, 0.13) * unit;
            let clear = (x - stage.main_x).abs() > unit * 0.2;
            let on_land = brief.place != Setting::Coast || (stage.mid.y(x) < stage.horizon + unit * 0.14);
            if !clear || !on_land || brief.place == Setting::Coast && rng.chance(0.5) {
                continue;
            }
            let far = if brief.place == Setting::Lake { 0.6 } else { 1.0 };
            let (y, high) = (stage.mid.y(x) + unit * 0.01, unit * far * rng.between(0.1, 0.19));
            let evergreen = brief.place == Setting::Mountains || rng.chance(if snowy { 0.75 } else { 0.4 });
            let (pine, leaves) = (p.palette.pine, rng.pick(&p.palette.leaves));
            let mut pen = p.pen(x, y, high);
            if evergreen {
                plants::pine(&mut pen, pine, snowy, rng);
            } else {
                plants::oak(&mut pen, leaves, brief.season, rng);
            }
        }
    }
    if brief.place == Setting::Village {
        village(p, brief, stage, rng);
    }
    p.haze.1 = 0.0;
}

fn village(p: &mut Painter<'_>, brief: &Brief, stage: &Stage, rng: &mut Rng) {
    let count = ((p.width() / p.unit) * 5.0) as usize;
    for n in 0..count {
        let x = (n as f32 + rng.between(0.3, 0.7)) / count as f32 * p.width();
        if (x - stage.main_x).abs() > p.unit * 0.2 || brief.items.is_empty() {
            let item = Item { thing: Thing::House, paint: None, many: false };
            let (y, scale) = (stage.mid.y(x) + p.unit * 0.012, p.unit * rng.between(0.1, 0.15));
            things::draw(&mut p.pen(x, y, scale), &item, brief.season, rng);
        }
    }
}

/// Grass, flowers and stones at the lower edge, and a frame of trees in a forest.
fn foreground(p: &mut Painter<'_>, brief: &Brief, stage: &Stage, rng: &mut Rng) {
    let (width, height, unit) = (p.width(), p.height(), p.unit);
    let count = (width / unit * 9.0) as usize;
    for n in 0..count {
        let x = (n as f32 + rng.between(0.1, 0.9)) / count as f32 * width;
        let low = height - unit * 0.012;
        let y = low - (low - stage.near.y(x)).max(0.0).min(unit * 0.5) * rng.unit() * 0.55;
        let scale = unit * rng.between(0.035, 0.065);
        if brief.place == Setting::Coast && stage.mid.y(x) > y && !land::has_beach(brief) {
            continue;
        }
        let grass = p.palette.land[2].darker(0.16);
        let mut pen = p.pen(x, y, scale);
        match (brief.place, brief.season) {
            (Setting::City, _) => {}
            (Setting::Space, _) => pen.oval(0.0, 0.0, 0.9, 0.22, grass),
            (Setting::Desert, _) if rng.chance(0.3) => plants::cactus(&mut pen, None, rng),
            (Setting::Desert, _) => plants::rock(&mut pen, grass.lighter(0.1), rng),
            (_, Season::Winter) if rng.chance(0.5) => plants::rock(&mut pen, rgb(190, 204, 222), rng),
            (_, Season::Winter) => plants::tuft(&mut pen, rgb(176, 160, 132), rng),
            (_, Season::Spring | Season::Summer) if rng.chance(0.45) => plants::flower(&mut pen, None, rng),
            (Setting::Coast, _) if rng.chance(0.4) => plants::rock(&mut pen, rgb(150, 146, 152), rng),
            _ => plants::tuft(&mut pen, grass, rng),
        }
    }
    if brief.place == Setting::Forest {
        for (x, out, scale) in [(0.0, -0.13, 1.0), (1.0, 0.13, 0.92)] {
            let hue = p.palette.pine.darker(0.3);
            let leaves = p.palette.leaves[0].darker(0.2);
            let x = x * width + (out + rng.between(-0.03, 0.03)) * unit;
            let mut pen = p.pen(x, height - unit * 0.02, unit * scale * 0.8);
            if brief.season == Season::Autumn {
                plants::oak(&mut pen, leaves, brief.season, rng);
            } else {
                plants::pine(&mut pen, hue, brief.snowed_in(), rng);
            }
        }
    }
    if brief.weather == Weather::Rain && brief.place == Setting::City {
        puddles(p, stage, rng);
    }
}

fn puddles(p: &mut Painter<'_>, stage: &Stage, rng: &mut Rng) {
    for _ in 0..5 {
        let x = rng.unit() * p.width();
        let y = stage.near.y(x) + (p.height() - stage.near.y(x)) * rng.between(0.3, 0.9);
        let mut builder = PathBuilder::new();
        for n in 1..3 {
            let r = p.unit * 0.016 * n as f32;
            let points: Vec<Point> = (0..12)
                .map(|n| (n as f32 / 12.0 * std::f32::consts::TAU).sin_cos())
                .map(|(sin, cos)| Point::from_xy(x + cos * r, y + sin * r * 0.3))
                .collect();
            if let Some(path) = smooth(&points, true) {
                builder.push_path(&path);
            }
        }
        if let Some(path) = builder.finish() {
            p.overlay(&path, Some((p.unit * 0.002).max(1.0)), Hue { glows: true, ..WHITE }, 0.4);
        }
    }
}
