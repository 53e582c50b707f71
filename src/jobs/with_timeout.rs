//! Which time limit applies to which port.

use std::sync::Arc;

use super::{Ports, Timeouts};
use crate::intercept::{Intercepted, TimeLimit};

/// Each of these makes many calls, and the backend limits each of them.
const PAGED: &[&str] = &["queue.dead_letters", "queue.discard"];

/// Limits the time of each call. A stream takes as long as its reader waits; of a read picture only the beginning is
/// limited.
pub(super) fn with_timeouts(ports: Ports, timeouts: Timeouts) -> Ports {
    let (backend, media) = (TimeLimit::new(timeouts.backend), TimeLimit::new(timeouts.media));
    Ports {
        store: Arc::new(Intercepted::new(ports.store, backend)),
        accounts: Arc::new(Intercepted::new(ports.accounts, backend)),
        queue: Arc::new(Intercepted::new(ports.queue, backend.except(PAGED))),
        media: Arc::new(Intercepted::new(ports.media, media)),
        ..ports
    }
}
