//! Pixels: decode within limits, bring to size, make thumbnails.
use super::MediaFormat;
use bytes::Bytes;
/// x
pub struct Prepared {
    /// x
    pub bytes: Bytes,
    /// x
    pub format: MediaFormat,
    /// x
    pub width: u32,
    /// x
    pub height: u32,
    /// x
    pub sha256: String,
    /// x
    pub thumbnail: Option<Bytes>,
}
/// x
pub fn prepare(_bytes: &Bytes, _w: u32, _h: u32, _thumbnail: bool) -> Result<Prepared, std::io::Error> {
    Err(std::io::Error::other("x"))
}
