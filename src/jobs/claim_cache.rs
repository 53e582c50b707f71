//! Jobs that this process has just accepted, for the worker in the same process that will claim them.

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

/// Jobs that are remembered, at most.
const REMEMBERED: usize = 4_096;
/// Nobody is likely to claim a job that has waited for so long: there is room for another one.
const STALE: Duration = Duration::from_mins(1);

/// What was accepted, as it was then. A claim may begin with it instead of a read: should it be out of date, the
/// compare-and-set finds out.
#[derive(Default)]
pub(super) struct ClaimCache {
    /// Whether anything is claimed in this process at all.
    is_used: AtomicBool,
    jobs: Mutex<Remembered>,
}

#[derive(Default)]
struct Remembered {
    by_id: HashMap<JobId, Versioned<Job>>,
    oldest_first: VecDeque<(Timestamp, JobId)>,
}

impl ClaimCache {
    pub(super) fn remember(&self, job: &Versioned<Job>) {
        if !self.is_used.load(Ordering::Relaxed) {
            return;
        }
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, id) = (job.value.created_at, &job.value.id);
        while let Some((at, oldest)) = jobs.oldest_first.front() {
            let is_taken = !jobs.by_id.contains_key(oldest);
            if !is_taken && (jobs.oldest_first.len() < REMEMBERED || after(*at, STALE) > now) {
                break;
            }
            if let Some((_, oldest)) = jobs.oldest_first.pop_front() {
                jobs.by_id.remove(&oldest);
            }
        }
        if jobs.oldest_first.len() < REMEMBERED {
            jobs.oldest_first.push_back((now, id.clone()));
            jobs.by_id.insert(id.clone(), job.clone());
        }
    }

    /// The job as it was accepted; only the first who asks is told.
    pub(super) fn take(&self, id: &JobId) -> Option<Versioned<Job>> {
        self.is_used.store(true, Ordering::Relaxed);
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).by_id.remove(id)
    }
}
