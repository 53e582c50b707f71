//! Drawing: shapes in, marks of one look out. Every look draws the same shapes with different tools.

use std::sync::atomic::{AtomicBool, Ordering};

use tiny_skia::{
    Color, FillRule, LineCap, LineJoin, Paint, Path, PathBuilder, PathSegment, Pixmap, Point, Rect, Stroke, Transform,
};

use super::{
    noise::Textures,
    palette::{Hue, Palette, rgb},
};

/// How the marks look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    Watercolor,
    Flat,
    Line,
    Isometric,
    Clay,
}

impl Look {
    /// The look of a style of the catalogue; styles nobody taught this engine are drawn flat.
    pub(super) fn of_style(id: &str) -> Self {
        match id {
            "watercolor" => Self::Watercolor,
            "line-art" => Self::Line,
            "isometric" => Self::Isometric,
            "clay-3d" => Self::Clay,
            _ => Self::Flat,
        }
    }
}

/// Paper and ink of the line drawings.
pub(super) const PAPER: Hue = rgb(250, 245, 234);
pub(super) const INK: Hue = rgb(38, 42, 66);

/// A canvas with the tools of one look.
pub(super) struct Painter<'a> {
    pub(super) look: Look,
    pub(super) palette: Palette,
    /// What is seen; of a line drawing, its tones.
    pub(super) colours: Pixmap,
    /// The lines of a line drawing.
    pub(super) lines: Option<Pixmap>,
    /// Which shape is on top, at half the size: edges, bevels and shadows are found here.
    pub(super) shapes: Option<Pixmap>,
    /// The unit of length: the shorter side, in pixels.
    pub(super) unit: f32,
    /// What distance does to every colour.
    pub(super) haze: (Hue, f32),
    /// How much of the hour's dimness is spared what is drawn next: the subject must be seen at night, too.
    pub(super) spared: f32,
    count: u16,
    stop: &'a AtomicBool,
}

impl<'a> Painter<'a> {
    /// A blank canvas; `None` for a size without pixels.
    pub(super) fn new(look: Look, palette: Palette, size: (u32, u32), stop: &'a AtomicBool) -> Option<Self> {
        let (width, height) = size;
        let half = || Pixmap::new(width.div_ceil(2), height.div_ceil(2));
        let shapes = if matches!(look, Look::Watercolor | Look::Clay) { Some(half()?) } else { None };
        let lines = if look == Look::Line { Some(Pixmap::new(width, height)?) } else { None };
        Some(Self {
            look,
            palette,
            colours: Pixmap::new(width, height)?,
            lines,
            shapes,
            unit: width.min(height) as f32,
            haze: (PAPER, 0.0),
            spared: 0.0,
            count: 0,
            stop,
        })
    }

    /// Whether nobody wants the picture any more.
    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub(super) fn width(&self) -> f32 {
        self.colours.width() as f32
    }

    pub(super) fn height(&self) -> f32 {
        self.colours.height() as f32
    }

    fn seen(&self, hue: Hue) -> Hue {
        // Ink drawings leave things white: only what is dark in itself, or the sky, is hatched.
        let spared = if self.look == Look::Line { 1.0 } else { self.spared };
        let seen = self.palette.lit(hue).mix(hue, spared).mix(self.haze.0, self.haze.1);
        if self.look == Look::Line { seen.lighter(0.2) } else { seen }
    }

    /// Fills a shape.
    pub(super) fn fill(&mut self, path: &Path, hue: Hue) {
        self.fill_faint(path, hue, 1.0);
    }

    /// Fills a shape through which what lies behind can be seen.
    pub(super) fn fill_faint(&mut self, path: &Path, hue: Hue, alpha: f32) {
        let hue = self.seen(hue);
        let paint = solid(hue, alpha);
        let wobbly = match self.look {
            Look::Watercolor => wobble(path, self.unit * 0.0045),
            Look::Line => wobble(path, self.unit * 0.0022),
            _ => None,
        };
        let path = wobbly.as_ref().unwrap_or(path);
        self.colours.fill_path(path, &paint, FillRule::Winding, Transform::identity(), None);
        if self.look == Look::Clay && alpha >= 1.0 {
            // A stroke with round joins takes the edge off every corner.
            let round = rounded(self.unit * 0.009);
            self.colours.stroke_path(path, &paint, &round, Transform::identity(), None);
        }
        if alpha >= 0.6 {
            self.mark(path, None);
        }
        if let Some(lines) = &mut self.lines
            && alpha >= 0.6
        {
            lines.fill_path(path, &solid(PAPER, 1.0), FillRule::Winding, Transform::identity(), None);
            let ink = solid(INK.mix(PAPER, self.haze.1 * 0.8), 1.0);
            lines.stroke_path(path, &ink, &rounded(self.unit * 0.0034), Transform::identity(), None);
        }
    }

    /// Draws along a path.
    pub(super) fn stroke(&mut self, path: &Path, width: f32, hue: Hue) {
        let hue = self.seen(hue);
        let wobbly = match self.look {
            Look::Watercolor | Look::Line => wobble(path, self.unit * 0.0025),
            _ => None,
        };
        let path = wobbly.as_ref().unwrap_or(path);
        let width = if self.look == Look::Clay { width.max(self.unit * 0.006) } else { width.max(1.0) };
        self.colours.stroke_path(path, &solid(hue, 1.0), &rounded(width), Transform::identity(), None);
        self.mark(path, Some(width));
        if let Some(lines) = &mut self.lines {
            let ink = solid(INK.mix(PAPER, self.haze.1 * 0.8), 1.0);
            let thin = (self.unit * 0.003).max(1.0);
            if width > thin * 2.5 {
                lines.stroke_path(path, &ink, &rounded(width + thin), Transform::identity(), None);
                let core = rounded(width - thin);
                lines.stroke_path(path, &solid(PAPER, 1.0), &core, Transform::identity(), None);
            } else {
                lines.stroke_path(path, &ink, &rounded(thin), Transform::identity(), None);
            }
        }
    }

    /// A soft light around a point.
    pub(super) fn halo(&mut self, x: f32, y: f32, radius: f32, hue: Hue, strength: f32) {
        let rings = match self.look {
            Look::Line => return,
            Look::Watercolor | Look::Clay => 9,
            Look::Flat | Look::Isometric => 3,
        };
        for ring in 0..rings {
            let part = 1.0 - ring as f32 / rings as f32;
            if let Some(circle) = PathBuilder::from_circle(x, y, radius * part) {
                let paint = solid(hue, strength / rings as f32);
                self.colours.fill_path(&circle, &paint, FillRule::Winding, Transform::identity(), None);
            }
        }
    }

    /// Fills every row of the canvas with the colour that `of` gives for its height (0 at the top, 1 at the bottom).
    pub(super) fn rows(&mut self, of: impl Fn(f32) -> Hue) {
        let (width, height) = (self.colours.width() as usize, self.colours.height() as f32);
        for (y, row) in self.colours.data_mut().chunks_exact_mut(width * 4).enumerate() {
            let [r, g, b] = of(y as f32 / height).bytes();
            for pixel in row.chunks_exact_mut(4) {
                pixel.copy_from_slice(&[r, g, b, 255]);
            }
        }
        if let Some(lines) = &mut self.lines {
            lines.fill(colour(PAPER, 1.0));
        }
    }

    /// A pen at a place, where the ground is y = 0, up is positive and 1 is `scale` pixels.
    pub(super) fn pen<'p>(&'p mut self, x: f32, y: f32, scale: f32) -> Pen<'p, 'a> {
        Pen { painter: self, x, y, scale, flip: 1.0 }
    }

    fn mark(&mut self, path: &Path, stroke: Option<f32>) {
        let Some(shapes) = &mut self.shapes else { return };
        // An eye or a whisker is a mark on its shape, not a shape with edges of its own.
        if path.bounds().width().max(path.bounds().height()) < self.unit * 0.034 {
            return;
        }
        self.count = self.count.saturating_add(1);
        let mut paint = Paint::default();
        let [high, low] = self.count.to_be_bytes();
        paint.set_color_rgba8(high, low, 0, 255);
        paint.anti_alias = false;
        let half = Transform::from_scale(0.5, 0.5);
        if let Some(width) = stroke {
            shapes.stroke_path(path, &paint, &rounded(width), half, None);
        } else {
            shapes.fill_path(path, &paint, FillRule::Winding, half, None);
        }
    }
}

/// Draws one thing in its own coordinates.
pub(super) struct Pen<'p, 'a> {
    pub(super) painter: &'p mut Painter<'a>,
    pub(super) x: f32,
    pub(super) y: f32,
    pub(super) scale: f32,
    /// -1 to draw mirrored.
    pub(super) flip: f32,
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

fn colour(hue: Hue, alpha: f32) -> Color {
    let [r, g, b] = hue.bytes();
    Color::from_rgba8(r, g, b, (alpha.clamp(0.0, 1.0) * 255.0) as u8)
}

fn solid(hue: Hue, alpha: f32) -> Paint<'static> {
    let mut paint = Paint::default();
    paint.set_color(colour(hue, alpha));
    paint
}

fn rounded(width: f32) -> Stroke {
    Stroke { width, line_cap: LineCap::Round, line_join: LineJoin::Round, ..Stroke::default() }
}

/// The path as a hand that is not quite steady draws it.
fn wobble(path: &Path, amount: f32) -> Option<Path> {
    let noise = Textures::shared();
    let shift = |p: Point| {
        let (x, y) = ((p.x * 3.0 + 4096.0) as usize, (p.y * 3.0 + 4096.0) as usize);
        let dx = f32::from(noise.soft(x / 2, y / 2)) - 128.0;
        let dy = f32::from(noise.soft(y / 2 + 77, x / 2 + 31)) - 128.0;
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

impl Painter<'_> {
    /// Draws over everything without being a shape of its own: no outline, no edge, no shadow.
    pub(super) fn overlay(&mut self, path: &Path, stroke: Option<f32>, hue: Hue, alpha: f32) {
        let paint = solid(self.palette.lit(hue), alpha);
        let draw = |onto: &mut Pixmap, paint: &Paint<'_>| match stroke {
            Some(width) => onto.stroke_path(path, paint, &rounded(width), Transform::identity(), None),
            None => onto.fill_path(path, paint, FillRule::Winding, Transform::identity(), None),
        };
        draw(&mut self.colours, &paint);
        if let Some(lines) = &mut self.lines {
            // A thin stroke is ink; whatever covers an area hides the lines behind it.
            let thin = stroke.is_some_and(|width| width < self.unit * 0.01);
            draw(lines, &solid(if thin { INK } else { PAPER }, alpha));
        }
    }

    /// Water from `top` to `bottom`: mirrors what is above it, more dimly with every row.
    pub(super) fn mirror(&mut self, (top, bottom): (f32, f32), (far, near): (Hue, Hue), clear: f32, ripples: f32) {
        let (width, height) = (self.colours.width() as usize, self.colours.height() as usize);
        let (first, last) = ((top.max(1.0) as usize).min(height), (bottom.max(0.0) as usize).min(height));
        let noise = Textures::shared();
        let (above, below) = self.colours.data_mut().split_at_mut(first * width * 4);
        let (far, near) = (self.palette.lit(far), self.palette.lit(near));
        let ripple = (self.unit / 300.0).max(1.0) * ripples;
        for (n, row) in below.chunks_exact_mut(width * 4).take(last.saturating_sub(first)).enumerate() {
            let depth = n as f32 / (bottom - top).max(1.0);
            let tint = far.mix(near, depth).bytes().map(u32::from);
            let wave = f32::from(noise.soft(n * 5 / 2, 9)) - 128.0;
            let up = (n as f32 * 1.15 + wave * ripple * 0.03).max(0.0) as usize;
            let source = &above[(first - 1 - up.min(first - 1)) * width * 4..][..width * 4];
            let shift = wave * ripple * (0.03 + depth * 0.1);
            let keep = (clear * (1.0 - depth * 0.75) * 256.0) as u32;
            for (x, pixel) in row.chunks_exact_mut(4).enumerate() {
                let from = (x as f32 + shift).clamp(0.0, (width - 1) as f32) as usize * 4;
                for channel in 0..3 {
                    let mirrored = u32::from(source[from + channel]);
                    pixel[channel] = ((mirrored * keep + tint[channel] * (256 - keep)) >> 8) as u8;
                }
                pixel[3] = 255;
            }
        }
        let rect = Rect::from_ltrb(0.0, top, width as f32, bottom.min(height as f32)).map(PathBuilder::from_rect);
        if let Some(path) = rect {
            self.mark(&path, None);
            if let Some(lines) = &mut self.lines {
                lines.fill_path(&path, &solid(PAPER, 1.0), FillRule::Winding, Transform::identity(), None);
            }
        }
    }
}
