//! An upload: a place for a picture to learn from, or for an archive of them, promised before the bytes come.

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

/// Text that is no upload id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an upload id is upl_ and 20 letters or digits")]
pub struct InvalidUploadId;

impl UploadId {
    /// A fresh id that nobody can guess.
    pub fn random(random: &dyn Random) -> Self {
        Self(random_text("upl_", random))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of a picture that came in an archive: the same for the same archive (SHA-256) under the same id, always.
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

/// What may be uploaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadLimits {
    /// Bytes of a file, at most.
    pub max_bytes: usize,
    /// Width times height, at most.
    pub max_pixels: u64,
    /// Bytes of an archive of pictures, at most.
    pub max_archive_bytes: usize,
}

/// The media type of archives that are taken.
pub const ARCHIVE_TYPE: &str = "application/zip";
/// The media types that are taken.
pub const UPLOAD_TYPES: [&str; 4] = ["image/png", "image/jpeg", "image/webp", ARCHIVE_TYPE];
/// Characters of a file's name, at most.
const NAME_CHARS: usize = 255;

/// The body of `POST /uploads` as it came in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UploadRequest {
    /// What the file is called where it comes from. Checked for its length and then forgotten: no path is made of it.
    pub file_name: Option<String>,
    /// What the file is said to be.
    pub content_type: Option<String>,
    /// How many bytes it is said to have.
    pub size: Option<i128>,
}

/// What a good request announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// The media type.
    pub content_type: &'static str,
    /// Bytes.
    pub size: u64,
}

impl Announced {
    /// Whether it is an archive of pictures.
    pub fn is_archive(&self) -> bool {
        self.content_type == ARCHIVE_TYPE
    }
}

impl UploadRequest {
    /// What it announces, or everything that is wrong with the request.
    ///
    /// This only spares people a transfer that would be refused: what counts is what the bytes turn out to be.
    pub fn validate(&self, limits: &UploadLimits) -> Result<Announced, Vec<FieldError>> {
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
            (Some(content_type), Some(size)) if errors.is_empty() => Ok(Announced { content_type, size }),
            _ => Err(errors),
        }
    }
}
