//! Smooth curves, and lines as an unsteady hand draws them.

use tiny_skia::{Path, PathBuilder, PathSegment, Point};

use super::noise::NoiseTables;

/// A curve through points (Catmull-Rom).
pub(super) fn smooth(points: &[Point], closed: bool) -> Option<Path> {
    let mut builder = PathBuilder::new();
    curve(&mut builder, points, closed);
    if closed {
        builder.close();
    }
    builder.finish()
}

/// The same as a part of a longer path.
pub(super) fn curve(builder: &mut PathBuilder, points: &[Point], closed: bool) {
    let count = points.len();
    let Some(first) = points.first() else { return };
    builder.move_to(first.x, first.y);
    let at = |index: isize| {
        let last = count as isize;
        points[if closed { index.rem_euclid(last) } else { index.clamp(0, last - 1) } as usize]
    };
    let segments = if closed { count } else { count - 1 };
    for n in 0..segments as isize {
        let (before, from, to, after) = (at(n - 1), at(n), at(n + 1), at(n + 2));
        builder.cubic_to(
            from.x + (to.x - before.x) / 6.0,
            from.y + (to.y - before.y) / 6.0,
            to.x - (after.x - from.x) / 6.0,
            to.y - (after.y - from.y) / 6.0,
            to.x,
            to.y,
        );
    }
}

/// The path as an unsteady hand draws it.
pub(super) fn wobble(path: &Path, amount: f32, unit: f32) -> Option<Path> {
    let noise = NoiseTables::shared();
    // The same hand at every size.
    let zoom = 900.0 / unit;
    let shift = |p: Point| {
        let (x, y) = ((p.x * zoom + 4096.0) as usize, (p.y * zoom + 4096.0) as usize);
        let dx = f32::from(noise.soft(x, y)) - 128.0;
        let dy = f32::from(noise.soft(y + 77, x + 31)) - 128.0;
        Point::from_xy(p.x + dx * amount / 64.0, p.y + dy * amount / 64.0)
    };
    let mut builder = PathBuilder::new();
    let (mut from, mut start) = (Point::zero(), Point::zero());
    let step = (amount * 4.0).max(6.0);
    for segment in path.segments() {
        let (to, bend): (Point, Option<(Point, Point)>) = match segment {
            PathSegment::MoveTo(to) => {
                let to_shifted = shift(to);
                builder.move_to(to_shifted.x, to_shifted.y);
                (from, start) = (to, to);
                continue;
            }
            PathSegment::LineTo(to) => (to, None),
            PathSegment::QuadTo(bend, to) => (to, Some((bend, bend))),
            PathSegment::CubicTo(a, b, to) => (to, Some((a, b))),
            PathSegment::Close => (start, None),
        };
        let pieces = ((from.distance(to) / step) as usize).clamp(1, 200).max(if bend.is_some() { 6 } else { 1 });
        for piece in 1..=pieces {
            let t = piece as f32 / pieces as f32;
            let point = shift(between(from, bend, to, t));
            builder.line_to(point.x, point.y);
        }
        if segment == PathSegment::Close {
            builder.close();
        }
        from = to;
    }
    builder.finish()
}

fn between(from: Point, bend: Option<(Point, Point)>, to: Point, t: f32) -> Point {
    let u = 1.0 - t;
    let weigh =
        |a: f32, b: f32, c: f32, d: f32| a * u * u * u + 3.0 * b * u * u * t + 3.0 * c * u * t * t + d * t * t * t;
    let (a, b) = bend.unwrap_or_else(|| {
        let third = |part: f32| Point::from_xy(from.x + (to.x - from.x) * part, from.y + (to.y - from.y) * part);
        (third(1.0 / 3.0), third(2.0 / 3.0))
    });
    Point::from_xy(weigh(from.x, a.x, b.x, to.x), weigh(from.y, a.y, b.y, to.y))
}
