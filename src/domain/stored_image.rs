//! A picture in the media store.

use serde::{Deserialize, Serialize};

/// A picture in the media store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredImage {
    /// Media key of the picture.
    pub key: String,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Length of the stored file.
    pub bytes: u64,
    /// SHA-256 of the stored file, in hex.
    pub sha256: String,
}
