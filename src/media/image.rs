//! Pixels: decodes untrusted pictures, resizes them, makes thumbnails.
//!
//! Everything here computes for milliseconds: call it off the async runtime (`spawn_blocking`).

mod colors;
mod upload;

use std::io::Cursor;

use bytes::Bytes;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::{
    DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder as _, RgbImage, RgbaImage,
    codecs::{
        jpeg::JpegDecoder,
        png::{CompressionType, FilterType as PngFilter, PngDecoder, PngEncoder},
        webp::WebPDecoder,
    },
};
use sha2::{Digest as _, Sha256};

pub use self::colors::colors;
use super::MediaFormat;
pub use upload::{TrainingPicture, training_picture};

/// The longest side of a thumbnail, in pixels.
pub const THUMBNAIL_SIDE: u32 = 384;
const THUMBNAIL_QUALITY: f32 = 80.0;

/// Limits for decoding a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Bytes of the encoded picture, at most.
    pub max_bytes: usize,
    /// Width times height, at most; checked before anything is decoded.
    pub max_pixels: u64,
    /// Bytes the decoder may allocate at once, at most.
    pub max_alloc: u64,
}

impl Default for DecodeLimits {
    /// 64 MB encoded, 40 megapixels, 400 MB decoded (40 megapixels of 16-bit RGBA are 320 MB).
    fn default() -> Self {
        Self { max_bytes: 64 << 20, max_pixels: 40_000_000, max_alloc: 400 << 20 }
    }
}

/// Why bytes are not a usable picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    /// The first bytes are not those of a known format. Names and declared types are ignored.
    #[error("not a PNG, JPEG or WebP picture")]
    UnknownFormat,
    /// More bytes than allowed.
    #[error("the picture has {bytes} bytes; at most {max} are read")]
    TooManyBytes {
        /// Their number.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// More pixels than allowed.
    #[error("the picture has {width}x{height} pixels; at most {max} pixels are decoded")]
    TooManyPixels {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
        /// Width times height, at most.
        max: u64,
    },
    /// More memory than allowed.
    #[error("the picture needs {bytes} bytes to decode; at most {max} are granted")]
    TooMuchMemory {
        /// The memory needed.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// Truncated, corrupt, or a variant that the decoder does not support.
    #[error("the picture cannot be decoded: {0}")]
    Damaged(String),
    /// More than one picture.
    #[error("the file is an animation; send a single picture")]
    Animated,
    /// A picture could not be resized or encoded.
    #[error("the picture cannot be encoded: {0}")]
    Encode(String),
}

/// A decoded picture and the format it came in.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// Upright pixels: 8 bits a channel, with or without alpha.
    pub image: DynamicImage,
    /// The format of the encoded bytes.
    pub format: MediaFormat,
}

/// A picture ready to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// The encoded picture.
    pub bytes: Bytes,
    /// How it is encoded.
    pub format: MediaFormat,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// SHA-256 of `bytes`.
    pub sha256: [u8; 32],
    /// A lossy WebP of the same picture, at most [`THUMBNAIL_SIDE`] on its longest side, if one is wanted.
    pub thumbnail: Option<Bytes>,
}

/// The format, by the first bytes.
pub fn sniff(bytes: &[u8]) -> Option<MediaFormat> {
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        Some(MediaFormat::Png)
    } else if bytes.starts_with(b"\xff\xd8\xff") {
        Some(MediaFormat::Jpeg)
    } else if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        Some(MediaFormat::Webp)
    } else {
        None
    }
}

/// Decodes an untrusted picture. Checks its size and format before its pixels.
pub fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<Decoded, PictureError> {
    decode_shaped(bytes, limits, std::convert::identity)
}

/// The same, but refuses a picture that ends early: the JPEG decoder would fill the rest with grey.
pub fn decode_whole(bytes: &[u8], limits: &DecodeLimits) -> Result<Decoded, PictureError> {
    let decoded = decode(bytes, limits)?;
    if decoded.format == MediaFormat::Jpeg && !upload::is_whole_jpeg(bytes) {
        return Err(PictureError::Damaged("it ends early".to_owned()));
    }
    Ok(decoded)
}

/// A reference picture for a model: unchanged if its sides are at most `side` and its bytes at most `max_bytes`, else
/// reduced, as JPEG.
pub fn reference_picture(
    bytes: Bytes,
    side: u32,
    max_bytes: usize,
    limits: &DecodeLimits,
) -> Result<(Bytes, MediaFormat), PictureError> {
    let Decoded { image, format } = decode(&bytes, limits)?;
    if image.width().max(image.height()) <= side && bytes.len() <= max_bytes {
        return Ok((bytes, format));
    }
    let image = if image.width().max(image.height()) > side { image.thumbnail(side, side) } else { image };
    Ok((upload::jpeg(&DynamicImage::ImageRgb8(image.into_rgb8()))?, MediaFormat::Jpeg))
}

/// [`decode`] that applies `shape` to the pixels at once, before they are copied or rotated.
fn decode_shaped(
    bytes: &[u8],
    limits: &DecodeLimits,
    shape: impl FnOnce(DynamicImage) -> DynamicImage,
) -> Result<Decoded, PictureError> {
    if bytes.len() > limits.max_bytes {
        return Err(PictureError::TooManyBytes { bytes: bytes.len(), max: limits.max_bytes });
    }
    let format = sniff(bytes).ok_or(PictureError::UnknownFormat)?;
    let alloc = image_limits(limits);
    let image = match format {
        MediaFormat::Png => {
            pixels(PngDecoder::with_limits(Cursor::new(bytes), alloc.clone()).map_err(damaged)?, alloc, limits, shape)
        }
        MediaFormat::Jpeg => pixels(JpegDecoder::new(Cursor::new(bytes)).map_err(damaged)?, alloc, limits, shape),
        MediaFormat::Webp => pixels(WebPDecoder::new(Cursor::new(bytes)).map_err(damaged)?, alloc, limits, shape),
        MediaFormat::Json => Err(PictureError::UnknownFormat),
    }?;
    Ok(Decoded { image, format })
}

/// The picture at exactly this size: cropped to the aspect ratio around the centre, resampled with Lanczos3.
pub fn exact(image: DynamicImage, width: u32, height: u32) -> Result<DynamicImage, PictureError> {
    if (image.width(), image.height()) == (width, height) {
        return Ok(image);
    }
    let mut target = if image.color().has_alpha() {
        DynamicImage::ImageRgba8(RgbaImage::new(width, height))
    } else {
        DynamicImage::ImageRgb8(RgbImage::new(width, height))
    };
    let options =
        ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3)).fit_into_destination(None);
    let source = eight_bits(image);
    Resizer::new().resize(&source, &mut target, Some(&options)).map_err(encode)?;
    Ok(target)
}

/// A lossy WebP of at most [`THUMBNAIL_SIDE`] on the longest side; never larger than the picture itself.
pub fn thumbnail(image: &DynamicImage) -> Result<Bytes, PictureError> {
    let longest = image.width().max(image.height()).max(1);
    let side = |pixels: u32| {
        let scaled = u64::from(pixels) * u64::from(THUMBNAIL_SIDE.min(longest)) / u64::from(longest);
        u32::try_from(scaled).unwrap_or(THUMBNAIL_SIDE).max(1)
    };
    let small = exact(image.clone(), side(image.width()), side(image.height()))?;
    let (width, height) = (small.width(), small.height());
    let encoded = if small.color().has_alpha() {
        let pixels = small.into_rgba8();
        webp::Encoder::from_rgba(&pixels, width, height).encode_simple(false, THUMBNAIL_QUALITY)
    } else {
        let pixels = small.into_rgb8();
        webp::Encoder::from_rgb(&pixels, width, height).encode_simple(false, THUMBNAIL_QUALITY)
    };
    let encoded = encoded.map_err(|error| PictureError::Encode(format!("{error:?}")))?;
    Ok(Bytes::copy_from_slice(&encoded))
}

/// A PNG of the picture, compressed for speed.
pub fn png(image: &DynamicImage) -> Result<Bytes, PictureError> {
    let mut bytes = Vec::new();
    let encoder = PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, PngFilter::Adaptive);
    let (width, height) = (image.width(), image.height());
    match image {
        DynamicImage::ImageRgb8(pixels) => encoder.write_image(pixels, width, height, ExtendedColorType::Rgb8),
        DynamicImage::ImageRgba8(pixels) => encoder.write_image(pixels, width, height, ExtendedColorType::Rgba8),
        other => encoder.write_image(&other.to_rgba8(), width, height, ExtendedColorType::Rgba8),
    }
    .map_err(encode)?;
    Ok(bytes.into())
}

/// Checks an engine's picture and resizes it to the requested size.
///
/// A PNG that already has the size keeps its bytes, and with them its metadata, such as provenance marks, unless data
/// follows its end: only the picture is stored.
pub fn prepare(
    bytes: Bytes,
    width: u32,
    height: u32,
    with_thumbnail: bool,
    limits: &DecodeLimits,
) -> Result<Prepared, PictureError> {
    let Decoded { image, format } = decode_whole(&bytes, limits)?;
    let keep = format == MediaFormat::Png && (image.width(), image.height()) == (width, height) && is_lone_png(&bytes);
    let image = exact(image, width, height)?;
    let bytes = if keep { bytes } else { png(&image)? };
    let thumbnail = with_thumbnail.then(|| thumbnail(&image)).transpose()?;
    let sha256 = Sha256::digest(&bytes).into();
    Ok(Prepared { bytes, format: MediaFormat::Png, width, height, sha256, thumbnail })
}

fn image_limits(limits: &DecodeLimits) -> image::Limits {
    let mut alloc = image::Limits::default();
    alloc.max_alloc = Some(limits.max_alloc);
    // A side cannot have more pixels than the picture.
    let side = u32::try_from(limits.max_pixels).unwrap_or(u32::MAX);
    (alloc.max_image_width, alloc.max_image_height) = (Some(side), Some(side));
    alloc
}

fn pixels(
    mut decoder: impl ImageDecoder,
    alloc: image::Limits,
    limits: &DecodeLimits,
    shape: impl FnOnce(DynamicImage) -> DynamicImage,
) -> Result<DynamicImage, PictureError> {
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > limits.max_pixels {
        return Err(PictureError::TooManyPixels { width, height, max: limits.max_pixels });
    }
    if width == 0 || height == 0 {
        return Err(PictureError::Damaged("it has no pixels".to_owned()));
    }
    // The crate's own limit counts the decoder's internal memory, not the decoded picture.
    if decoder.total_bytes() > limits.max_alloc {
        return Err(PictureError::TooMuchMemory { bytes: decoder.total_bytes(), max: limits.max_alloc });
    }
    decoder.set_limits(alloc).map_err(damaged)?;
    let orientation = decoder.orientation().map_err(damaged)?;
    let mut image = eight_bits(shape(DynamicImage::from_decoder(decoder).map_err(damaged)?));
    image.apply_orientation(orientation);
    Ok(image)
}

/// The same picture as RGB or RGBA with 8 bits a channel; unchanged when it is that already.
fn eight_bits(image: DynamicImage) -> DynamicImage {
    match image {
        DynamicImage::ImageRgb8(_) | DynamicImage::ImageRgba8(_) => image,
        other if other.color().has_alpha() => DynamicImage::ImageRgba8(other.into_rgba8()),
        other => DynamicImage::ImageRgb8(other.into_rgb8()),
    }
}

/// Whether the bytes end with the last chunk of a PNG and have a single frame.
fn is_lone_png(bytes: &[u8]) -> bool {
    let mut rest = &bytes[8.min(bytes.len())..];
    while let Some((head, tail)) = rest.split_at_checked(8) {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let Some(next) = length.checked_add(4).and_then(|skip| tail.get(skip..)) else { return false };
        match &head[4..8] {
            b"IEND" => return next.is_empty(),
            b"acTL" => return false,
            _ => rest = next,
        }
    }
    false
}

fn damaged(error: impl std::fmt::Display) -> PictureError {
    PictureError::Damaged(error.to_string())
}

fn encode(error: impl std::fmt::Display) -> PictureError {
    PictureError::Encode(error.to_string())
}

#[cfg(test)]
mod tests;
