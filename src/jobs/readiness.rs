//! Checks whether the backends answer, for `/ready`.

use std::{sync::Arc, time::Duration};

use crate::{
    error::{BackendError, ErrorKind},
    media::MediaStore,
    queue::JobQueue,
    store::JobStore,
};

/// How long a backend may take to answer a ping: an orchestrator waits for the result and acts on it.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The backends whose failure makes a process unready.
pub struct Readiness {
    pub(super) store: Arc<dyn JobStore>,
    pub(super) queue: Arc<dyn JobQueue>,
    pub(super) media: Arc<dyn MediaStore>,
}

impl Readiness {
    /// The backends that do not answer or are broken (`store`, `queue` or `media`), each with its error.
    pub async fn failing_backends(&self) -> Vec<(&'static str, BackendError)> {
        let (store, queue, media) =
            tokio::join!(ping(self.store.ping()), ping(self.queue.ping()), ping(self.media.ping()));
        let pings = [("store", store), ("queue", queue), ("media", media)];
        let failing = pings.into_iter().filter_map(|(backend, ping)| Some((backend, ping.err()?)));
        failing.inspect(|(backend, error)| tracing::warn!(backend, %error, "not ready")).collect()
    }
}

/// Bounds one ping, so that a backend that hangs does not hold up the report about the others.
async fn ping(ping: impl Future<Output = Result<(), BackendError>>) -> Result<(), BackendError> {
    let timed_out = |_| Err(BackendError::new(ErrorKind::Timeout, "ping"));
    tokio::time::timeout(TIMEOUT, ping).await.unwrap_or_else(timed_out)
}
