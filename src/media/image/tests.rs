//! Untrusted pictures.

use super::*;

fn picture(width: u32, height: u32) -> DynamicImage {
    let shade = |value: u32, of: u32| u8::try_from(value * 255 / of).unwrap();
    DynamicImage::ImageRgb8(RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([shade(x, width), shade(y, height), 90])
    }))
}

fn encoded(width: u32, height: u32, format: image::ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture(width, height).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A PNG whose header claims a size that its data does not have.
fn png_that_claims(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = encoded(8, 8, image::ImageFormat::Png);
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let mut crc = !0_u32;
    for byte in &bytes[12..29] {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    bytes[29..33].copy_from_slice(&(!crc).to_be_bytes());
    bytes
}

#[test]
fn reads_each_format_by_its_first_bytes() {
    use image::ImageFormat::{Jpeg, Png, WebP};
    for (encoding, format) in [(Png, MediaFormat::Png), (Jpeg, MediaFormat::Jpeg), (WebP, MediaFormat::Webp)] {
        let decoded = decode(&encoded(40, 30, encoding), &DecodeLimits::default()).unwrap();
        assert_eq!((decoded.format, decoded.image.width(), decoded.image.height()), (format, 40, 30));
    }
}

#[test]
fn refuses_what_is_no_picture() {
    let gif = b"GIF89a\x01\0\x01\0\x80\0\0".as_slice();
    let html_before_png = [b"<html>".as_slice(), &encoded(8, 8, image::ImageFormat::Png)].concat();
    for bytes in [b"".as_slice(), b"\x89", b"RIFF", b"RIFF\0\0\0\0WEB", b"<svg/>", b"%PDF-1.7", gif, &html_before_png] {
        assert_eq!(decode(bytes, &DecodeLimits::default()).unwrap_err(), PictureError::UnknownFormat);
    }
}

#[test]
fn a_whole_picture_does_not_end_early() {
    for format in [image::ImageFormat::Png, image::ImageFormat::Jpeg, image::ImageFormat::WebP] {
        let bytes = encoded(24, 24, format);
        assert!(decode_whole(&bytes, &DecodeLimits::default()).is_ok(), "{format:?}");
        // A PNG has its last pixels some way before its end.
        let end = bytes.len() - if format == image::ImageFormat::Png { 20 } else { 2 };
        assert!(decode_whole(&bytes[..end], &DecodeLimits::default()).is_err(), "{format:?}");
    }
}

#[test]
fn a_picture_to_show_is_small_and_otherwise_untouched() {
    let limits = DecodeLimits::default();
    let png = Bytes::from(encoded(40, 30, image::ImageFormat::Png));
    assert_eq!(reference_picture(png.clone(), 40, png.len(), &limits), Ok((png.clone(), MediaFormat::Png)));
    for (side, max_bytes, size) in [(20, usize::MAX, (20, 15)), (40, 10, (40, 30))] {
        let (bytes, format) = reference_picture(png.clone(), side, max_bytes, &limits).unwrap();
        let image = decode(&bytes, &limits).unwrap().image;
        assert_eq!((format, (image.width(), image.height())), (MediaFormat::Jpeg, size));
    }
    assert_eq!(reference_picture(Bytes::from_static(b"no"), 40, 10, &limits), Err(PictureError::UnknownFormat));
}

#[test]
fn every_truncation_is_an_error_or_a_picture_but_never_a_panic() {
    for format in [image::ImageFormat::Png, image::ImageFormat::Jpeg, image::ImageFormat::WebP] {
        let bytes = encoded(24, 24, format);
        for end in 0..bytes.len() {
            let decoded = decode(&bytes[..end], &DecodeLimits::default());
            assert!(end > bytes.len() / 2 || decoded.is_err(), "{format:?} cut at {end} of {}", bytes.len());
        }
    }
}

#[test]
fn flipped_bytes_never_panic() {
    for format in [image::ImageFormat::Png, image::ImageFormat::Jpeg, image::ImageFormat::WebP] {
        let bytes = encoded(16, 16, format);
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0xFF;
            let _ = decode(&bytes, &DecodeLimits { max_pixels: 1 << 20, ..DecodeLimits::default() });
        }
    }
}

#[test]
fn a_bomb_is_refused_by_its_header() {
    let error = decode(&png_that_claims(60_000, 60_000), &DecodeLimits::default()).unwrap_err();
    assert_eq!(error, PictureError::TooManyPixels { width: 60_000, height: 60_000, max: 40_000_000 });
    let wide = decode(&png_that_claims(1_000_000_000, 1), &DecodeLimits::default()).unwrap_err();
    assert!(matches!(wide, PictureError::TooManyPixels { .. } | PictureError::Damaged(_)), "{wide}");
    // Within the pixels, but the data is missing.
    assert!(matches!(decode(&png_that_claims(6_000, 6_000), &DecodeLimits::default()), Err(PictureError::Damaged(_))));
    let small = DecodeLimits { max_bytes: 10, ..DecodeLimits::default() };
    assert!(matches!(decode(&[0; 11], &small), Err(PictureError::TooManyBytes { bytes: 11, max: 10 })));
    let tight = DecodeLimits { max_alloc: 1000, ..DecodeLimits::default() };
    for format in [image::ImageFormat::Png, image::ImageFormat::Jpeg, image::ImageFormat::WebP] {
        assert!(decode(&encoded(64, 64, format), &tight).is_err(), "{format:?}");
    }
}

#[test]
fn cuts_the_centre_and_leaves_an_exact_picture_alone() {
    let wide = exact(picture(300, 100), 50, 50).unwrap();
    assert_eq!((wide.width(), wide.height()), (50, 50));
    // The left edge of the result is a third into the source.
    let left = wide.to_rgb8().get_pixel(0, 25)[0];
    assert!((80..96).contains(&left), "{left}");
    let same = picture(30, 20);
    assert_eq!(exact(same.clone(), 30, 20).unwrap(), same);
}

#[test]
fn a_thumbnail_keeps_the_aspect_ratio_and_never_grows() {
    for ((width, height), small) in [((1024, 512), (384, 192)), ((100, 50), (100, 50)), ((2048, 2), (384, 1))] {
        let bytes = thumbnail(&picture(width, height)).unwrap();
        let decoded = decode(&bytes, &DecodeLimits::default()).unwrap();
        assert_eq!(
            (decoded.format, decoded.image.width(), decoded.image.height()),
            (MediaFormat::Webp, small.0, small.1)
        );
    }
}

#[test]
fn keeps_the_bytes_of_an_exact_png_and_nothing_appended_to_it() {
    let bytes = Bytes::from(encoded(64, 48, image::ImageFormat::Png));
    let kept = prepare(bytes.clone(), 64, 48, false, &DecodeLimits::default()).unwrap();
    assert_eq!(kept.bytes, bytes);
    assert_eq!(kept.sha256, <[u8; 32]>::from(Sha256::digest(&bytes)));
    let polyglot = Bytes::from([bytes.as_ref(), b"PK\x03\x04<script>"].concat());
    let cleaned = prepare(polyglot, 64, 48, false, &DecodeLimits::default()).unwrap();
    assert!(!cleaned.bytes.windows(8).any(|window| window == b"<script>"));
    for (other, format) in [(bytes, "png"), (encoded(90, 90, image::ImageFormat::Jpeg).into(), "jpeg")] {
        let resized = prepare(other, 32, 32, true, &DecodeLimits::default()).unwrap();
        let back = decode(&resized.bytes, &DecodeLimits::default()).unwrap();
        assert_eq!((back.format, back.image.width()), (MediaFormat::Png, 32), "{format}");
    }
}

#[test]
fn colours_come_with_their_shares_and_without_what_cannot_be_seen() {
    let limits = DecodeLimits::default();
    // A quarter orange, a quarter navy, the rest transparent.
    let parts = RgbaImage::from_fn(800, 600, |x, y| match (x < 400, y < 300) {
        (true, true) => image::Rgba([255, 102, 0, 255]),
        (true, false) => image::Rgba([20, 33, 61, 255]),
        _ => image::Rgba([0, 255, 0, 0]),
    });
    let bytes = png(&DynamicImage::ImageRgba8(parts)).unwrap();
    let found = colors(&bytes, &limits).unwrap();
    assert!((found.iter().map(|(_, share)| share).sum::<f64>() - 1.0).abs() < 1e-9);
    for color in ["#ff6600", "#14213d"] {
        let share = found.iter().find(|(found, _)| found.to_string() == color).unwrap().1;
        assert!((0.45..=0.5).contains(&share), "{color}: {share}");
    }
    assert!(found.iter().all(|(color, _)| color.g < 110), "{found:?}");
    assert_eq!(colors(&png(&RgbaImage::new(30, 1).into()).unwrap(), &limits), Ok(Vec::new()));
    assert!(colors(b"<svg/>", &limits).is_err());
    assert!(colors(&png_that_claims(60_000, 60_000), &limits).is_err());
}
