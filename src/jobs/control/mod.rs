//! Control: what users and operators do to existing jobs.

mod cancel;
mod delete;
mod redrive;

use std::sync::Arc;

pub use self::{delete::DeleteResult, redrive::RedriveResult};
use super::{Deadlines, cleanup::Cleanup, visibility::VisibleJobs, writer::JobWriter};
use crate::domain::{Timestamp, clock::Clock, job::JobPolicy};

/// Cancels, deletes and redrives jobs.
pub struct Control {
    pub(super) visible_jobs: VisibleJobs,
    pub(super) writer: JobWriter,
    pub(super) cleanup: Cleanup,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) policy: JobPolicy,
    pub(super) deadlines: Deadlines,
}

impl Control {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
