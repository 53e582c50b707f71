//! The isometric style: an island of blocks, seen from above at an angle.

use tiny_skia::PathBuilder;

use super::{
    blocks::{Block, Model},
    brush::Painter,
    hue::{Hue, glow, rgb},
    models,
    noise::{Rng, hash},
    sky,
    words::{Brief, Item, Season, Setting, Thing, Time},
};

/// Blocks along each edge of the island.
const SIDE: usize = 6;

/// From blocks to pixels.
struct View {
    x: f32,
    y: f32,
    /// Half the width of a block.
    half: f32,
}

impl View {
    fn at(&self, x: f32, y: f32, z: f32) -> (f32, f32) {
        (self.x + (x - y) * self.half, self.y + (x + y) * self.half * 0.5 - z * self.half * 1.06)
    }
}

/// Draws the picture; `None` if it was cancelled.
pub(super) fn paint(p: &mut Painter<'_>, brief: &Brief, rng: &Rng) -> Option<()> {
    let mut rng = rng.fork(hash("isometric"));
    backdrop(p, brief, &mut rng);
    let (width, height, unit) = (p.width(), p.height(), p.unit);
    // A long picture gets a row of islands, the first of them in the middle.
    let long = width.max(height) / unit;
    let around = if long > 1.9 { ((long - 1.0) / 1.7).ceil() as i32 } else { 0 };
    for n in (-around..=around).filter(|n| *n != 0).chain([0]) {
        if p.stopped() {
            return None;
        }
        let part = if n == 0 { 1.0 } else { 0.62 };
        let away = n as f32 * unit * 0.92;
        let (x, y) = if width > height { (away, unit * 0.06) } else { (unit * 0.1 * n.signum() as f32, away) };
        let half = unit * 0.93 / (2.0 * SIDE as f32) * part;
        let view = View { x: width / 2.0 + x, y: height / 2.0 + y - half * SIDE as f32 * 0.3, half };
        island(p, brief, &view, n == 0, &mut rng.fork(n.unsigned_abs().into()));
    }
    sky::weather(p, brief, height * 0.5, &mut rng);
    (!p.stopped()).then_some(())
}

fn backdrop(p: &mut Painter<'_>, brief: &Brief, rng: &mut Rng) {
    let sky = p.palette.sky;
    let soft = |hue: Hue| if p.palette.dark { hue } else { hue.lighter(0.35) };
    let (top, bottom) = (soft(sky[1].mix(sky[0], if p.palette.dark { 0.45 } else { 0.2 })), soft(sky[2]));
    p.rows(|y| top.mix(bottom, y));
    let (width, height, unit) = (p.width(), p.height(), p.unit);
    if p.palette.dark {
        let mut builder = PathBuilder::new();
        for _ in 0..70 {
            builder.push_circle(rng.unit() * width, rng.unit() * height, unit * rng.between(0.001, 0.003));
        }
        if let Some(path) = builder.finish() {
            p.overlay(&path, None, glow(255, 250, 226), 0.8);
        }
    }
    let disc = p.palette.disc;
    let side = if rng.chance(0.5) { 0.8 } else { 0.2 };
    let y = if matches!(brief.time, Time::Dawn | Time::Sunset) { 0.24 } else { 0.14 };
    p.halo(width * side, height * y, unit * 0.2, disc, 0.4);
    p.pen(width * side, height * y, unit * 0.065).oval(0.0, 0.0, 1.0, 1.0, disc);
}

/// The ground of a column of the island.
#[derive(Clone, Copy, PartialEq)]
enum Soil {
    Land,
    Water,
    Street,
}

fn island(p: &mut Painter<'_>, brief: &Brief, view: &View, main: bool, rng: &mut Rng) {
    let shade = p.palette.sky[2].darker(0.5);
    let (x, y) = view.at(SIDE as f32 / 2.0, SIDE as f32 / 2.0, -2.3);
    for n in 0..4 {
        let part = 1.0 - n as f32 * 0.1;
        p.pen(x, y, view.half * SIDE as f32 * part).oval_faint(
            0.0,
            0.0,
            0.86,
            0.36,
            Hue { glows: true, ..shade },
            0.07,
        );
    }
    p.spared = 0.15;
    let soils = soils(brief, rng);
    let mut models = place_things(brief, main, &soils, p, rng);
    // Back to front; a thing is drawn once the last column it stands on is there.
    for sum in 0..2 * SIDE - 1 {
        for (x, row) in soils.iter().enumerate() {
            let Some(y) = sum.checked_sub(x).filter(|y| *y < SIDE) else { continue };
            column(p, brief, view, (x, y), row[y], rng);
        }
        for model in models.iter_mut().filter(|model| model.front() == sum) {
            draw(p, view, model);
        }
    }
}

fn soils(brief: &Brief, rng: &mut Rng) -> [[Soil; SIDE]; SIDE] {
    let mut soils = [[Soil::Land; SIDE]; SIDE];
    let bend = rng.unit() * 6.0;
    for (x, row) in soils.iter_mut().enumerate() {
        for (y, soil) in row.iter_mut().enumerate() {
            let wave = ((x as f32 * 0.9 + bend).sin() * 0.9).round() as i32;
            *soil = match brief.place {
                Setting::Coast if y as i32 >= 5 + wave.min(0) || x >= 5 => Soil::Water,
                Setting::Lake if y >= 2 && (x >= 2 || y as i32 >= 4 + wave) && x + y < 10 => Soil::Water,
                Setting::City if x == 3 || y == 3 => Soil::Street,
                Setting::Village if y == 4 => Soil::Street,
                _ => Soil::Land,
            };
        }
    }
    soils
}

fn column(p: &mut Painter<'_>, brief: &Brief, view: &View, (x, y): (usize, usize), soil: Soil, rng: &mut Rng) {
    let land = p.palette.land;
    let check = if (x + y).is_multiple_of(2) { 0.0 } else { 0.05 };
    let earth = match brief.place {
        Setting::Desert => rgb(206, 142, 92),
        Setting::Space => rgb(120, 98, 140),
        _ => rgb(164, 118, 86),
    };
    let (hue, top) = match soil {
        Soil::Land if brief.place == Setting::City => (rgb(206, 200, 196).darker(check), 0.0),
        Soil::Land => (land[1].mix(land[2], check * 3.0 + rng.unit() * 0.1), 0.0),
        Soil::Water => (rgb(88, 172, 206).lighter(check), -0.22),
        Soil::Street => (rgb(124, 128, 144).lighter(check), -0.04),
    };
    let (fx, fy) = (x as f32, y as f32);
    if x == SIDE - 1 || y == SIDE - 1 {
        let depth = 1.1 + if (x * 7 + y * 3) % 3 == 0 { 0.5 } else { 0.2 };
        draw_block(p, view, &Block::new((fx, fy, -depth), (1.0, 1.0, depth - 0.35), earth));
    }
    draw_block(p, view, &Block::new((fx, fy, -0.36), (1.0, 1.0, 0.36 + top), hue));
    if soil == Soil::Land && brief.place != Setting::City && rng.chance(0.12) {
        let (dx, dy) = (rng.between(0.2, 0.7), rng.between(0.2, 0.7));
        let hue = match (brief.place, brief.season) {
            (Setting::Desert | Setting::Space, _) | (_, Season::Winter) => hue.darker(0.2),
            _ => rng.pick(&[rgb(250, 206, 96), rgb(240, 130, 140), rgb(252, 246, 236), land[2].darker(0.2)]),
        };
        draw_block(p, view, &Block::new((fx + dx, fy + dy, 0.0), (0.14, 0.14, 0.12), hue));
    }
}

/// Chooses columns: the subject in the middle, trees and houses where there is room.
fn place_things(brief: &Brief, main: bool, soils: &[[Soil; SIDE]; SIDE], p: &Painter<'_>, rng: &mut Rng) -> Vec<Model> {
    let mut taken = [[false; SIDE]; SIDE];
    let mut models: Vec<Model> = Vec::new();
    let mut add = |item: &Item, grow: f32, spots: &[(usize, usize)], models: &mut Vec<Model>, rng: &mut Rng| {
        let model = models::model(item, grow, brief.season, &p.palette, rng);
        let span = model.span.min(SIDE);
        let wet = matches!(item.thing, Thing::Sailboat | Thing::Whale | Thing::Fish | Thing::Duck);
        let fits = |x: usize, y: usize, taken: &[[bool; SIDE]; SIDE], strict: bool| {
            x + span <= SIDE
                && y + span <= SIDE
                && (x..x + span).all(|x| {
                    (y..y + span).all(|y| {
                        let soil = if wet { Soil::Water } else { Soil::Land };
                        !taken[x][y] && (!strict || soils[x][y] == soil)
                    })
                })
        };
        let spot = [true, false].into_iter().find_map(|strict| {
            spots.iter().copied().find(|(x, y)| fits(*x, *y, &taken, strict)).filter(|_| strict || grow > 1.0)
        });
        if let Some((x, y)) = spot {
            taken[x..x + span].iter_mut().for_each(|row| row[y..y + span].fill(true));
            let sunk = if wet { -0.22 } else { 0.0 };
            models.push(model.moved(x, y, sunk));
        }
    };
    let ordered = |prefer: (f32, f32)| {
        let mut spots: Vec<(usize, usize)> = (0..SIDE * SIDE).map(|n| (n / SIDE, n % SIDE)).collect();
        spots.sort_by(|a, b| {
            let far = |(x, y): &(usize, usize)| (*x as f32 - prefer.0).powi(2) + (*y as f32 - prefer.1).powi(2);
            far(a).total_cmp(&far(b))
        });
        spots
    };
    if main {
        let prefer = [(1.8, 1.8), (4.0, 1.0), (1.0, 4.0), (4.0, 4.0)];
        for (item, prefer) in brief.items.iter().zip(prefer) {
            for copy in 0..if item.many { 3 } else { 1 } {
                let grow = if copy == 0 && item == &brief.items[0] { 1.35 } else { 1.02 };
                add(item, grow, &ordered(prefer), &mut models, rng);
            }
        }
    }
    if brief.place == Setting::City {
        for (x, y) in ordered((0.0, 0.0)) {
            let free = soils[x][y] == Soil::Land && !models.iter().any(|model| model.covers(x, y));
            if free && rng.chance(0.86) {
                // Lower towards the front, so that all of them are seen.
                let high = (4.2 - (x + y) as f32 * 0.36) * rng.between(0.6, 1.0);
                models.push(models::tower(high.max(0.6), &p.palette, rng).moved(x, y, 0.0));
            }
        }
        return models;
    }
    for _ in 0..12 {
        let spot = (rng.unit() * (SIDE - 1) as f32, rng.unit() * (SIDE - 1) as f32);
        // Tall things stay at the back, where they hide nothing.
        let back = spot.0 + spot.1 < SIDE as f32 - 1.0;
        let item = Item { thing: company(brief, back, rng), paint: None, many: false };
        let small = if back { 0.95 } else { 0.7 };
        add(&item, small, &ordered(spot)[..3], &mut models, rng);
    }
    models
}

fn company(brief: &Brief, back: bool, rng: &mut Rng) -> Thing {
    match brief.place {
        Setting::Desert => Thing::Cactus,
        Setting::Space => Thing::Mushroom,
        Setting::Coast => rng.pick(&[Thing::Palm, Thing::Oak, Thing::Flower]),
        Setting::Village if back => rng.pick(&[Thing::House, Thing::Oak]),
        Setting::Mountains => Thing::Pine,
        Setting::City => Thing::Oak,
        _ if back => rng.pick(&[Thing::Pine, Thing::Oak]),
        _ => rng.pick(&[Thing::Flower, Thing::Oak, Thing::Flower]),
    }
}

fn draw(p: &mut Painter<'_>, view: &View, model: &mut Model) {
    model.sort();
    if let Some((x, y, reach)) = model.shadow() {
        let (x, y) = view.at(x, y, 0.0);
        let hue = p.palette.land[2].darker(0.6);
        p.pen(x, y, view.half * reach).oval_faint(0.0, 0.0, 1.0, 0.5, hue, 0.28);
    }
    p.spared = 0.4;
    for block in &model.blocks {
        draw_block(p, view, block);
    }
    p.spared = 0.15;
}

fn draw_block(p: &mut Painter<'_>, view: &View, block: &Block) {
    let ((x, y, z), (dx, dy, dz), hue) = (block.at, block.size, block.hue);
    let (x1, y1, z1) = (x + dx, y + dy, z + dz);
    let (dim, dark) = if hue.glows { (0.03, 0.08) } else { (0.12, 0.27) };
    let mut face = |corners: [(f32, f32, f32); 4], hue: Hue| {
        let points = corners.map(|(x, y, z)| view.at(x, y, z)).map(|(x, y)| (x, -y));
        p.pen(0.0, 0.0, 1.0).poly(&points, hue);
    };
    // `taper` shrinks the top towards its middle: 1 is a pyramid.
    let (tx, ty) = (dx / 2.0 * block.taper.0, dy / 2.0 * block.taper.1);
    face([(x, y1, z), (x1, y1, z), (x1 - tx, y1 - ty, z1), (x + tx, y1 - ty, z1)], hue.darker(dim));
    face([(x1, y1, z), (x1, y, z), (x1 - tx, y + ty, z1), (x1 - tx, y1 - ty, z1)], hue.darker(dark));
    if block.taper.0 < 1.0 && block.taper.1 < 1.0 {
        face(
            [(x + tx, y + ty, z1), (x1 - tx, y + ty, z1), (x1 - tx, y1 - ty, z1), (x + tx, y1 - ty, z1)],
            hue.lighter(0.12),
        );
    }
}
