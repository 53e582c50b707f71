//! Which jobs a user may see: their own, and the brands of their team. To everybody else a job does not exist.
//!
//! A user who sees a brand may also use, cancel and delete it, because the team has paid for it.

use std::sync::Arc;

use crate::{
    domain::{
        ids::{JobId, TeamId, UserId},
        job::Job,
        kind::JobKind,
    },
    error::BackendError,
    store::{AccountStore, JobStore, Versioned},
};

/// Whether a user of this team may see the job.
pub(super) fn is_visible(job: &Job, user: &UserId, team: Option<&TeamId>) -> bool {
    job.user == *user || (job.kind() == JobKind::Brand && team.is_some() && job.team.as_ref() == team)
}

/// Reads jobs on behalf of users.
#[derive(Clone)]
pub(super) struct VisibleJobs {
    pub(super) store: Arc<dyn JobStore>,
    pub(super) accounts: Arc<dyn AccountStore>,
}

impl VisibleJobs {
    /// The job, if the user may see it. The user's team is read only when the answer depends on it.
    pub(super) async fn get(&self, user: &UserId, id: &JobId) -> Result<Option<Versioned<Job>>, BackendError> {
        let Some(job) = self.store.get(id).await? else { return Ok(None) };
        if is_visible(&job.value, user, None) {
            return Ok(Some(job));
        }
        if job.value.kind() == JobKind::Illustration || job.value.team.is_none() {
            return Ok(None);
        }
        let team = self.accounts.team_of(user).await?;
        Ok(Some(job).filter(|job| is_visible(&job.value, user, team.as_ref())))
    }
}
