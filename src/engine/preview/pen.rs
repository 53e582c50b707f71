//! A pen: draws one thing in that thing's own coordinates.

use tiny_skia::{PathBuilder, Point, Rect};

use super::{brush::Painter, curves::smooth, hue::Hue};

/// Draws one thing in its own coordinates.
pub(super) struct Pen<'p, 'a> {
    pub(super) painter: &'p mut Painter<'a>,
    pub(super) x: f32,
    pub(super) y: f32,
    pub(super) scale: f32,
    /// -1 to draw mirrored.
    pub(super) flip: f32,
}

impl<'a> Painter<'a> {
    /// A pen at a place, where the ground is y = 0, up is positive and 1 is `scale` pixels.
    pub(super) fn pen<'p>(&'p mut self, x: f32, y: f32, scale: f32) -> Pen<'p, 'a> {
        Pen { painter: self, x, y, scale, flip: 1.0 }
    }
}

impl Pen<'_, '_> {
    fn at(&self, (x, y): (f32, f32)) -> Point {
        Point::from_xy(self.x + x * self.scale * self.flip, self.y - y * self.scale)
    }

    /// A shape with straight sides.
    pub(super) fn poly(&mut self, points: &[(f32, f32)], hue: Hue) {
        let mut builder = PathBuilder::new();
        for (n, point) in points.iter().enumerate() {
            let at = self.at(*point);
            if n == 0 { builder.move_to(at.x, at.y) } else { builder.line_to(at.x, at.y) }
        }
        builder.close();
        if let Some(path) = builder.finish() {
            self.painter.fill(&path, hue);
        }
    }

    /// A rectangle from one corner to the opposite one.
    pub(super) fn rect(&mut self, x0: f32, y0: f32, x1: f32, y1: f32, hue: Hue) {
        self.poly(&[(x0, y0), (x1, y0), (x1, y1), (x0, y1)], hue);
    }

    /// An ellipse around a centre.
    pub(super) fn oval(&mut self, x: f32, y: f32, rx: f32, ry: f32, hue: Hue) {
        self.oval_faint(x, y, rx, ry, hue, 1.0);
    }

    /// A translucent ellipse.
    pub(super) fn oval_faint(&mut self, x: f32, y: f32, rx: f32, ry: f32, hue: Hue, alpha: f32) {
        let centre = self.at((x, y));
        let (rx, ry) = (rx * self.scale, ry * self.scale);
        let rect = Rect::from_ltrb(centre.x - rx, centre.y - ry, centre.x + rx, centre.y + ry);
        if let Some(path) = rect.and_then(PathBuilder::from_oval) {
            self.painter.fill_faint(&path, hue, alpha);
        }
    }

    /// A soft shape through points.
    pub(super) fn blob(&mut self, points: &[(f32, f32)], hue: Hue) {
        let points: Vec<Point> = points.iter().map(|point| self.at(*point)).collect();
        if let Some(path) = smooth(&points, true) {
            self.painter.fill(&path, hue);
        }
    }

    /// A soft line through points, `width` thick.
    pub(super) fn line(&mut self, points: &[(f32, f32)], width: f32, hue: Hue) {
        let points: Vec<Point> = points.iter().map(|point| self.at(*point)).collect();
        if let Some(path) = smooth(&points, false) {
            self.painter.stroke(&path, width * self.scale, hue);
        }
    }

    /// A soft light.
    pub(super) fn halo(&mut self, x: f32, y: f32, radius: f32, hue: Hue, strength: f32) {
        let at = self.at((x, y));
        self.painter.halo(at.x, at.y, radius * self.scale, hue, strength);
    }
}
