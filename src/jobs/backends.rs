//! Whether what the use cases need is there.

use std::time::Duration;

use super::Jobs;
use crate::error::{BackendError, ErrorKind};

/// How long a backend may take to say that it lives: whoever asks decides on this process by the answer.
const TIMEOUT: Duration = Duration::from_secs(2);

impl Jobs {
    /// The backends that do not answer or are broken: `store`, `queue` or `media`, each with its error.
    pub async fn failing_backends(&self) -> Vec<(&'static str, BackendError)> {
        let (store, queue, media) =
            tokio::join!(ping(self.ports.store.ping()), ping(self.ports.queue.ping()), ping(self.ports.media.ping()));
        let asked = [("store", store), ("queue", queue), ("media", media)];
        let failing = asked.into_iter().filter_map(|(backend, answer)| Some((backend, answer.err()?)));
        failing.inspect(|(backend, error)| tracing::warn!(backend, %error, "not ready")).collect()
    }
}

/// A backend that hangs must not hold up the answer about the others.
async fn ping(answer: impl Future<Output = Result<(), BackendError>>) -> Result<(), BackendError> {
    let late = |_| Err(BackendError::new(ErrorKind::Timeout, "ping"));
    tokio::time::timeout(TIMEOUT, answer).await.unwrap_or_else(late)
}
