//! An engine that draws nothing, for measuring what everything around an engine costs.

use std::borrow::Cow;

use async_trait::async_trait;

use super::{AttemptContext, Generation, ImageEngine, ImageSpec};
use crate::domain::{failure::AttemptFailure, request::IllustrationSpec};

/// Withholds every picture at once: a job is accepted, delivered, claimed and settled with its credits released, and
/// nothing is drawn or stored.
pub(super) struct Noop;

#[async_trait]
impl ImageEngine for Noop {
    async fn generate(&self, spec: &ImageSpec, _cx: &AttemptContext) -> Result<Generation, AttemptFailure> {
        Ok(Generation {
            images: Vec::new(),
            filtered: spec.illustration.count,
            model: "noop".to_owned(),
            final_prompt: String::new(),
            seed: None,
            cost_micro_usd: 0,
        })
    }

    fn routes(&self, _illustration: &IllustrationSpec) -> Vec<Cow<'_, str>> {
        vec!["noop".into()]
    }
}
