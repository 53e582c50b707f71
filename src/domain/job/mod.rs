//! A job: its work, its state and the credits held for it; and the verbs, which are the only way to change it.
//!
//! A verb consumes the job and returns a [`Transition`]: what must happen, as data. Read in this order: `work`, `state`,
//! `record`, `transition`, `verbs`, `waiting`.

mod record;
mod state;
mod transition;
mod verbs;
mod waiting;
mod work;

pub use record::{Job, JobRecord};
pub use state::{DeadLettering, Lease, Progress, State, Status};
pub use transition::{Dispatch, JobPolicy, Transition, TransitionError};
pub use verbs::NewJob;
pub use work::{Hold, Output, Pictures, Work};
