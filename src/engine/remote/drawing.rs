//! Draws the pictures of a job by as many calls as needed.

use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};

use super::{
    super::{AttemptContext, ImageSpec},
    call::{Batch, CallPlan},
    paid_cache::{CallKey, PaidCache},
};
use crate::domain::{failure::AttemptFailure, job::Progress, request::MAX_SEED};

/// How the pictures are divided into calls.
#[derive(Debug, Clone, Copy)]
pub(super) struct CallLimits {
    /// Pictures per call, at most.
    pub(super) per_call: u32,
    /// Concurrent calls, at most.
    pub(super) concurrency: usize,
}

/// Draws every picture of `spec` by calls of `call`, and reports progress after each.
///
/// After a failed call no other starts, but running calls are awaited: the provider charges for them, and the next attempt
/// uses their pictures. Dropping the future stops them all.
pub(super) async fn draw<'a>(
    spec: &'a ImageSpec,
    model: &str,
    cx: &AttemptContext,
    paid: &PaidCache,
    limits: CallLimits,
    call: impl Fn(CallPlan) -> BoxFuture<'a, Result<Batch, AttemptFailure>>,
) -> Result<Batch, AttemptFailure> {
    let count = spec.illustration.count;
    let mut waiting = call_plans(count, spec.seed, limits.per_call);
    let (mut running, mut done, mut failure) = (FuturesUnordered::new(), Vec::new(), None);
    let mut finished = 0;
    report(cx, finished, count);
    loop {
        while failure.is_none() && running.len() < limits.concurrency.max(1) {
            let Some(plan) = waiting.next() else { break };
            if let Some(batch) = paid.get(&CallKey::new(spec, model, cx, plan)) {
                done.push((plan, batch));
                finished += plan.count;
                report(cx, finished, count);
            } else {
                let response = call(plan);
                running.push(async move { (plan, response.await) });
            }
        }
        match running.next().await {
            None => break,
            Some((plan, Ok(batch))) => {
                // Stored at once, because the attempt can be dropped at any later point.
                paid.insert(CallKey::new(spec, model, cx, plan), batch.clone());
                done.push((plan, batch));
                finished += plan.count;
                report(cx, finished, count);
            }
            Some((_, Err(failed))) => {
                if let Some(earlier) = failure.replace(failed) {
                    tracing::debug!(failure = %earlier, "another call of the same attempt also failed");
                }
            }
        }
    }
    if let Some(failure) = failure {
        return Err(failure);
    }
    done.sort_by_key(|(plan, _)| plan.first);
    let mut whole = Batch::default();
    for (plan, batch) in done {
        paid.remove(&CallKey::new(spec, model, cx, plan));
        whole.images.extend(batch.images);
        whole.filtered += batch.filtered;
    }
    Ok(whole)
}

/// The calls of a job. Its n-th picture has the n-th seed.
fn call_plans(count: u32, seed: u32, per_call: u32) -> impl Iterator<Item = CallPlan> {
    let per_call = per_call.max(1);
    (0..count).step_by(per_call as usize).map(move |first| CallPlan {
        first,
        count: per_call.min(count - first),
        seed: seed.wrapping_add(first) & MAX_SEED,
    })
}

fn report(cx: &AttemptContext, done: u32, of: u32) {
    let fraction = f64::from(done) / f64::from(of.max(1));
    let progress = Progress { fraction, step: Some(done), total_steps: Some(of), eta_seconds: None };
    cx.progress.send_replace(Some(progress));
}
