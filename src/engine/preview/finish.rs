//! The last pass over the pixels: paper and pigment, hatching, clay.

use image::{ExtendedColorType, ImageEncoder as _, codecs::png};
use tiny_skia::Pixmap;

use super::{
    brush::{INK, PAPER, Painter, RenderStyle},
    noise::NoiseTables,
};

/// Turns the canvas into RGB bytes.
pub(super) fn develop(painter: &Painter<'_>) -> Vec<u8> {
    let noise = NoiseTables::shared();
    match (painter.style, &painter.shapes, &painter.lines) {
        (RenderStyle::Watercolor, Some(shapes), _) => watercolor(painter, &Shapes::new(shapes), noise),
        (RenderStyle::Clay, Some(shapes), _) => clay(painter, &Shapes::new(shapes), noise),
        (RenderStyle::Line, _, Some(lines)) => line_art(painter, lines, noise),
        _ => opaque(&painter.colours),
    }
}

/// Encodes RGB bytes as PNG, for speed rather than size.
pub(super) fn encode(rgb: &[u8], width: u32, height: u32) -> Result<Vec<u8>, image::ImageError> {
    let mut bytes = Vec::with_capacity(rgb.len() / 2);
    png::PngEncoder::new_with_quality(&mut bytes, png::CompressionType::Fast, png::FilterType::Up).write_image(
        rgb,
        width,
        height,
        ExtendedColorType::Rgb8,
    )?;
    Ok(bytes)
}

fn opaque(colours: &Pixmap) -> Vec<u8> {
    let mut rgb = vec![0; colours.data().len() / 4 * 3];
    for (to, from) in rgb.chunks_exact_mut(3).zip(colours.data().chunks_exact(4)) {
        to.copy_from_slice(&from[..3]);
    }
    rgb
}

/// A margin around the map, so that reads of neighbours need no bounds check.
const PAD: usize = 40;

/// The shape on top of each pixel; later shapes are nearer.
struct Shapes {
    ids: Vec<u16>,
    stride: usize,
    width: usize,
    height: usize,
}

impl Shapes {
    fn new(map: &Pixmap) -> Self {
        let (width, height) = (map.width() as usize, map.height() as usize);
        let stride = width + 2 * PAD;
        let mut ids = vec![0; stride * (height + 2 * PAD)];
        for (y, row) in map.data().chunks_exact(width * 4).enumerate() {
            let into = &mut ids[(y + PAD) * stride..][..stride];
            for (id, pixel) in into[PAD..].iter_mut().zip(row.chunks_exact(4)) {
                *id = u16::from_be_bytes([pixel[0], pixel[1]]);
            }
            let (first, last) = (into[PAD], into[PAD + width - 1]);
            into[..PAD].fill(first);
            into[PAD + width..].fill(last);
        }
        for y in 0..PAD {
            ids.copy_within(PAD * stride..(PAD + 1) * stride, y * stride);
            let last = (PAD + height - 1) * stride;
            ids.copy_within(last..last + stride, (PAD + height + y) * stride);
        }
        Self { ids, stride, width, height }
    }

    /// Adds `weight(mine, theirs)` of the neighbour `(dx, dy)` away to every pixel of `into`.
    fn compare(&self, into: &mut [i16], dx: isize, dy: isize, weight: impl Fn(u16, u16) -> i16) {
        for (y, out) in into.chunks_exact_mut(self.width).enumerate() {
            let at = (y + PAD) * self.stride + PAD;
            let there = (at as isize + dy * self.stride as isize + dx) as usize;
            let (mine, theirs) = (&self.ids[at..][..self.width], &self.ids[there..][..self.width]);
            for ((out, mine), theirs) in out.iter_mut().zip(mine).zip(theirs) {
                *out += weight(*mine, *theirs);
            }
        }
    }

    fn map(&self) -> Vec<i16> {
        vec![0; self.width * self.height]
    }

    /// Averages over a square of side `2 * radius + 1`.
    fn blur(&self, map: &mut [i16], radius: usize) {
        let size = (2 * radius + 1) as i32;
        let mut line = vec![0_i16; self.width];
        for row in map.chunks_exact_mut(self.width) {
            line.copy_from_slice(row);
            let take = |x: isize| i32::from(line[x.clamp(0, self.width as isize - 1) as usize]);
            let reach = radius as isize;
            let mut sum: i32 = (-reach..=reach).map(take).sum();
            for (x, out) in row.iter_mut().enumerate() {
                *out = (sum / size) as i16;
                let x = x as isize;
                sum += take(x + reach + 1) - take(x - reach);
            }
        }
        let source = map.to_vec();
        let row = |y: isize| &source[y.clamp(0, self.height as isize - 1) as usize * self.width..][..self.width];
        let mut sums = vec![0_i32; self.width];
        for y in -(radius as isize)..=radius as isize {
            sums.iter_mut().zip(row(y)).for_each(|(sum, value)| *sum += i32::from(*value));
        }
        for (y, out) in map.chunks_exact_mut(self.width).enumerate() {
            let (y, reach) = (y as isize, radius as isize);
            let (gone, new) = (row(y - reach), row(y + reach + 1));
            for (x, out) in out.iter_mut().enumerate() {
                *out = (sums[x] / size) as i16;
                sums[x] += i32::from(new[x]) - i32::from(gone[x]);
            }
        }
    }
}

/// Pigment: thinner and thicker by noise, darker where a wash ends, white paper around it all.
fn watercolor(painter: &Painter<'_>, shapes: &Shapes, noise: &NoiseTables) -> Vec<u8> {
    let (width, height) = (painter.colours.width() as usize, painter.colours.height() as usize);
    let mut edges = shapes.map();
    let reach = ((painter.unit / 300.0) as isize).clamp(1, 8);
    for (dx, dy) in [(reach, 0), (-reach, 0), (0, reach), (0, -reach)] {
        shapes.compare(&mut edges, dx, dy, |mine, theirs| if mine == theirs { 0 } else { 22 });
    }
    shapes.blur(&mut edges, 1);
    let margin = painter.unit * 0.035;
    let border = |at: usize, of: usize| (at.min(of - 1 - at) as f32 / margin * 256.0).min(1024.0) as i32;
    let columns: Vec<i32> = (0..width).map(|x| border(x, width)).collect();
    // One texel of the clouds covers more pixels of a larger picture, so that washes keep their scale.
    let zoom = (painter.unit / 512.0).max(0.5);
    let wide: Vec<usize> = (0..width).map(|x| ((x as f32 * 0.45) / zoom) as usize).collect();
    let fray: Vec<usize> = (0..width).map(|x| ((x as f32 * 2.2) / zoom) as usize).collect();
    let mut rgb = vec![0; width * height * 3];
    for (y, out) in rgb.chunks_exact_mut(width * 3).enumerate() {
        let source = &painter.colours.data()[y * width * 4..][..width * 4];
        let row_edges = &edges[y * shapes.width..][..shapes.width];
        let ids = &shapes.ids[(y + PAD) * shapes.stride + PAD..][..shapes.width];
        let clouds_row = ((y as f32 * 0.45) / zoom) as usize;
        let (frays, tooth) = (noise.soft_row(((y as f32 * 2.2) / zoom) as usize), noise.fine_row(y));
        let near_row = border(y, height);
        for (x, (to, from)) in out.chunks_exact_mut(3).zip(source.chunks_exact(4)).enumerate() {
            let id = usize::from(ids[x]);
            let cloud = i32::from(noise.soft(wide[x] + id * 37, clouds_row + id * 53)) - 128;
            let fray = i32::from(frays[fray[x] & 255]) - 128;
            let tooth = i32::from(tooth[x & 255]) - 128;
            // 256 is the colour itself. A backrun is the dark line where one level of the clouds ends.
            let backrun = if (18..26).contains(&cloud) { 16 } else { 0 };
            let mut pigment = 244 + cloud * 3 / 4 + fray / 8 + i32::from(row_edges[x]) + backrun + tooth / 3;
            let inside = columns[x].min(near_row) + fray / 2 + cloud / 2 - 120;
            if inside < 330 {
                // The rim of the wash is the last to dry, and the darkest.
                pigment = if inside < 0 {
                    0
                } else if inside < 60 {
                    pigment * inside / 60
                } else {
                    pigment
                };
                pigment += if (40..120).contains(&inside) { 26 } else { 0 };
            }
            let pigment = pigment.max(0);
            let paper = [252, 249, 241];
            for channel in 0..3 {
                let thick = (paper[channel] - i32::from(from[channel])) * pigment / 256;
                to[channel] = (paper[channel] - thick + tooth / 22).clamp(0, 255) as u8;
            }
        }
    }
    rgb
}

/// Ink on paper: hatching where a tone is dark, one spot colour where it is red.
fn line_art(painter: &Painter<'_>, lines: &Pixmap, noise: &NoiseTables) -> Vec<u8> {
    let (width, height) = (lines.width() as usize, lines.height() as usize);
    let pitch = (painter.unit / 110.0).max(5.0);
    let fixed = |value: f32| (value * 256.0) as i32;
    let period = fixed(pitch);
    let spot = [232, 108, 84];
    let (paper, ink) = (PAPER.bytes().map(i32::from), INK.bytes().map(i32::from));
    let mut rgb = vec![0; width * height * 3];
    for (y, out) in rgb.chunks_exact_mut(width * 3).enumerate() {
        let tones = &painter.colours.data()[y * width * 4..][..width * 4];
        let drawn = &lines.data()[y * width * 4..][..width * 4];
        let waver = noise.soft_row(y / 3);
        for (x, to) in out.chunks_exact_mut(3).enumerate() {
            let (tone, line) = (&tones[x * 4..x * 4 + 3], i32::from(drawn[x * 4]));
            let [r, g, b] = [i32::from(tone[0]), i32::from(tone[1]), i32::from(tone[2])];
            let light = (r * 77 + g * 150 + b * 29) >> 8;
            let mut dark = 0;
            let shake = (i32::from(waver[(x / 3) & 255]) - 128) * 6;
            // Each set of lines begins at its own tone and grows thicker below it.
            for (direction, begins) in [(1, 120), (-1, 58)] {
                if light < begins {
                    let along = ((x as i32 + y as i32 * direction) * 181 + shake).rem_euclid(period);
                    let off = (along - period / 2).abs();
                    let half = (begins - light) * period / 330 + 40;
                    dark = dark.max((half - off + 128).clamp(0, 256));
                }
            }
            let red = ((r - g - 42).min(g * 2 - 20 + r / 2) * 5).clamp(0, 230);
            let line_dark = 250 - line.clamp(38, 250);
            for channel in 0..3 {
                let base = paper[channel] + (spot[channel] - paper[channel]) * red / 256;
                let hatched = base + (ink[channel] - base) * dark * (256 - red / 2) / 256 * 200 / (256 * 256);
                to[channel] = (hatched + (ink[channel] - hatched) * line_dark / 212).clamp(0, 255) as u8;
            }
        }
    }
    rgb
}

/// Clay: every shape is round at its edges, lit from the upper left, and drops a soft shadow on what is behind it.
fn clay(painter: &Painter<'_>, shapes: &Shapes, noise: &NoiseTables) -> Vec<u8> {
    let (width, height) = (painter.colours.width() as usize, painter.colours.height() as usize);
    let scale = painter.unit / 1024.0;
    let reach = |pixels: f32| ((pixels * scale).round() as isize).clamp(1, PAD as isize - 2);
    let (mut light, mut shadow) = (shapes.map(), shapes.map());
    for (distance, weight) in [(1.0, 13), (3.0, 12), (5.0, 10), (8.0, 9), (12.0, 8), (17.0, 7)] {
        let d = reach(distance);
        shapes.compare(&mut light, -d, -d, |mine, theirs| if mine == theirs { 0 } else { weight });
        shapes.compare(&mut light, d, d, |mine, theirs| if mine == theirs { 0 } else { -weight });
    }
    for (distance, weight) in [(2.0, 20), (5.0, 18), (8.0, 15), (12.0, 12), (16.0, 9), (20.0, 7)] {
        let d = reach(distance);
        shapes.compare(&mut shadow, -d, -d, |mine, theirs| if theirs > mine { weight } else { 0 });
    }
    shapes.blur(&mut light, reach(2.4) as usize);
    shapes.blur(&mut shadow, reach(4.0) as usize);
    let mut rgb = vec![0; width * height * 3];
    for (y, out) in rgb.chunks_exact_mut(width * 3).enumerate() {
        let source = &painter.colours.data()[y * width * 4..][..width * 4];
        let row = (y / 2) * shapes.width;
        let (lights, shadows) = (&light[row..][..shapes.width], &shadow[row..][..shapes.width]);
        let thumb = noise.soft_row(y / 2);
        for (x, (to, from)) in out.chunks_exact_mut(3).zip(source.chunks_exact(4)).enumerate() {
            let light = i32::from(lights[x / 2]) + (i32::from(thumb[(x / 2) & 255]) - 128) / 9;
            let shadow = i32::from(shadows[x / 2]);
            // Lit edges gain white, turned-away ones and shadows lose more red than blue.
            let (gain, loss) = (light.max(0) * 2, (-light).max(0) * 3 / 2 + shadow);
            for (channel, cold) in [(0, 256), (1, 236), (2, 196)] {
                let value = i32::from(from[channel]);
                let lost = value - value * (loss * cold / 256).min(190) / 256;
                to[channel] = (lost + (255 - lost) * gain.min(200) / 256).clamp(0, 255) as u8;
            }
        }
    }
    rgb
}
