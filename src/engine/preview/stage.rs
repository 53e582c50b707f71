//! Where things go in a picture: the horizon, the ridges that they stand on, and the layer of each thing.

use tiny_skia::{Path, PathBuilder, Point};

use super::{
    brush::Painter,
    curves::curve,
    noise::Rng,
    words::{Brief, Item, Setting, Thing},
};

/// A wavy line across the picture, below which there is land.
#[derive(Debug, Clone)]
pub(super) struct Ridge {
    pub(super) base: f32,
    pub(super) amp: f32,
    length: f32,
    pub(super) phase: [f32; 2],
    /// A headland: its top, half its width, and how deep it falls on both sides.
    pub(super) falls: Option<(f32, f32, f32)>,
}

impl Ridge {
    pub(super) fn new(base: f32, amp: f32, length: f32, rng: &mut Rng) -> Self {
        Self {
            base,
            amp,
            length,
            phase: [rng.unit(), rng.unit()].map(|part| part * std::f32::consts::TAU),
            falls: None,
        }
    }

    /// Its height at `x`.
    pub(super) fn y(&self, x: f32) -> f32 {
        let turn = x / self.length * std::f32::consts::TAU;
        let wave = (turn + self.phase[0]).sin() * 0.62 + (turn * 2.3 + self.phase[1]).sin() * 0.38;
        let fall = self.falls.map_or(0.0, |(top, half, depth)| {
            let away = (((x - top).abs() - half * 0.45) / half).clamp(0.0, 1.0);
            away * away * (3.0 - 2.0 * away) * depth * 1.1
        });
        self.base - wave * self.amp + fall
    }

    /// The land below it.
    pub(super) fn path(&self, width: f32, height: f32) -> Option<Path> {
        let steps = 36;
        let reach = width * 0.03;
        let x = |n: i32| -reach + n as f32 / steps as f32 * (width + 2.0 * reach);
        let points: Vec<Point> = (0..=steps).map(|n| Point::from_xy(x(n), self.y(x(n)))).collect();
        let mut builder = PathBuilder::new();
        curve(&mut builder, &points, false);
        let floor = height + reach;
        builder.line_to(width + reach, floor);
        builder.line_to(-reach, floor);
        builder.close();
        builder.finish()
    }
}

/// The measures of one picture.
pub(super) struct Stage {
    pub(super) horizon: f32,
    /// Where the subject stands, across.
    pub(super) main_x: f32,
    /// Where sun and moon are.
    pub(super) disc_x: f32,
    /// Where it is balanced from.
    pub(super) other_x: f32,
    /// Where buildings and trees stand.
    pub(super) mid: Ridge,
    /// Where animals stand.
    pub(super) near: Ridge,
    /// The top and bottom of the water, if there is any.
    pub(super) water: Option<(f32, f32)>,
}

/// The layer of a picture that a thing belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zone {
    Air,
    Water,
    Mid,
    Near,
}

pub(super) fn zone(item: &Item, place: Setting) -> Zone {
    match item.thing {
        Thing::Balloon | Thing::Plane | Thing::Rocket => Zone::Air,
        Thing::Bird if item.many => Zone::Air,
        Thing::Sailboat | Thing::Whale | Thing::Duck | Thing::Fish | Thing::Bridge => match place {
            Setting::Lake | Setting::Coast => Zone::Water,
            Setting::Space => Zone::Air,
            _ => Zone::Near,
        },
        Thing::House
        | Thing::Lighthouse
        | Thing::Castle
        | Thing::Barn
        | Thing::Windmill
        | Thing::Church
        | Thing::Pyramid
        | Thing::Pine
        | Thing::Oak
        | Thing::Palm => Zone::Mid,
        _ => Zone::Near,
    }
}

impl Stage {
    pub(super) fn new(p: &Painter<'_>, brief: &Brief, rng: &mut Rng) -> Self {
        let (width, height, unit) = (p.width(), p.height(), p.unit);
        let airy = brief.items.first().is_some_and(|item| zone(item, brief.place) == Zone::Air);
        let part = match brief.place {
            _ if airy => 0.74,
            Setting::Coast | Setting::Lake => 0.58,
            Setting::City => 0.8,
            _ => 0.62,
        };
        let horizon = height * (part + rng.between(-0.02, 0.02));
        let below = height - horizon;
        // In a wide picture the things stay together around the middle.
        let spread = width.min(unit * 1.7);
        let side = if rng.chance(0.5) { 1.0 } else { -1.0 };
        let (main_x, other_x) = (width / 2.0 - side * spread * 0.17, width / 2.0 + side * spread * 0.25);
        let ridge = |base: f32, amp: f32, rng: &mut Rng| Ridge::new(base, amp, unit * 1.3, rng);
        let (mid, near, water) = match brief.place {
            Setting::Lake => {
                let bank = (horizon + below * 0.86).max(height - unit * 0.1);
                (
                    ridge(horizon + unit * 0.012, unit * 0.006, rng),
                    ridge(bank, unit * 0.014, rng),
                    Some((horizon + unit * 0.028, bank + unit * 0.05)),
                )
            }
            Setting::Coast => {
                let mut head = ridge(horizon + unit * 0.05, unit * 0.012, rng);
                // What swims has the water to itself.
                let swims = brief.items.first().is_some_and(|item| zone(item, brief.place) == Zone::Water);
                let top = if swims { other_x + side * spread * 0.22 } else { main_x };
                head.falls = Some((top, spread * if swims { 0.2 } else { 0.34 }, height - horizon));
                (head, ridge(height - unit * 0.07, unit * 0.016, rng), Some((horizon, height)))
            }
            Setting::City => (ridge(horizon, 0.0, rng), ridge(horizon + below * 0.2, 0.0, rng), None),
            _ => (
                ridge(horizon + below * 0.16, unit * 0.022, rng),
                ridge(horizon + below * 0.56, unit * 0.028, rng),
                None,
            ),
        };
        let alone = brief.items.len() < 2;
        let disc_x = width / 2.0 + side * spread * if alone { 0.25 } else { 0.04 };
        Self { horizon, main_x, disc_x, other_x, mid, near, water }
    }

    /// Where the `index`-th thing of a picture goes, across.
    pub(super) fn x(&self, index: usize, width: f32) -> f32 {
        match index {
            0 => self.main_x,
            1 => self.other_x,
            2 => f32::midpoint(self.main_x, self.other_x),
            _ => (self.main_x + (self.main_x - self.other_x) * 0.62).clamp(width * 0.1, width * 0.9),
        }
    }
}
