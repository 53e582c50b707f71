//! Training pictures: checks an uploaded picture, turns it upright, limits its size, and encodes it again, so that only the
//! visible pixels of the file remain.

use bytes::Bytes;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::{DynamicImage, codecs::jpeg::JpegEncoder};

use super::{DecodeLimits, PictureError, decode_shaped, encode, png, sniff};
use crate::media::MediaFormat;

/// 2048 x 2048 pixels, twice the side that trainers use. Larger pictures are reduced, which also bounds the memory for
/// rotating and encoding them.
const MAX_PIXELS: u64 = 2048 * 2048;
const JPEG_QUALITY: u8 = 92;

/// A picture that is ready to train on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainingPicture {
    /// The picture, encoded anew.
    pub bytes: Bytes,
    /// JPEG if it was uploaded as JPEG, else PNG.
    pub format: MediaFormat,
    /// Pixels, upright.
    pub width: u32,
    /// Pixels, upright.
    pub height: u32,
    /// A perceptual hash (dHash): similar pictures differ in few bits.
    pub fingerprint: u64,
}

/// Prepares an untrusted picture, which must be complete and not animated.
///
/// The result has upright pixels and no metadata, no orientation mark, and no data after the end.
pub fn training_picture(bytes: Bytes, limits: &DecodeLimits) -> Result<TrainingPicture, PictureError> {
    let whole = match sniff(&bytes) {
        Some(MediaFormat::Jpeg) => is_whole_jpeg(&bytes),
        Some(_) if is_animated(&bytes) => return Err(PictureError::Animated),
        _ => true, // the decoders of the other formats detect it
    };
    let decoded = decode_shaped(&bytes, limits, smaller)?;
    drop(bytes);
    if !whole {
        return Err(PictureError::Damaged("it ends early".to_owned()));
    }
    let image = decoded.image;
    let fingerprint = fingerprint(&image)?;
    let (bytes, format) = match decoded.format {
        MediaFormat::Jpeg => (jpeg(&image)?, MediaFormat::Jpeg),
        _ => (png(&image)?, MediaFormat::Png),
    };
    Ok(TrainingPicture { bytes, format, width: image.width(), height: image.height(), fingerprint })
}

pub(super) fn jpeg(image: &DynamicImage) -> Result<Bytes, PictureError> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY).encode_image(image).map_err(encode)?;
    Ok(bytes.into())
}

/// The picture with at most [`MAX_PIXELS`], in the same proportions.
fn smaller(image: DynamicImage) -> DynamicImage {
    let (width, height) = (u64::from(image.width()), u64::from(image.height()));
    if width * height <= MAX_PIXELS {
        return image;
    }
    // width' = sqrt(MAX_PIXELS * width / height), and the same for the height: both rounded down, so the area fits.
    let side = |this: u64, other: u64| u32::try_from((MAX_PIXELS * this / other.max(1)).isqrt()).unwrap_or(1).max(1);
    // A picture of a single row is scaled along the other side only.
    let side = |this: u64, other: u64| side(this, other).min(u32::try_from(this).unwrap_or(u32::MAX));
    // Averages areas directly into the result; better filters need another copy of the whole picture.
    image.thumbnail_exact(side(width, height), side(height, width))
}

/// Whether brightness falls from each cell to its right neighbour, on a grid of 9 by 8 cells.
fn fingerprint(image: &DynamicImage) -> Result<u64, PictureError> {
    let mut cells = DynamicImage::new(9, 8, image.color());
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Box));
    Resizer::new().resize(image, &mut cells, Some(&options)).map_err(encode)?;
    let cells = cells.into_rgba8();
    let brightness = |x: u32, y: u32| {
        let [r, g, b, alpha] = cells.get_pixel(x, y).0.map(u32::from);
        // On white, in thousandths (Rec. 601).
        let luma = 299 * r + 587 * g + 114 * b;
        luma * alpha + 255_000 * (255 - alpha)
    };
    let places = (0..8).flat_map(|y| (0..8).map(move |x| (x, y)));
    Ok(places.fold(0, |bits, (x, y)| bits << 1 | u64::from(brightness(x, y) > brightness(x + 1, y))))
}

/// Whether a PNG or WebP has more than one frame, by its headers.
fn is_animated(bytes: &[u8]) -> bool {
    if let Some(flags) = bytes.get(20).filter(|_| bytes.get(12..16) == Some(b"VP8X")) {
        return flags & 0x02 != 0;
    }
    let mut rest = bytes.get(8..).unwrap_or_default();
    while let Some((head, tail)) = rest.split_at_checked(8) {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        match &head[4..8] {
            b"acTL" => return true,
            b"IDAT" | b"IEND" => return false,
            _ => rest = length.checked_add(4).and_then(|skip| tail.get(skip..)).unwrap_or_default(),
        }
    }
    false
}

/// Whether a JPEG reaches its end mark. The decoder would fill missing pixels with grey.
pub(super) fn is_whole_jpeg(bytes: &[u8]) -> bool {
    let mut rest = bytes.get(2..).unwrap_or_default();
    loop {
        // In a scan 0xff is stuffed with a zero; any other byte after it is a marker.
        let Some(at) = rest.iter().position(|byte| *byte == 0xff) else { return false };
        rest = &rest[at + 1..];
        match rest.first() {
            None => return false,
            Some(0xd9) => return true,
            Some(0x00 | 0x01 | 0xd0..=0xd8) => rest = &rest[1..],
            Some(0xff) => {}
            Some(_) => {
                let length = match rest {
                    [_, high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])),
                    _ => return false,
                };
                let Some(next) = rest.get(1 + length..) else { return false };
                rest = next;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use image::{ImageFormat, RgbImage};

    use super::*;

    fn encoded(image: &DynamicImage, format: ImageFormat) -> Bytes {
        let mut bytes = std::io::Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).expect("an encoder");
        bytes.into_inner().into()
    }

    fn scene(width: u32, height: u32) -> DynamicImage {
        let part = |at: u32, of: u32| u8::try_from(at * 255 / of).expect("less than the whole");
        let pixel =
            |x: u32, y: u32| image::Rgb([part(x, width), part(y, height), if x > width / 3 { 200 } else { 20 }]);
        DynamicImage::ImageRgb8(RgbImage::from_fn(width, height, pixel))
    }

    #[test]
    fn a_jpeg_must_reach_its_end() {
        let jpeg = encoded(&scene(640, 480), ImageFormat::Jpeg);
        assert!(is_whole_jpeg(&jpeg));
        for cut in [3, 20, 200, jpeg.len() / 2, jpeg.len() - 2, jpeg.len() - 1] {
            assert!(!is_whole_jpeg(&jpeg[..cut]), "{cut}");
            assert!(training_picture(jpeg.slice(..cut), &DecodeLimits::default()).is_err(), "{cut}");
        }
        assert!(is_whole_jpeg(&[&jpeg[..], b"<script>"].concat()));
    }

    #[test]
    fn large_pictures_are_reduced() {
        let kept = training_picture(encoded(&scene(6000, 1500), ImageFormat::Png), &DecodeLimits::default())
            .expect("a picture");
        assert_eq!((kept.width, kept.height, kept.format), (4096, 1024, MediaFormat::Png));
    }

    #[test]
    fn similar_pictures_have_similar_fingerprints() {
        let print = |image: &DynamicImage| fingerprint(image).expect("a fingerprint");
        let one = print(&scene(900, 700));
        let again = training_picture(encoded(&scene(450, 350), ImageFormat::Jpeg), &DecodeLimits::default())
            .expect("a picture");
        assert!((one ^ again.fingerprint).count_ones() <= 4);
        assert!((one ^ print(&scene(900, 700).rotate180())).count_ones() >= 12);
    }
}
