//! Sweep: overdue jobs are published again, taken from a silent worker, failed at their deadline, or dead-lettered. Old
//! jobs and uploads are removed.

use std::collections::HashSet;

use futures::future::join_all;
use tracing::Instrument as _;

use super::Maintenance;
use crate::{
    domain::{
        ids::JobId,
        job::{Job, Status},
    },
    error::{BackendError, ErrorKind},
    jobs::span,
    store::Versioned,
};

/// What a sweep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SweepReport {
    /// Jobs whose message was published again.
    pub published: usize,
    /// Jobs that were failed or cancelled.
    pub settled: usize,
    /// Dead letters that were published.
    pub dead_lettered: usize,
    /// Finished jobs that were removed because of their age.
    pub removed: usize,
    /// Whether another sweep should follow at once, because there may be more to do.
    pub more: bool,
}

/// What the sweep did with one overdue job.
enum OverdueOutcome {
    Published,
    Settled,
    DeadLettered,
    /// The job changed meanwhile, so it is no longer overdue.
    Changed,
    /// Nothing could be done about it now.
    Stuck,
}

/// A sweep in progress.
#[derive(Default)]
struct Sweep {
    report: SweepReport,
    /// Jobs that are no longer overdue.
    moved: usize,
    /// Jobs about which nothing can be done now.
    stuck: HashSet<JobId>,
}

/// How many jobs one sweep handles; the caller sweeps again while there are more.
const MAX_JOBS: usize = 200;

/// Jobs handled at once: each waits for a distant store and queue, and so do the jobs behind it.
const AT_ONCE: usize = 16;

/// How many stuck jobs one sweep skips to reach the jobs behind them.
const MAX_STUCK: usize = 2000;

impl Maintenance {
    /// Handles overdue jobs, the most overdue first, then removes what has expired. Several sweeps may run at once: each
    /// change is compare-and-set.
    pub async fn sweep(&self) -> Result<SweepReport, BackendError> {
        let mut sweep = Sweep::default();
        loop {
            let stuck_before = sweep.stuck.len();
            let limit = MAX_JOBS + stuck_before;
            let due = self.writer.store.due(self.now(), limit).await?;
            let is_full = due.len() == limit;
            let due: Vec<_> = due.into_iter().filter(|found| !sweep.stuck.contains(&found.value.id)).collect();
            let mut broken = None;
            for jobs in due.chunks(AT_ONCE) {
                self.sweep_jobs(jobs, &mut sweep, &mut broken).await?;
            }
            // If none of so many jobs can be written, the damage is not limited to one account.
            if let Some(error) = broken.filter(|_| is_full && sweep.moved == 0) {
                return Err(error);
            }
            sweep.report.more = is_full && sweep.moved > 0;
            // Look further only past stuck jobs: they must not hide jobs that are less overdue.
            if !is_full || sweep.stuck.len() == stuck_before || sweep.moved >= MAX_JOBS {
                break;
            }
            if sweep.stuck.len() >= MAX_STUCK {
                let jobs = sweep.stuck.len();
                tracing::error!(jobs, "too many overdue jobs are stuck; the jobs behind them wait");
                break;
            }
        }
        self.expire_uploads().await;
        let (removed, is_more) = self.remove_old_jobs().await?;
        sweep.report.removed = removed;
        sweep.report.more |= is_more;
        Ok(sweep.report)
    }

    /// Handles a few jobs at once. `broken` receives the first error about broken data.
    ///
    /// Every job is handled to its end, even if the store does not answer for one of them: the steps after a commit, such
    /// as stopping a training that costs money, must not be skipped.
    async fn sweep_jobs(
        &self,
        jobs: &[Versioned<Job>],
        sweep: &mut Sweep,
        broken: &mut Option<BackendError>,
    ) -> Result<(), BackendError> {
        let outcomes = join_all(jobs.iter().map(|found| self.sweep_job(found.clone()))).await;
        let mut failed = None;
        for (found, outcome) in jobs.iter().zip(outcomes) {
            match outcome {
                Ok(OverdueOutcome::Stuck) => {
                    sweep.stuck.insert(found.value.id.clone());
                    continue;
                }
                // Perhaps only the account of this user is broken, which concerns each of the user's jobs.
                Err(error) if error.kind == ErrorKind::Broken => {
                    if broken.is_none() {
                        span(&found.value).in_scope(|| tracing::error!(%error, "an overdue job has broken data"));
                    }
                    sweep.stuck.insert(found.value.id.clone());
                    broken.get_or_insert(error);
                    continue;
                }
                Err(error) => {
                    failed.get_or_insert(error);
                    continue;
                }
                Ok(OverdueOutcome::Published) => sweep.report.published += 1,
                Ok(OverdueOutcome::Settled) => sweep.report.settled += 1,
                Ok(OverdueOutcome::DeadLettered) => sweep.report.dead_lettered += 1,
                Ok(OverdueOutcome::Changed) => {}
            }
            sweep.moved += 1;
        }
        failed.map_or(Ok(()), Err)
    }

    /// Handles one job. A defect that concerns only this job must not keep the sweep from the jobs behind it.
    async fn sweep_job(&self, found: Versioned<Job>) -> Result<OverdueOutcome, BackendError> {
        let span = span(&found.value);
        match self.handle_overdue(found).instrument(span.clone()).await {
            Err(error) if matches!(error.kind, ErrorKind::Internal | ErrorKind::Refused) => {
                span.in_scope(|| tracing::error!(%error, "an overdue job is stuck"));
                Ok(OverdueOutcome::Stuck)
            }
            outcome => outcome,
        }
    }

    async fn handle_overdue(&self, found: Versioned<Job>) -> Result<OverdueOutcome, BackendError> {
        if found.value.dead_letter().is_some() {
            let is_published = self.writer.publish_dead_letter(found.value, found.version).await;
            return Ok(if is_published { OverdueOutcome::DeadLettered } else { OverdueOutcome::Stuck });
        }
        let (status_before, operation) = (found.value.status(), found.value.operation().map(str::to_owned));
        let Ok(next) = found.value.overdue(self.now(), &self.policy) else { return Ok(OverdueOutcome::Stuck) };
        let version = match self.writer.commit_or_verify(found.version, &next).await {
            Ok(version) => version,
            Err(error) if error.kind == ErrorKind::Conflict => return Ok(OverdueOutcome::Changed),
            Err(error) => return Err(error),
        };
        let job = next.job;
        let status = job.status();
        let outcome = if status == Status::Queued {
            if status_before == Status::Running {
                tracing::warn!("job taken from a worker that stopped answering");
            } else {
                // In a long queue this happens to each job again and again, so it is not worth a warning.
                tracing::debug!("waiting job published again");
            }
            OverdueOutcome::Published
        } else {
            tracing::warn!(status = status.shown_as(job.kind()), "overdue job settled");
            OverdueOutcome::Settled
        };
        self.finish_taken_job(job, version, operation).await;
        Ok(outcome)
    }
}
