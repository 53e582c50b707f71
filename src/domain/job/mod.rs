//! A job: what was asked, in which state it is, and whose credits are held for it.
//!
//! Read in this order: `work`, `state`, `record`, `transition` (what a verb returns), `verbs`, `waiting`.

mod record;
mod state;
mod transition;
mod verbs;
mod waiting;
mod work;

pub use record::{Job, JobRecord};
pub use state::{DeadLettering, Lease, Progress, State, Status};
pub use transition::{Dispatch, JobPolicy, Transition, TransitionError};
pub use verbs::Submission;
pub use work::{Hold, Output, Pictures, Work};
