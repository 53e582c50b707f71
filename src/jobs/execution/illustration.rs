//! The work of an attempt at an illustration: generate the images, bring them to size, store them.

use super::{
    Execution,
    context::Attempt,
    images::{ImageRole, Stored},
    work::seed_of,
};
use crate::{
    domain::{
        clock::millis_between,
        failure::AttemptFailure,
        job::{Output, Pictures},
        request::IllustrationSpec,
    },
    failpoint::failpoint,
    jobs::breakers::RoutedPermit,
};

impl Execution {
    pub(super) async fn illustrate(
        &self,
        attempt: &Attempt<'_>,
        illustration: &IllustrationSpec,
        permit: RoutedPermit,
    ) -> Result<Output, AttemptFailure> {
        let started = self.now();
        let seed = illustration.seed.unwrap_or_else(|| seed_of(&attempt.job.id));
        let generation = self.generate(attempt, permit, illustration, seed, attempt.cx).await?;
        failpoint("after_generate");
        let size = (illustration.width, illustration.height);
        let mut images = Vec::with_capacity(generation.images.len());
        let mut first_thumbnail = None;
        for (n, generated) in generation.images.into_iter().take(attempt.job.hold.units as usize).enumerate() {
            let Stored { image, thumbnail_key } =
                self.store_image(attempt, generated, size, ImageRole::Picture(n)).await?;
            images.push(image);
            first_thumbnail = first_thumbnail.or(thumbnail_key);
        }
        Ok(Output::Pictures(Pictures {
            images,
            thumbnail_key: first_thumbnail,
            filtered: generation.filtered,
            model: generation.model,
            final_prompt: generation.final_prompt,
            seed: generation.seed,
            cost_micro_usd: generation.cost_micro_usd,
            generation_ms: millis_between(started, self.now()),
        }))
    }
}
