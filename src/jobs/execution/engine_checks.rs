//! Whether the models that may be called are there: asked at the start and now and then, and told to operators.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::Execution;
use crate::engine::ModelCheck;

/// How long the providers may take to answer all of it.
const TIMEOUT: Duration = Duration::from_secs(20);

/// What the last check found.
#[derive(Default)]
pub(in crate::jobs) struct EngineChecks(Mutex<Vec<ModelCheck>>);

impl Execution {
    /// Asks whether each model that may be called is there, and logs what is wrong. Nothing is refused for it: a provider
    /// may let a model be called that it does not let be looked at. Only a call tells for sure, and opens the breaker.
    pub async fn check_engines(&self) {
        let engine = &self.engine;
        let Ok(found) = tokio::time::timeout(TIMEOUT, engine.check(self.now())).await else {
            tracing::warn!("the engines' providers do not say whether their models are there");
            return;
        };
        for ModelCheck { route, outcome } in &found {
            match outcome {
                Ok(None) => tracing::debug!(engine = route, "the model is there"),
                Ok(Some(note)) => tracing::warn!(engine = route, note, "a model needs attention"),
                Err(failure) => tracing::error!(engine = route, %failure, "a model may not be callable"),
            }
        }
        *self.engine_checks.0.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }

    /// What the last check found that an operator should know.
    pub fn engine_warnings(&self) -> Vec<String> {
        let checks = self.engine_checks.0.lock().unwrap_or_else(PoisonError::into_inner);
        let warning = |checked: &ModelCheck| match &checked.outcome {
            Ok(note) => note.as_ref().map(|note| format!("{}: {note}", checked.route)),
            Err(failure) => Some(format!("{}: {}", checked.route, failure.error.message)),
        };
        checks.iter().filter_map(warning).collect()
    }
}
