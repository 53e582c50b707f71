//! Draws shapes on a canvas. Every render style draws the same shapes with different tools.

use std::sync::atomic::{AtomicBool, Ordering};

use tiny_skia::{Color, FillRule, LineCap, LineJoin, Paint, Path, PathBuilder, Pixmap, Rect, Stroke, Transform};

use super::{
    curves::wobble,
    hue::{Hue, rgb},
    noise::NoiseTables,
    palette::Palette,
};

/// How shapes are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RenderStyle {
    Watercolor,
    Flat,
    Line,
    Isometric,
    Clay,
}

impl RenderStyle {
    /// The render style of a style of the catalogue; unknown styles are drawn flat.
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

/// A canvas with the tools of one render style.
pub(super) struct Painter<'a> {
    pub(super) style: RenderStyle,
    pub(super) palette: Palette,
    /// The visible pixels; for a line drawing, its tones.
    pub(super) colours: Pixmap,
    /// The lines of a line drawing.
    pub(super) lines: Option<Pixmap>,
    /// The topmost shape of each pixel, from which edges, bevels and shadows are computed. Half the size for soft ones.
    pub(super) shapes: Option<Pixmap>,
    /// The unit of length: the shorter side, in pixels.
    pub(super) unit: f32,
    /// The colour that distance adds, and how much of it.
    pub(super) haze: (Hue, f32),
    /// How much of the hour's dimness the next shapes are spared, so that the subject is visible at night.
    pub(super) spared: f32,
    count: u16,
    stop: &'a AtomicBool,
}

impl<'a> Painter<'a> {
    /// A blank canvas; `None` for a size without pixels.
    pub(super) fn new(style: RenderStyle, palette: Palette, size: (u32, u32), stop: &'a AtomicBool) -> Option<Self> {
        let (width, height) = size;
        let shapes = match style {
            RenderStyle::Watercolor => Some(Pixmap::new(width, height)?),
            RenderStyle::Clay => Some(Pixmap::new(width.div_ceil(2), height.div_ceil(2))?),
            _ => None,
        };
        let lines = if style == RenderStyle::Line { Some(Pixmap::new(width, height)?) } else { None };
        Some(Self {
            style,
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

    /// Whether the drawing was cancelled.
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
        let spared = if self.style == RenderStyle::Line { 1.0 } else { self.spared };
        let seen = self.palette.lit(hue).mix(hue, spared).mix(self.haze.0, self.haze.1);
        if self.style == RenderStyle::Line { seen.lighter(0.2) } else { seen }
    }

    /// Fills a shape.
    pub(super) fn fill(&mut self, path: &Path, hue: Hue) {
        self.fill_faint(path, hue, 1.0);
    }

    /// Fills a translucent shape.
    pub(super) fn fill_faint(&mut self, path: &Path, hue: Hue, alpha: f32) {
        let hue = self.seen(hue);
        let paint = solid(hue, alpha);
        let wobbly = match self.style {
            RenderStyle::Watercolor => wobble(path, self.unit * 0.0034, self.unit),
            RenderStyle::Line => wobble(path, self.unit * 0.0022, self.unit),
            _ => None,
        };
        let path = wobbly.as_ref().unwrap_or(path);
        self.colours.fill_path(path, &paint, FillRule::Winding, Transform::identity(), None);
        if self.style == RenderStyle::Clay && alpha >= 1.0 {
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
        let wobbly = match self.style {
            RenderStyle::Watercolor | RenderStyle::Line => wobble(path, self.unit * 0.0025, self.unit),
            _ => None,
        };
        let path = wobbly.as_ref().unwrap_or(path);
        let width = if self.style == RenderStyle::Clay { width.max(self.unit * 0.006) } else { width.max(1.0) };
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
        let rings = match self.style {
            RenderStyle::Line => return,
            RenderStyle::Watercolor | RenderStyle::Clay => 9,
            RenderStyle::Flat | RenderStyle::Isometric => 3,
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
        let part = if self.style == RenderStyle::Clay { 0.5 } else { 1.0 };
        let scaled = Transform::from_scale(part, part);
        if let Some(width) = stroke {
            shapes.stroke_path(path, &paint, &rounded(width), scaled, None);
        } else {
            shapes.fill_path(path, &paint, FillRule::Winding, scaled, None);
        }
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

impl Painter<'_> {
    /// Draws over everything without an outline, an edge or a shadow.
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
        let noise = NoiseTables::shared();
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
