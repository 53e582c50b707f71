//! Chooses the shape and size to request from a model that has only a few: the nearest shape, and its smallest size that
//! need not be enlarged.

/// An aspect ratio: width to height.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ratio(pub(super) u32, pub(super) u32);

impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.0, self.1)
    }
}

impl Ratio {
    fn log(self) -> f64 {
        (f64::from(self.0) / f64::from(self.1)).ln()
    }
}

/// The ratio nearest to that of `width` and `height`, so that least is cut off. Of two equally near, the first.
pub(super) fn nearest(ratios: &[Ratio], width: u32, height: u32) -> Ratio {
    let wanted = Ratio(width.max(1), height.max(1)).log();
    let distance = |ratio: Ratio| (ratio.log() - wanted).abs();
    let nearer = |best: Ratio, next: &Ratio| if distance(*next) < distance(best) { *next } else { best };
    ratios.iter().fold(ratios.first().copied().unwrap_or(Ratio(1, 1)), nearer)
}

/// A size as models and price lists name it: the side of a square, or as many pixels in another shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SizeClass {
    Half,
    One,
    Two,
    Four,
}

impl SizeClass {
    pub(super) const ALL: [Self; 4] = [Self::Half, Self::One, Self::Two, Self::Four];

    /// As it is written.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Half => "512",
            Self::One => "1K",
            Self::Two => "2K",
            Self::Four => "4K",
        }
    }

    fn side(self) -> u32 {
        match self {
            Self::Half => 512,
            Self::One => 1024,
            Self::Two => 2048,
            Self::Four => 4096,
        }
    }
}

/// The smallest of these classes that covers `width` and `height` in this shape; the largest if none does.
pub(super) fn class(classes: &[SizeClass], ratio: Ratio, width: u32, height: u32) -> SizeClass {
    // A square of side s in the shape a:b is s * sqrt(a / b) wide and s * sqrt(b / a) high.
    let stretch = (f64::from(ratio.0) / f64::from(ratio.1)).sqrt();
    let needed = (f64::from(width) / stretch).max(f64::from(height) * stretch);
    smallest(classes, needed)
}

/// The smallest class with at least as many pixels; the largest if none has.
pub(super) fn class_of_area(width: u32, height: u32) -> SizeClass {
    smallest(&SizeClass::ALL, (f64::from(width) * f64::from(height)).sqrt())
}

fn smallest(classes: &[SizeClass], needed: f64) -> SizeClass {
    let covers = |class: &&SizeClass| f64::from(class.side()) >= needed;
    classes.iter().filter(covers).min().or(classes.iter().max()).copied().unwrap_or(SizeClass::One)
}

/// The best size to crop the wanted one from: the nearest in shape, and of these the smallest that covers it.
pub(super) fn nearest_size(sizes: &[(u32, u32)], width: u32, height: u32) -> Option<(u32, u32)> {
    let ratios: Vec<Ratio> = sizes.iter().map(|(width, height)| Ratio(*width, *height)).collect();
    let ratio = nearest(&ratios, width, height);
    let same = || {
        sizes
            .iter()
            .filter(|(width, height)| u64::from(*width) * u64::from(ratio.1) == u64::from(*height) * u64::from(ratio.0))
    };
    let covering = same().filter(|size| size.0 >= width && size.1 >= height).min();
    covering.or(same().max()).copied()
}

#[cfg(test)]
mod tests {
    use super::{super::gemini::RATIOS, *};

    #[test]
    fn the_nearest_shape_is_symmetric() {
        let cases = [
            ((1024, 1024), "1:1"),
            ((1536, 1024), "3:2"),
            ((1024, 1536), "2:3"),
            ((1920, 1080), "16:9"),
            ((1080, 1920), "9:16"),
            ((1000, 800), "5:4"),
            ((800, 1000), "4:5"),
            ((1200, 900), "4:3"),
            ((2048, 256), "8:1"),
            ((256, 2048), "1:8"),
            ((2048, 878), "21:9"),
            // Between 1:1 and 5:4 the middle is sqrt(1.25) = 1.118.
            ((1117, 1000), "1:1"),
            ((1119, 1000), "5:4"),
            ((1000, 1119), "4:5"),
        ];
        for ((width, height), ratio) in cases {
            assert_eq!(nearest(&RATIOS, width, height).to_string(), ratio, "{width}x{height}");
        }
    }

    #[test]
    fn the_size_is_the_smallest_that_is_not_enlarged() {
        let all = &SizeClass::ALL;
        let cases = [
            ((256, 256), "512"),
            ((512, 512), "512"),
            ((513, 512), "1K"),
            ((1024, 1024), "1K"),
            ((1025, 1025), "2K"),
            // 16:9 at 1K is 1365 x 768.
            ((1344, 756), "1K"),
            ((1376, 774), "2K"),
            ((2048, 2048), "2K"),
            ((2049, 2049), "4K"),
            ((8192, 8192), "4K"),
            // A strip: 8:1 at 1K is 2896 x 362.
            ((2048, 256), "1K"),
        ];
        for ((width, height), class_name) in cases {
            let ratio = nearest(&RATIOS, width, height);
            assert_eq!(class(all, ratio, width, height).as_str(), class_name, "{width}x{height}");
        }
        assert_eq!(class(&[SizeClass::One, SizeClass::Two], Ratio(1, 1), 256, 256), SizeClass::One);
        assert_eq!(class(&[SizeClass::One, SizeClass::Two], Ratio(1, 1), 4000, 4000), SizeClass::Two);
    }

    #[test]
    fn fixed_sizes_are_chosen_by_shape_and_then_by_size() {
        let squares = [(256, 256), (512, 512), (1024, 1024)];
        assert_eq!(nearest_size(&squares, 300, 280), Some((512, 512)));
        assert_eq!(nearest_size(&squares, 2000, 2000), Some((1024, 1024)));
        assert_eq!(nearest_size(&[(1024, 1024), (1536, 1024), (1024, 1536)], 600, 900), Some((1024, 1536)));
    }
}
