//! Pictures in a brand's colours. To look at them: `MEDIAFORGE_PREVIEW_SAMPLES=/tmp/samples cargo test brand_samples`.

use image::{RgbImage, imageops};

use super::{RenderStyle, brand, drawn, spec};
use crate::{
    domain::{
        brand::SAMPLE_PROMPTS,
        palette::{Rgb, distance, palette},
    },
    engine::ImageSpec,
};

const BRANDS: [&[&str]; 6] = [
    &["#ff6600", "#14213d"],
    &["#2d6a4f", "#ff8fab", "#fff1e6"],
    &["#111111", "#ffd60a"],
    &["#006d77", "#e29578", "#ffddd2", "#83c5be", "#264653"],
    &["#7209b7"],
    // What a training makes of the first one.
    &["#ff6600", "#14213d", "#e9d8a6", "#0a9396", "#941b0c", "#ee9b00"],
];

const STYLES: [RenderStyle; 2] = [RenderStyle::Flat, RenderStyle::Clay];

fn colors(brand: &[&str]) -> Vec<Rgb> {
    brand.iter().map(|color| color.parse().unwrap()).collect()
}

fn branded(prompt: &str, colors: &[&str], look: RenderStyle, side: u32) -> ImageSpec {
    let id = (0..99).map(|n| format!("brd_{n:020}")).find(|id| brand::style(id) == look).unwrap();
    let mut spec = spec(prompt, &id, (side, side), 7);
    spec.illustration.style.palette = self::colors(colors);
    spec
}

fn picture(spec: &ImageSpec) -> RgbImage {
    image::load_from_memory(&drawn(spec)).unwrap().to_rgb8()
}

/// How far a picture's palette is from a brand.
fn far(picture: &RgbImage, brand: &[&str]) -> f64 {
    let small = imageops::thumbnail(picture, 64, 64);
    let pixels: Vec<_> = small.pixels().map(|&image::Rgb([r, g, b])| (Rgb { r, g, b }, 1.0)).collect();
    distance(&palette(&pixels, 6), &colors(brand)).unwrap()
}

#[test]
fn a_picture_is_nearer_to_its_brand_than_to_another() {
    // Of about as many colours each: the more a brand has, the nearer is anything.
    let (given, trained) = (&BRANDS[..3], [BRANDS[3], BRANDS[5]]);
    let prompts =
        SAMPLE_PROMPTS.into_iter().chain(["a red house in the snow", "sailboats at sunset", "quarterly report"]);
    for (prompt, look) in prompts.flat_map(|prompt| STYLES.map(|look| (prompt, look))) {
        for brands in [given, &trained] {
            for own in brands {
                let picture = picture(&branded(prompt, own, look, 160));
                let near = far(&picture, own);
                assert!(near < 0.13, "{look:?} {prompt} in {own:?}: {near}");
                for other in brands.iter().filter(|other| *other != own) {
                    let away = far(&picture, other);
                    assert!(near < away * 0.9, "{look:?} {prompt} in {own:?}: {near}, to {other:?} {away}");
                }
            }
        }
    }
}

#[test]
fn light_stays_light_and_dark_stays_dark() {
    let luminance = |picture: &RgbImage| -> Vec<f64> {
        picture.pixels().map(|p| f64::from(p[0]) * 0.3 + f64::from(p[1]) * 0.59 + f64::from(p[2]) * 0.11).collect()
    };
    let correlation = |x: &[f64], y: &[f64]| {
        let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
        let (mx, my) = (mean(x), mean(y));
        let sum = |f: &dyn Fn(f64, f64) -> f64| x.iter().zip(y).map(|(x, y)| f(x - mx, y - my)).sum::<f64>();
        sum(&|x, y| x * y) / (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt()
    };
    for prompt in SAMPLE_PROMPTS {
        let plain = luminance(&picture(&spec(prompt, "flat-2d", (160, 160), 7)));
        for brand in BRANDS {
            let graded = luminance(&picture(&branded(prompt, brand, RenderStyle::Flat, 160)));
            let alike = correlation(&plain, &graded);
            assert!(alike > 0.6, "{prompt} in {brand:?}: {alike}");
        }
    }
}

#[test]
fn a_brand_has_one_look_and_brands_have_several() {
    let looks: Vec<RenderStyle> = (0..20).map(|n| brand::style(&format!("brd_{n:020}"))).collect();
    assert!(STYLES.iter().all(|look| looks.contains(look)), "{looks:?}");
    assert_eq!(brand::style("brd_00000000000000000001"), looks[1]);
}

#[test]
fn brand_samples() {
    let Ok(directory) = std::env::var("MEDIAFORGE_PREVIEW_SAMPLES") else { return };
    let (cell, step) = (322, 330);
    for look in STYLES {
        let (width, height) = (BRANDS.len() as u32 * step, SAMPLE_PROMPTS.len() as u32 * step);
        let mut sheet = RgbImage::from_pixel(width, height, image::Rgb([255; 3]));
        for (column, colors) in (0_u32..).zip(BRANDS) {
            for (row, prompt) in (0_u32..).zip(SAMPLE_PROMPTS) {
                let picture = picture(&branded(prompt, colors, look, 512));
                let all: Vec<String> = BRANDS.iter().map(|other| format!("{:.3}", far(&picture, other))).collect();
                println!("{look:?} {prompt} in {colors:?}: {}", all.join(" "));
                let small = imageops::resize(&picture, cell, cell, imageops::FilterType::CatmullRom);
                imageops::replace(&mut sheet, &small, (column * step).into(), (row * step).into());
            }
        }
        sheet.save(format!("{directory}/brands-{look:?}.png")).unwrap();
    }
}
