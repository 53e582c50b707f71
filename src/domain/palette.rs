//! Colours as people see them: the few that characterise pictures, and how far two palettes are apart.
//!
//! Distances are taken in `OKLab` (Björn Ottosson, 2020), where equal distances look about equally different.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// An sRGB colour; `#rrggbb` as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rgb {
    /// Red, 0–255.
    pub r: u8,
    /// Green, 0–255.
    pub g: u8,
    /// Blue, 0–255.
    pub b: u8,
}

/// The text is not a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a colour is written #rrggbb, for example #ff6600")]
pub struct InvalidColor;

impl FromStr for Rgb {
    type Err = InvalidColor;
    fn from_str(text: &str) -> Result<Self, InvalidColor> {
        let digits = text.strip_prefix('#').ok_or(InvalidColor)?;
        if digits.len() != 6 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(InvalidColor);
        }
        let channel = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| InvalidColor);
        Ok(Self { r: channel(0)?, g: channel(2)?, b: channel(4)? })
    }
}

impl fmt::Display for Rgb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:02x}{:02x}{:02x}", self.r, self.g, self.b)
    }
}

impl TryFrom<String> for Rgb {
    type Error = InvalidColor;
    fn try_from(text: String) -> Result<Self, InvalidColor> {
        text.parse()
    }
}

impl From<Rgb> for String {
    fn from(color: Rgb) -> String {
        color.to_string()
    }
}

/// A colour in `OKLab`: lightness 0–1, and two opponent axes around 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OkLab {
    /// Lightness.
    pub l: f64,
    /// Green to red.
    pub a: f64,
    /// Blue to yellow.
    pub b: f64,
}

impl OkLab {
    /// The Euclidean distance: 0.02 is hardly visible, 0.2 is another colour.
    pub fn distance(self, other: Self) -> f64 {
        let (l, a, b) = (self.l - other.l, self.a - other.a, self.b - other.b);
        (l * l + a * a + b * b).sqrt()
    }

    /// The distance from grey.
    pub fn chroma(self) -> f64 {
        self.a.hypot(self.b)
    }

    fn is_near_white_or_black(self) -> bool {
        (self.l > 0.96 || self.l < 0.18) && self.chroma() < 0.04
    }
}

impl From<Rgb> for OkLab {
    #[expect(clippy::many_single_char_names, reason = "the names of the published matrices")]
    fn from(color: Rgb) -> Self {
        let linear = |channel: u8| {
            let c = f64::from(channel) / 255.0;
            if c <= 0.040_45 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        };
        let (r, g, b) = (linear(color.r), linear(color.g), linear(color.b));
        let l = (0.412_221_470_8 * r + 0.536_332_536_3 * g + 0.051_445_992_9 * b).cbrt();
        let m = (0.211_903_498_2 * r + 0.680_699_545_1 * g + 0.107_396_956_6 * b).cbrt();
        let s = (0.088_302_461_9 * r + 0.281_718_837_6 * g + 0.629_978_700_5 * b).cbrt();
        Self {
            l: 0.210_454_255_3 * l + 0.793_617_785_0 * m - 0.004_072_046_8 * s,
            a: 1.977_998_495_1 * l - 2.428_592_205_0 * m + 0.450_593_709_9 * s,
            b: 0.025_904_037_1 * l + 0.782_771_766_2 * m - 0.808_675_766_0 * s,
        }
    }
}

/// A colour of a palette and its share of the pictures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Swatch {
    /// A colour that occurs in the pictures.
    pub color: Rgb,
    /// From 0 to 1; the shares of a palette sum to 1.
    pub share: f64,
}

/// The few colours that characterise a weighted set of colours, the largest share first.
///
/// Weighted k-means in `OKLab`, without randomness: the same colours give the same palette. Near-white and near-black
/// are separate from the rest, because paper and ink cover most of a picture and would pull every mean towards grey.
pub fn palette(colors: &[(Rgb, f64)], size: usize) -> Vec<Swatch> {
    let total: f64 = colors.iter().map(|(_, weight)| weight.max(0.0)).sum();
    if total <= 0.0 || size == 0 {
        return Vec::new();
    }
    let points: Vec<Point> = colors
        .iter()
        .filter(|(_, weight)| *weight > 0.0)
        .map(|(color, weight)| Point { color: *color, lab: OkLab::from(*color), weight: weight / total })
        .collect();
    let (plain, chromatic): (Vec<Point>, Vec<Point>) =
        points.into_iter().partition(|point| point.lab.is_near_white_or_black());
    let (light, dark): (Vec<Point>, Vec<Point>) = plain.into_iter().partition(|point| point.lab.l > 0.5);
    // Paper and ink get one swatch each, and only if they matter or there is nothing else.
    let matters = |group: &[Point]| chromatic.is_empty() || group.iter().map(|p| p.weight).sum::<f64>() >= 0.05;
    let mut swatches: Vec<Swatch> =
        [&light, &dark].into_iter().filter(|group| matters(group)).flat_map(|group| clusters(group, 1)).collect();
    swatches.truncate(size);
    swatches.extend(clusters(&chromatic, size - swatches.len()));
    let shown: f64 = swatches.iter().map(|swatch| swatch.share).sum();
    for swatch in &mut swatches {
        swatch.share /= shown;
    }
    swatches.sort_by(|a, b| b.share.total_cmp(&a.share).then(a.color.cmp(&b.color)));
    swatches
}

/// The average distance of the colours of `picture` from `brand`: of each to its nearest brand colour, weighted by share.
pub fn distance(picture: &[Swatch], brand: &[Rgb]) -> Option<f64> {
    let brand: Vec<OkLab> = brand.iter().map(|color| OkLab::from(*color)).collect();
    let mut sum = 0.0;
    for swatch in picture {
        let lab = OkLab::from(swatch.color);
        let nearest = brand.iter().map(|color| color.distance(lab)).min_by(f64::total_cmp)?;
        sum += nearest * swatch.share;
    }
    (!picture.is_empty()).then_some(sum)
}

/// The number of colours of a brand. The minimum holds only if its pictures have that many.
const BRAND_COLORS: std::ops::RangeInclusive<usize> = 5..=8;

/// A brand's colours: the given ones, then the learnt ones that differ enough from all before them.
pub fn of_brand(given: &[Rgb], learnt: &[Swatch]) -> Vec<Rgb> {
    let mut brand: Vec<Rgb> = Vec::new();
    let far = |brand: &[Rgb], color: Rgb, gap: f64| {
        brand.iter().all(|other| OkLab::from(*other).distance(OkLab::from(color)) > gap)
    };
    for color in given {
        if !brand.contains(color) {
            brand.push(*color);
        }
    }
    // If the pictures have few colours, finer shades and tiny marks may fill the minimum.
    for (gap, share, size) in [(0.1, 0.01, *BRAND_COLORS.end()), (0.04, 0.0, *BRAND_COLORS.start())] {
        for swatch in learnt.iter().filter(|swatch| swatch.share >= share) {
            if brand.len() < size && far(&brand, swatch.color, gap) {
                brand.push(swatch.color);
            }
        }
    }
    brand
}

#[derive(Debug, Clone, Copy)]
struct Point {
    color: Rgb,
    lab: OkLab,
    weight: f64,
}

/// Rounds of Lloyd's algorithm, at most; it converges much earlier.
const ROUNDS: usize = 24;

fn clusters(points: &[Point], k: usize) -> Vec<Swatch> {
    let mut centers = seeds(points, k);
    let mut members = vec![0; points.len()];
    for round in 0..ROUNDS {
        let assigned: Vec<usize> = points.iter().map(|point| nearest(&centers, point.lab)).collect();
        if round > 0 && assigned == members {
            break;
        }
        members = assigned;
        for (n, center) in centers.iter_mut().enumerate() {
            *center = mean(points, &members, n).unwrap_or(*center);
        }
    }
    let swatch = |(n, center): (usize, &OkLab)| {
        let own = || points.iter().zip(&members).filter(|(_, member)| **member == n).map(|(point, _)| point);
        // Show a colour that occurs: the mean of two colours may be a third that is in no picture.
        let color = own().min_by(|x, y| x.lab.distance(*center).total_cmp(&y.lab.distance(*center)))?.color;
        Some(Swatch { color, share: own().map(|point| point.weight).sum() })
    };
    centers.iter().enumerate().filter_map(swatch).collect()
}

/// The heaviest colour, then repeatedly the colour with the greatest product of weight and squared distance from the chosen ones.
fn seeds(points: &[Point], k: usize) -> Vec<OkLab> {
    let mut centers: Vec<OkLab> = Vec::with_capacity(k);
    while centers.len() < k {
        let worth = |point: &Point| {
            let gap = centers.iter().map(|center| center.distance(point.lab)).min_by(f64::total_cmp).unwrap_or(1.0);
            point.weight * gap * gap
        };
        let Some(best) = points.iter().max_by(|x, y| worth(x).total_cmp(&worth(y))) else { break };
        if worth(best) <= f64::EPSILON {
            break; // fewer different colours than clusters
        }
        centers.push(best.lab);
    }
    centers
}

fn nearest(centers: &[OkLab], lab: OkLab) -> usize {
    let closer = |(_, x): &(usize, &OkLab), (_, y): &(usize, &OkLab)| x.distance(lab).total_cmp(&y.distance(lab));
    centers.iter().enumerate().min_by(closer).map_or(0, |(n, _)| n)
}

fn mean(points: &[Point], members: &[usize], n: usize) -> Option<OkLab> {
    let mut sum = (0.0, 0.0, 0.0, 0.0);
    for (point, _) in points.iter().zip(members).filter(|(_, member)| **member == n) {
        let w = point.weight;
        sum = (sum.0 + w, sum.1 + w * point.lab.l, sum.2 + w * point.lab.a, sum.3 + w * point.lab.b);
    }
    (sum.0 > 0.0).then(|| OkLab { l: sum.1 / sum.0, a: sum.2 / sum.0, b: sum.3 / sum.0 })
}
