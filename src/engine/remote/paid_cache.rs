//! Paid pictures of unfinished jobs. The providers have no idempotency keys: without this cache, a retry would pay again
//! for the calls that succeeded before another one failed. Best effort: each process has its own cache, and it drops the
//! oldest pictures when it is full.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::call::{Batch, CallPlan};
use crate::{
    domain::ids::JobId,
    engine::{AttemptContext, ImageSpec},
};

/// Bytes of pictures in the cache, at most.
const MAX_BYTES: usize = 64 << 20;

/// Everything that the result of a call depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CallKey {
    job: JobId,
    model: String,
    prompt: String,
    size: (u32, u32),
    plan: CallPlan,
}

impl CallKey {
    pub(super) fn new(spec: &ImageSpec, model: &str, cx: &AttemptContext, plan: CallPlan) -> Self {
        let illustration = &spec.illustration;
        Self {
            job: cx.job_id.clone(),
            model: model.to_owned(),
            prompt: illustration.final_prompt(),
            size: (illustration.width, illustration.height),
            plan,
        }
    }
}

#[derive(Default)]
pub(super) struct PaidCache(Mutex<VecDeque<(CallKey, Batch)>>);

impl PaidCache {
    /// Stores a result until it is [removed](Self::remove).
    pub(super) fn insert(&self, key: CallKey, batch: Batch) {
        self.remove(&key);
        let mut entries = self.entries();
        entries.push_back((key, batch));
        let mut bytes: usize = entries.iter().map(|(_, batch)| batch.bytes()).sum();
        while bytes > MAX_BYTES
            && let Some((_, dropped)) = entries.pop_front()
        {
            bytes -= dropped.bytes();
        }
    }

    /// The result that an earlier attempt received.
    pub(super) fn get(&self, key: &CallKey) -> Option<Batch> {
        self.entries().iter().find(|(stored, _)| stored == key).map(|(_, batch)| batch.clone())
    }

    /// Removes a result after its delivery: the same call is then meant to draw another picture.
    pub(super) fn remove(&self, key: &CallKey) {
        self.entries().retain(|(stored, _)| stored != key);
    }

    fn entries(&self) -> MutexGuard<'_, VecDeque<(CallKey, Batch)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::engine::GeneratedImage;

    fn key(seed: u32) -> CallKey {
        let plan = CallPlan { first: 0, count: 1, seed };
        let job = "ill_00000000000000000000".parse().unwrap();
        CallKey { job, model: "m".to_owned(), prompt: "p".to_owned(), size: (1, 1), plan }
    }

    fn batch(bytes: usize) -> Batch {
        Batch { images: vec![GeneratedImage { bytes: Bytes::from(vec![0; bytes]) }], filtered: 0 }
    }

    #[test]
    fn a_result_is_found_by_its_key_until_it_is_removed() {
        let paid = PaidCache::default();
        paid.insert(key(1), batch(10));
        assert_eq!(paid.get(&key(2)), None);
        assert_eq!(paid.get(&key(1)), Some(batch(10)));
        assert_eq!(paid.get(&key(1)), Some(batch(10)));
        paid.remove(&key(1));
        assert_eq!(paid.get(&key(1)), None);
    }

    #[test]
    fn the_oldest_results_are_dropped_when_the_cache_is_full() {
        let paid = PaidCache::default();
        for seed in 0..5 {
            paid.insert(key(seed), batch(MAX_BYTES / 4));
        }
        assert_eq!(paid.get(&key(0)), None);
        assert!((1..5).all(|seed| paid.get(&key(seed)).is_some()));
        paid.insert(key(9), batch(MAX_BYTES + 1));
        assert_eq!(paid.get(&key(9)), None, "a result larger than the cache is not stored");
    }
}
