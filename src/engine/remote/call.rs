//! One call of a provider: the pictures that it requests, and those that it delivers.

use super::super::GeneratedImage;

/// The pictures of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CallPlan {
    /// The number of its first picture within the job, from 0.
    pub(super) first: u32,
    /// The number of pictures.
    pub(super) count: u32,
    /// The seed of its first picture.
    pub(super) seed: u32,
}

/// The result of a call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Batch {
    pub(super) images: Vec<GeneratedImage>,
    /// The number of pictures that were withheld for their content.
    pub(super) filtered: u32,
}

impl Batch {
    pub(super) fn bytes(&self) -> usize {
        self.images.iter().map(|image| image.bytes.len()).sum()
    }
}
