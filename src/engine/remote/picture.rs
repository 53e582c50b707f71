//! Checks a provider's pictures before they count as pictures.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;

use super::super::GeneratedImage;
use crate::{
    domain::failure::{AttemptFailure, ErrorCode},
    http::excerpt,
    media::image::{DecodeLimits, decode_whole},
};

/// A picture with a shorter side is a placeholder.
const MIN_SIDE: u32 = 64;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Decodes a picture from base64, with or without a `data:…,` prefix. The declared type is ignored.
pub(super) fn of_base64(text: &str) -> Result<GeneratedImage, String> {
    let text = text.strip_prefix("data:").and_then(|rest| rest.split_once(',')).map_or(text, |(_, data)| data);
    let bytes = BASE64.decode(text.trim()).map_err(|error| format!("the picture is not valid base64: {error}"))?;
    of_bytes(bytes.into())
}

/// Checks that a picture is complete, of a known format, and not a placeholder.
pub(super) fn of_bytes(bytes: Bytes) -> Result<GeneratedImage, String> {
    let picture = decode_whole(&bytes, &DecodeLimits::default()).map_err(|error| error.to_string())?.image;
    if picture.width().min(picture.height()) < MIN_SIDE {
        return Err(format!("the picture has only {}x{} pixels", picture.width(), picture.height()));
    }
    Ok(GeneratedImage { bytes })
}

/// Reads a response on a blocking thread: decoding megabytes would block every other task.
pub(super) async fn interpret<T: Send + 'static>(
    server: &str,
    attempt: u32,
    read: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, AttemptFailure> {
    tokio::task::spawn_blocking(read)
        .await
        .map_err(|_| AttemptFailure::retry(ErrorCode::Internal, "reading the response panicked; see the log"))?
        .map_err(|error| {
            AttemptFailure::unusable(attempt, format!("the response of {server} cannot be used: {}", excerpt(&error)))
        })
}
