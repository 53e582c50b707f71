//! An upload: a training picture or an archive of pictures. A client announces it first and sends the bytes afterwards.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    clock::Random,
    field_error::FieldError,
    ids::{random_text, text_of_bits},
};

/// An uploaded file: `upl_` plus 20 base62 characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UploadId(String);

/// The text is not an upload id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an upload id is upl_ and 20 letters or digits")]
pub struct InvalidUploadId;

impl UploadId {
    /// A fresh id that cannot be guessed.
    pub fn random(random: &dyn Random) -> Self {
        Self(random_text("upl_", random))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of picture `n` of an archive. `content` is the archive's SHA-256. Unpacking an archive again gives the same
    /// ids.
    pub fn derived(archive: &Self, content: &[u8; 32], n: usize) -> Self {
        let mut hash = Sha256::new();
        hash.update(archive.as_str());
        hash.update(content);
        hash.update((n as u64).to_be_bytes());
        let digest = hash.finalize();
        let mut bits = [0_u8; 16];
        bits.copy_from_slice(&digest[..16]);
        Self(text_of_bits("upl_", u128::from_be_bytes(bits)))
    }
}

impl FromStr for UploadId {
    type Err = InvalidUploadId;
    fn from_str(text: &str) -> Result<Self, InvalidUploadId> {
        let tail = text.strip_prefix("upl_").ok_or(InvalidUploadId)?;
        let legal = tail.len() == 20 && tail.bytes().all(|b| b.is_ascii_alphanumeric());
        if legal { Ok(Self(text.to_owned())) } else { Err(InvalidUploadId) }
    }
}

impl TryFrom<String> for UploadId {
    type Error = InvalidUploadId;
    fn try_from(text: String) -> Result<Self, InvalidUploadId> {
        text.parse()
    }
}

impl From<UploadId> for String {
    fn from(id: UploadId) -> String {
        id.0
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The limits of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadLimits {
    /// Bytes of the largest picture file.
    pub max_bytes: usize,
    /// Pixels (width times height) of the largest picture.
    pub max_pixels: u64,
    /// Bytes of the largest archive.
    pub max_archive_bytes: usize,
}

/// The media type of an archive.
pub const ARCHIVE_TYPE: &str = "application/zip";
/// The media types that are accepted.
pub const UPLOAD_TYPES: [&str; 4] = ["image/png", "image/jpeg", "image/webp", ARCHIVE_TYPE];
/// Characters of the longest file name.
const NAME_CHARS: usize = 255;

/// The body of `POST /uploads` as it came in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UploadRequest {
    /// The name of the file on the client's machine. It is checked and then dropped; it never becomes part of a path.
    pub file_name: Option<String>,
    /// The announced media type.
    pub content_type: Option<String>,
    /// The announced number of bytes.
    pub size: Option<i128>,
}

/// A valid announcement of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnnouncedUpload {
    /// The media type.
    pub content_type: &'static str,
    /// Bytes.
    pub size: u64,
}

impl AnnouncedUpload {
    /// Whether it announces an archive.
    pub fn is_archive(&self) -> bool {
        self.content_type == ARCHIVE_TYPE
    }
}

impl UploadRequest {
    /// The announcement, or all its errors.
    ///
    /// This check only avoids transfers that would be refused. The bytes themselves are checked when they arrive.
    pub fn validate(&self, limits: &UploadLimits) -> Result<AnnouncedUpload, Vec<FieldError>> {
        let mut errors = Vec::new();
        let name = self.file_name.as_deref().unwrap_or_default();
        if name.trim().is_empty() || name.chars().count() > NAME_CHARS || name.chars().any(char::is_control) {
            let detail = format!("must be 1 to {NAME_CHARS} characters without control characters");
            errors.push(FieldError::new("fileName", detail));
        }
        let given = self.content_type.as_deref().unwrap_or_default().trim();
        let content_type = UPLOAD_TYPES.into_iter().find(|known| known.eq_ignore_ascii_case(given));
        if content_type.is_none() {
            errors.push(FieldError::new("contentType", format!("must be one of: {}", UPLOAD_TYPES.join(", "))));
        }
        let is_archive = content_type == Some(ARCHIVE_TYPE);
        let max = if is_archive { limits.max_archive_bytes } else { limits.max_bytes };
        let size = self.size.and_then(|size| u64::try_from(size).ok());
        let size = size.filter(|size| *size >= 1 && usize::try_from(*size).is_ok_and(|size| size <= max));
        if size.is_none() {
            errors.push(FieldError::new("size", format!("must be a whole number of bytes from 1 to {max}")));
        }
        match (content_type, size) {
            (Some(content_type), Some(size)) if errors.is_empty() => Ok(AnnouncedUpload { content_type, size }),
            _ => Err(errors),
        }
    }
}
