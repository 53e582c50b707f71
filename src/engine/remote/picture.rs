//! What a provider calls a picture, looked at before it counts as one.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;

use super::super::Generated;
use crate::{
    domain::failure::{AttemptFailure, ErrorCode},
    http::excerpt,
    media::image::{DecodeLimits, decode_whole},
};

/// Sides below this are a placeholder, not a picture.
const MIN_SIDE: u32 = 64;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The picture in a text of base64, with or without `data:…,` before it. What its type is said to be is not looked at.
pub(super) fn of_base64(text: &str) -> Result<Generated, String> {
    let text = text.strip_prefix("data:").and_then(|rest| rest.split_once(',')).map_or(text, |(_, data)| data);
    let bytes = BASE64.decode(text.trim()).map_err(|error| format!("the picture is no base64: {error}"))?;
    of_bytes(bytes.into())
}

/// The picture in these bytes: whole, of a known format, and of some size.
pub(super) fn of_bytes(bytes: Bytes) -> Result<Generated, String> {
    let picture = decode_whole(&bytes, &DecodeLimits::default()).map_err(|error| error.to_string())?.image;
    if picture.width().min(picture.height()) < MIN_SIDE {
        return Err(format!("the picture has only {}x{} pixels", picture.width(), picture.height()));
    }
    Ok(Generated { bytes })
}

/// Reads an answer of this attempt on a thread of its own: megabytes and pixels would hold up every other task.
pub(super) async fn interpret<T: Send + 'static>(
    who: &str,
    attempt: u32,
    read: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, AttemptFailure> {
    tokio::task::spawn_blocking(read)
        .await
        .map_err(|_| AttemptFailure::retry(ErrorCode::Internal, "reading the answer panicked; see the log"))?
        .map_err(|error| {
            AttemptFailure::unusable(attempt, format!("the answer of {who} is of no use: {}", excerpt(&error)))
        })
}
