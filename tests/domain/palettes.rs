//! Palettes: few colours, all of which occur in the pictures.

use mediaforge::domain::palette::{OkLab, Rgb, distance, of_brand, palette};
use proptest::prelude::*;

fn rgb(text: &str) -> Rgb {
    text.parse().expect("a colour")
}

#[test]
fn the_colours_of_a_poster_are_sorted_by_share() {
    let (orange, orange2, navy, paper) = (rgb("#ff6600"), rgb("#fb6a05"), rgb("#102a43"), rgb("#ffffff"));
    let swatches = palette(&[(paper, 60.0), (orange, 20.0), (orange2, 5.0), (navy, 15.0)], 3);
    let colors: Vec<_> = swatches.iter().map(|swatch| swatch.color).collect();
    assert_eq!(colors, [paper, orange, navy]);
    assert!((swatches.iter().map(|swatch| swatch.share).sum::<f64>() - 1.0).abs() < 1e-9);
}

#[test]
fn paper_and_ink_do_not_turn_the_colours_grey() {
    let (red, green) = (rgb("#d7263d"), rgb("#1b998b"));
    let swatches = palette(&[(rgb("#fdfdfd"), 900.0), (rgb("#000000"), 900.0), (red, 10.0), (green, 10.0)], 4);
    let colors: Vec<_> = swatches.iter().map(|swatch| swatch.color).collect();
    assert!(colors.contains(&red) && colors.contains(&green), "{colors:?}");
}

#[test]
fn a_picture_in_a_brands_colours_is_closer_to_that_brand() {
    let picture = palette(&[(rgb("#ff7711"), 5.0), (rgb("#222f5b"), 3.0)], 5);
    let near = distance(&picture, &[rgb("#ff6600"), rgb("#1f2d5a")]).expect("a distance");
    let far = distance(&picture, &[rgb("#00aa55"), rgb("#ffccee")]).expect("a distance");
    assert!(near < 0.05 && far > 0.2, "{near} {far}");
    assert_eq!(distance(&picture, &[]), None);
    assert_eq!(distance(&[], &[rgb("#ff6600")]), None);
}

#[test]
fn white_is_white_in_oklab() {
    let white = OkLab::from(rgb("#ffffff"));
    assert!((white.l - 1.0).abs() < 1e-4 && white.chroma() < 1e-4, "{white:?}");
    assert!(OkLab::from(rgb("#000000")).l.abs() < 1e-9);
}

#[test]
fn a_brand_has_its_given_colours_and_then_learnt_ones() {
    let given = [rgb("#ff6600"), rgb("#14213d")];
    let colors = ["#fb6a05", "#ffffff", "#0a9396", "#94d2bd", "#9b2226", "#ee9b00", "#e9d8a6", "#005f73", "#ca6702"];
    let weighted: Vec<_> = colors.iter().zip(1_u32..).map(|(color, n)| (rgb(color), f64::from(20 - n))).collect();
    let brand = of_brand(&given, &palette(&weighted, 12));
    assert_eq!((&brand[..2], brand.len()), (&given[..], 8));
    assert!(!brand.contains(&rgb("#fb6a05")), "{brand:?} has orange already");
    // Few colours make a small palette: it contains no invented colour, and only distinguishable shades fill it.
    let few = [(rgb("#111111"), 9.0), (rgb("#ffd60a"), 5.0), (rgb("#ffeb80"), 0.1), (rgb("#ffd70c"), 0.1)];
    assert_eq!(of_brand(&[], &palette(&few, 12)), [rgb("#111111"), rgb("#ffd60a"), rgb("#ffeb80")]);
    assert_eq!(of_brand(&given, &[]), given);
}

proptest! {
    #[test]
    fn any_colours_give_a_small_palette_of_colours_that_occur(
        colors in proptest::collection::vec(((any::<u8>(), any::<u8>(), any::<u8>()), 0.0..100.0_f64), 0..80),
        size in 0..8_usize,
    ) {
        let colors: Vec<_> = colors.into_iter().map(|((r, g, b), weight)| (Rgb { r, g, b }, weight)).collect();
        let swatches = palette(&colors, size);
        prop_assert!(swatches.len() <= size);
        for swatch in &swatches {
            prop_assert!(colors.iter().any(|(color, _)| *color == swatch.color), "a colour that does not occur");
            prop_assert!(swatch.share > 0.0 && swatch.share <= 1.0 + 1e-9);
        }
        prop_assert_eq!(&swatches, &palette(&colors, size), "the same colours, the same palette");
        if size > 0 && colors.iter().any(|(_, weight)| *weight > 1e-6) {
            prop_assert!(!swatches.is_empty());
        }
    }

    #[test]
    fn colours_survive_their_text(r in any::<u8>(), g in any::<u8>(), b in any::<u8>(), junk in ".{0,8}") {
        let color = Rgb { r, g, b };
        prop_assert_eq!(color.to_string().parse::<Rgb>(), Ok(color));
        if let Ok(color) = junk.parse::<Rgb>() {
            prop_assert_eq!(color.to_string(), junk.to_lowercase());
        }
    }
}
