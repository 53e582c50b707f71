//! The pictures of a job, drawn by as many calls as it takes.

use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};

use super::{
    super::{AttemptContext, Generated, ImageSpec},
    paid::{Paid, Question},
};
use crate::domain::{failure::AttemptFailure, job::Progress, request::MAX_SEED};

/// The pictures of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    /// Which picture of the job is its first, from 0.
    pub(super) first: u32,
    /// How many.
    pub(super) count: u32,
    /// The seed of its first picture.
    pub(super) seed: u32,
}

/// What a call delivered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Batch {
    pub(super) images: Vec<Generated>,
    /// Pictures withheld for their content.
    pub(super) filtered: u32,
}

impl Batch {
    pub(super) fn bytes(&self) -> usize {
        self.images.iter().map(|image| image.bytes.len()).sum()
    }
}

/// How the work is divided.
#[derive(Debug, Clone, Copy)]
pub(super) struct Division {
    /// Pictures of one call, at most.
    pub(super) per_call: u32,
    /// Calls at once.
    pub(super) at_once: usize,
}

/// Draws every picture of `spec`, each call by `call`, and reports progress as they come.
///
/// When a call fails no other is begun, but those under way are waited for: they will be charged for, and their pictures
/// are there for the next attempt. Dropping the future stops them all.
pub(super) async fn draw<'a>(
    spec: &'a ImageSpec,
    model: &str,
    cx: &AttemptContext,
    paid: &Paid,
    division: Division,
    call: impl Fn(Share) -> BoxFuture<'a, Result<Batch, AttemptFailure>>,
) -> Result<Batch, AttemptFailure> {
    let count = spec.illustration.count;
    let mut waiting = shares(count, spec.seed, division.per_call);
    let (mut running, mut done, mut failure) = (FuturesUnordered::new(), Vec::new(), None);
    let mut finished = 0;
    report(cx, finished, count);
    loop {
        while failure.is_none() && running.len() < division.at_once.max(1) {
            let Some(share) = waiting.next() else { break };
            if let Some(batch) = paid.get(&Question::new(spec, model, cx, share)) {
                done.push((share, batch));
                finished += share.count;
                report(cx, finished, count);
            } else {
                let answer = call(share);
                running.push(async move { (share, answer.await) });
            }
        }
        match running.next().await {
            None => break,
            Some((share, Ok(batch))) => {
                // Kept at once: the attempt may be dropped at any later moment.
                paid.keep(Question::new(spec, model, cx, share), batch.clone());
                done.push((share, batch));
                finished += share.count;
                report(cx, finished, count);
            }
            Some((_, Err(failed))) => {
                if let Some(earlier) = failure.replace(failed) {
                    tracing::debug!(failure = %earlier, "another call of the same attempt failed, too");
                }
            }
        }
    }
    if let Some(failure) = failure {
        return Err(failure);
    }
    done.sort_by_key(|(share, _)| share.first);
    let mut whole = Batch::default();
    for (share, batch) in done {
        paid.forget(&Question::new(spec, model, cx, share));
        whole.images.extend(batch.images);
        whole.filtered += batch.filtered;
    }
    Ok(whole)
}

/// The n-th picture has the n-th seed.
fn shares(count: u32, seed: u32, per_call: u32) -> impl Iterator<Item = Share> {
    let per_call = per_call.max(1);
    (0..count).step_by(per_call as usize).map(move |first| Share {
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
