//! The images that a brand was trained from, read when they are needed.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;

use super::Execution;
use crate::{
    domain::{
        brand::BrandSpec,
        failure::{AttemptFailure, ErrorCode},
        style::Style,
    },
    engine::Dataset,
    media::{MediaKey, MediaStore, image::DecodeLimits},
};

/// Uploads were checked when they arrived; this bounds what reading them again may cost.
pub(super) const LIMITS: DecodeLimits =
    DecodeLimits { max_bytes: 64 << 20, max_pixels: 40_000_000, max_alloc: 200 << 20 };

/// The images of one brand.
struct StoredDataset {
    media: Arc<dyn MediaStore>,
    keys: Vec<String>,
}

#[async_trait]
impl Dataset for StoredDataset {
    async fn picture(&self, n: usize) -> Result<Option<Bytes>, AttemptFailure> {
        let Some(key) = self.keys.get(n) else { return Ok(None) };
        read_image(&*self.media, key).await
    }
}

impl Execution {
    /// The images of a brand, for its trainer.
    pub(super) fn dataset(&self, brand: &BrandSpec) -> Arc<dyn Dataset> {
        let keys = brand.images.iter().map(|image| image.key.clone()).collect();
        Arc::new(StoredDataset { media: Arc::clone(&self.media), keys })
    }

    /// At most `max` images that show a style. An image that no longer exists is left out.
    pub(super) async fn references(&self, style: &Style, max: usize) -> Result<Vec<Bytes>, AttemptFailure> {
        let mut images = Vec::new();
        for key in style.learnt.references.iter().take(max) {
            let Some(image) = read_image(&*self.media, key).await? else {
                tracing::warn!(key, "a picture of the brand is gone; drawing without it");
                continue;
            };
            images.push(image);
        }
        Ok(images)
    }
}

/// Reads a training image into memory; `None` when it no longer exists.
pub(super) async fn read_image(media: &dyn MediaStore, key: &str) -> Result<Option<Bytes>, AttemptFailure> {
    let Ok(key) = key.parse::<MediaKey>() else { return Ok(None) };
    let failure = |error: &dyn std::fmt::Display| {
        tracing::error!(%error, %key, "reading a training image failed");
        AttemptFailure::retry(ErrorCode::StorageError, "a training image could not be read")
    };
    let Some(mut read) = media.get(&key, None).await.map_err(|error| failure(&error))? else {
        return Ok(None);
    };
    let mut bytes = BytesMut::new();
    while let Some(chunk) = read.body.next().await {
        bytes.extend_from_slice(&chunk.map_err(|error| failure(&error))?);
        if bytes.len() > LIMITS.max_bytes {
            break; // decoding reports the error
        }
    }
    Ok(Some(bytes.freeze()))
}
