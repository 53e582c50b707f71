//! The keys of the images that an attempt has stored.

use std::sync::{Mutex, PoisonError};

use tokio_util::task::TaskTracker;

use crate::media::MediaKey;

/// The keys that an attempt has stored so far.
#[derive(Default)]
pub(super) struct StoredKeys {
    keys: Mutex<Vec<MediaKey>>,
    /// Writes in progress. A write goes on when its attempt ends, and would otherwise store its image after the deletion.
    pub(super) writes: TaskTracker,
}

impl StoredKeys {
    pub(super) fn add(&self, key: MediaKey) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).push(key);
    }

    pub(super) fn take(&self) -> Vec<MediaKey> {
        std::mem::take(&mut self.keys.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
