//! Checks a trained model by the header of its safetensors file: a trainer that exits with 0 can still have written
//! something else, or only half of it.

use safetensors::{Dtype, tensor::Metadata};

/// Bytes of a header, at most. The format allows 100 MB, but a header is read into memory, and that of a `LoRA` has a few
/// hundred kilobytes.
const MAX_HEADER: u64 = 16 << 20;

/// The bytes before the header, which hold its length.
pub(super) const PREFIX: u64 = 8;

/// Why a file is not a model.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidModel {
    #[error("it has {0} bytes, too few for a safetensors file")]
    TooSmall(u64),
    #[error("its header would have {header} bytes in a file of {size}")]
    HeaderLength { header: u64, size: u64 },
    #[error("its header is not that of a safetensors file: {0}")]
    Header(#[from] serde_json::Error),
    #[error("it has no tensors")]
    Empty,
    #[error("its tensors end at byte {end}, but it has {size}")]
    Size { end: u64, size: u64 },
    #[error("tensors of {0:?} instead of F16, BF16 or F32")]
    Type(Dtype),
}

/// How many bytes of header follow the first eight in a file of `size` bytes.
pub(super) fn header_length(prefix: [u8; 8], size: u64) -> Result<u64, InvalidModel> {
    let header = u64::from_le_bytes(prefix);
    if size <= PREFIX {
        return Err(InvalidModel::TooSmall(size));
    }
    if header == 0 || header > MAX_HEADER || header >= size - PREFIX {
        return Err(InvalidModel::HeaderLength { header, size });
    }
    Ok(header)
}

/// Checks the header of a file of `size` bytes. A header whose tensors leave a gap does not parse.
pub(super) fn check(header: &[u8], size: u64) -> Result<(), InvalidModel> {
    let metadata: Metadata = serde_json::from_slice(header)?;
    let tensors = metadata.tensors();
    if tensors.is_empty() {
        return Err(InvalidModel::Empty);
    }
    if let Some(other) = tensors.values().find(|info| !matches!(info.dtype, Dtype::F16 | Dtype::BF16 | Dtype::F32)) {
        return Err(InvalidModel::Type(other.dtype));
    }
    let end = PREFIX + header.len() as u64 + metadata.data_len() as u64;
    if end == size { Ok(()) } else { Err(InvalidModel::Size { end, size }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(file: &[u8]) -> Result<(), InvalidModel> {
        let size = file.len() as u64;
        let mut prefix = [0; 8];
        let given = file.len().min(8);
        prefix[..given].copy_from_slice(&file[..given]);
        let header = usize::try_from(header_length(prefix, size)?).unwrap();
        check(&file[8..8 + header], size)
    }

    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header.as_bytes());
        file.resize(file.len() + data, 0);
        file
    }

    #[test]
    fn only_a_whole_model_passes() {
        let one = r#"{"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}}"#;
        checked(&file(one, 4)).unwrap();
        assert!(matches!(checked(b""), Err(InvalidModel::TooSmall(0))));
        assert!(matches!(checked(b"12345678"), Err(InvalidModel::TooSmall(8))));
        assert!(matches!(checked(b"<html><body>an error page</body></html>"), Err(InvalidModel::HeaderLength { .. })));
        assert!(matches!(checked(&file(one, 3)), Err(InvalidModel::Size { .. })), "cut off");
        assert!(matches!(checked(&file(one, 5)), Err(InvalidModel::Size { .. })), "bytes after the end");
        assert!(matches!(checked(&file(r#"{"__metadata__":{}}"#, 4)), Err(InvalidModel::Empty)));
        let gap = r#"{"a":{"dtype":"F16","shape":[2],"data_offsets":[2,6]}}"#;
        assert!(matches!(checked(&file(gap, 6)), Err(InvalidModel::Header(_))), "no gaps");
        let shape = r#"{"a":{"dtype":"F16","shape":[3],"data_offsets":[0,4]}}"#;
        assert!(matches!(checked(&file(shape, 4)), Err(InvalidModel::Header(_))), "the shape does not fit");
        let whole = r#"{"a":{"dtype":"I32","shape":[1],"data_offsets":[0,4]}}"#;
        assert!(matches!(checked(&file(whole, 4)), Err(InvalidModel::Type(Dtype::I32))));
        let huge = (u64::MAX).to_le_bytes();
        assert!(matches!(header_length(huge, u64::MAX), Err(InvalidModel::HeaderLength { .. })));
    }
}
