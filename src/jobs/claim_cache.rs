//! Jobs that this process has just accepted, for a worker in the same process.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{
    domain::{Timestamp, clock::after, ids::JobId, job::Job},
    store::Versioned,
};

/// How many jobs are cached at most.
const MAX_JOBS: usize = 4_096;
/// A job that has waited this long is unlikely to be claimed in this process, so it makes room for another one.
const STALE: Duration = Duration::from_mins(1);

/// Jobs as they were accepted. A claim may start from the cache instead of a read: if the job is out of date, the
/// compare-and-set fails.
#[derive(Default)]
pub(super) struct ClaimCache {
    /// Whether this process claims jobs at all.
    is_used: AtomicBool,
    jobs: Mutex<CachedJobs>,
}

#[derive(Default)]
struct CachedJobs {
    by_id: HashMap<JobId, Versioned<Job>>,
    oldest_first: VecDeque<(Timestamp, JobId)>,
}

impl ClaimCache {
    pub(super) fn insert(&self, job: &Versioned<Job>) {
        if !self.is_used.load(Ordering::Relaxed) {
            return;
        }
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, id) = (job.value.created_at, &job.value.id);
        while let Some((at, oldest)) = jobs.oldest_first.front() {
            let is_taken = !jobs.by_id.contains_key(oldest);
            if !is_taken && (jobs.oldest_first.len() < MAX_JOBS || after(*at, STALE) > now) {
                break;
            }
            if let Some((_, oldest)) = jobs.oldest_first.pop_front() {
                jobs.by_id.remove(&oldest);
            }
        }
        if jobs.oldest_first.len() < MAX_JOBS {
            jobs.oldest_first.push_back((now, id.clone()));
            jobs.by_id.insert(id.clone(), job.clone());
        }
    }

    /// Removes and returns the job as it was accepted.
    pub(super) fn take(&self, id: &JobId) -> Option<Versioned<Job>> {
        self.is_used.store(true, Ordering::Relaxed);
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).by_id.remove(id)
    }
}
