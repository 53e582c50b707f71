//! Is it a model? What a trainer leaves behind, judged by the header of its safetensors file: a program that ends well
//! has said nothing of what it wrote.

use safetensors::{Dtype, tensor::Metadata};

/// Bytes of a header, at most. The format allows 100 MB; that of a `LoRA` has a few hundred kilobytes, and it is read into
/// memory.
const MAX_HEADER: u64 = 16 << 20;

/// The bytes before the header, which say how long it is.
pub(super) const PREFIX: u64 = 8;

/// Why a file is no model.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfit {
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
pub(super) fn header_length(prefix: [u8; 8], size: u64) -> Result<u64, Unfit> {
    let header = u64::from_le_bytes(prefix);
    if size <= PREFIX {
        return Err(Unfit::TooSmall(size));
    }
    if header == 0 || header > MAX_HEADER || header >= size - PREFIX {
        return Err(Unfit::HeaderLength { header, size });
    }
    Ok(header)
}

/// Checks the header of a file of `size` bytes. The tensors' places follow one another without a gap, or the header does
/// not parse.
pub(super) fn check(header: &[u8], size: u64) -> Result<(), Unfit> {
    let metadata: Metadata = serde_json::from_slice(header)?;
    let tensors = metadata.tensors();
    if tensors.is_empty() {
        return Err(Unfit::Empty);
    }
    if let Some(strange) = tensors.values().find(|info| !matches!(info.dtype, Dtype::F16 | Dtype::BF16 | Dtype::F32)) {
        return Err(Unfit::Type(strange.dtype));
    }
    let end = PREFIX + header.len() as u64 + metadata.data_len() as u64;
    if end == size { Ok(()) } else { Err(Unfit::Size { end, size }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(file: &[u8]) -> Result<(), Unfit> {
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
    fn a_model_is_told_from_what_is_none() {
        let one = r#"{"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}}"#;
        judged(&file(one, 4)).unwrap();
        assert!(matches!(judged(b""), Err(Unfit::TooSmall(0))));
        assert!(matches!(judged(b"12345678"), Err(Unfit::TooSmall(8))));
        assert!(matches!(judged(b"<html><body>an error page</body></html>"), Err(Unfit::HeaderLength { .. })));
        assert!(matches!(judged(&file(one, 3)), Err(Unfit::Size { .. })), "cut off");
        assert!(matches!(judged(&file(one, 5)), Err(Unfit::Size { .. })), "something behind it");
        assert!(matches!(judged(&file(r#"{"__metadata__":{}}"#, 4)), Err(Unfit::Empty)));
        let gap = r#"{"a":{"dtype":"F16","shape":[2],"data_offsets":[2,6]}}"#;
        assert!(matches!(judged(&file(gap, 6)), Err(Unfit::Header(_))), "no gaps");
        let shape = r#"{"a":{"dtype":"F16","shape":[3],"data_offsets":[0,4]}}"#;
        assert!(matches!(judged(&file(shape, 4)), Err(Unfit::Header(_))), "the shape does not fit");
        let whole = r#"{"a":{"dtype":"I32","shape":[1],"data_offsets":[0,4]}}"#;
        assert!(matches!(judged(&file(whole, 4)), Err(Unfit::Type(Dtype::I32))));
        let huge = (u64::MAX).to_le_bytes();
        assert!(matches!(header_length(huge, u64::MAX), Err(Unfit::HeaderLength { .. })));
    }
}
