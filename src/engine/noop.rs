//! An engine that draws nothing, to measure the cost of everything around an engine.

use std::{borrow::Cow, sync::Arc};

use async_trait::async_trait;

use super::{
    AttemptContext, Generation, ImageEngine, ImageSpec,
    descriptor::{EngineDescriptor, OpenEngine},
};
use crate::domain::{failure::AttemptFailure, request::IllustrationSpec};

pub(super) const ENGINE: EngineDescriptor = EngineDescriptor {
    name: "noop",
    needs_google_credentials: false,
    location: EngineDescriptor::built_in,
    open: OpenEngine::BuiltIn(|_, _| Arc::new(Noop)),
};

/// Withholds every picture: a job is accepted, delivered, claimed and settled with its credits released, and nothing is
/// drawn or stored.
struct Noop;

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
