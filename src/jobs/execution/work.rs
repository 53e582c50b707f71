//! The work of an attempt: generate an illustration, or train a brand.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt as _;

use super::{Execution, context::Attempt, end::AttemptEnd};
use crate::{
    domain::{
        failure::{AttemptFailure, ErrorCode},
        ids::JobId,
        job::Work,
        request::{IllustrationSpec, MAX_SEED},
    },
    engine::{AttemptContext, Generation, ImageSpec},
    jobs::breakers::{RoutedPermit, call},
};

impl Execution {
    /// Does the work. A panic in an engine fails the attempt and not the process.
    pub(super) async fn work(&self, attempt: &Attempt<'_>, permit: RoutedPermit) -> AttemptEnd {
        let work = async {
            match &attempt.job.work {
                Work::Illustration(spec) => {
                    let output = self.illustrate(attempt, spec, permit).await;
                    output.map_or_else(AttemptEnd::Failed, AttemptEnd::Delivered)
                }
                Work::Brand(brand) => self.train(attempt, brand, permit).await,
            }
        };
        AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| {
            AttemptEnd::Failed(AttemptFailure::retry(ErrorCode::Internal, "the attempt panicked; see the log"))
        })
    }

    /// Calls the engine within its time limit. If the call fails so that its breaker opens, the next route is called: a job
    /// whose call was the probe has waited long enough.
    pub(super) async fn generate(
        &self,
        attempt: &Attempt<'_>,
        permit: RoutedPermit,
        illustration: &IllustrationSpec,
        seed: u32,
        cx: &AttemptContext,
    ) -> Result<Generation, AttemptFailure> {
        let RoutedPermit { mut permit, routes } = permit;
        loop {
            let route = permit.name().to_owned();
            let references = self.references(&illustration.style, self.engine.references(&route)).await?;
            let spec = ImageSpec { illustration: illustration.clone(), seed, route: route.clone(), references };
            let (engine, cx) = (Arc::clone(&self.engine), cx.clone());
            let generation = async move { engine.generate(&spec, &cx).await };
            let failure = match call(permit, attempt.settings.timeout, "the engine", generation).await {
                Ok(generation) => return Ok(generation),
                Err(failure) => failure,
            };
            permit = self.breakers.fallback(&routes, &route, &failure).ok_or_else(|| failure.clone())?;
            let (instead, reason) = (permit.name(), &failure.error.message);
            tracing::warn!(engine = route, instead, reason, "another engine draws");
        }
    }
}

/// The seed of a request without one. It is the same in every attempt, so that a retry draws the same picture.
pub(super) fn seed_of(id: &JobId) -> u32 {
    // FNV-1a
    let hash =
        id.as_str().bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(16_777_619));
    hash & MAX_SEED
}
