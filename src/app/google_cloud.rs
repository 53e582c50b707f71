//! Opens the Google Cloud backends. A build without them explains how to include them.

use std::sync::Arc;

use crate::{config::Config, error::BackendError, media::MediaStore, queue::JobQueue, store::Stores};
#[cfg(feature = "google-cloud")]
use crate::{media, queue, store};

/// The project id. If it is missing, the first call to Google Cloud reports that.
pub(super) fn project(config: &Config) -> &str {
    config.gcp.project.as_deref().unwrap_or_default()
}

#[cfg(feature = "google-cloud")]
pub(super) fn open_store(config: &Config) -> Result<Stores, BackendError> {
    store::open_firestore(project(config), &config.store.firestore)
}

#[cfg(feature = "google-cloud")]
#[expect(clippy::unnecessary_wraps, reason = "fails in a build without Google Cloud")]
pub(super) fn open_queue(config: &Config) -> Result<Arc<dyn JobQueue>, BackendError> {
    Ok(queue::open_pubsub(project(config), &config.queue.pubsub))
}

#[cfg(feature = "google-cloud")]
pub(super) fn open_media(config: &Config) -> Result<Arc<dyn MediaStore>, BackendError> {
    media::open_gcs(&config.media.gcs)
}

#[cfg(not(feature = "google-cloud"))]
pub(super) fn open_store(_: &Config) -> Result<Stores, BackendError> {
    Err(not_included("store.open"))
}

#[cfg(not(feature = "google-cloud"))]
pub(super) fn open_queue(_: &Config) -> Result<Arc<dyn JobQueue>, BackendError> {
    Err(not_included("queue.open"))
}

#[cfg(not(feature = "google-cloud"))]
pub(super) fn open_media(_: &Config) -> Result<Arc<dyn MediaStore>, BackendError> {
    Err(not_included("media.open"))
}

#[cfg(not(feature = "google-cloud"))]
fn not_included(op: &'static str) -> BackendError {
    BackendError::new(crate::error::ErrorKind::Broken, op).because(crate::config::GOOGLE_CLOUD_NOT_INCLUDED)
}
