//! Check whether the models that may be called exist: at the start and from time to time, for operators.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::Execution;
use crate::engine::ModelCheck;

/// How long all providers together may take to answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The results of the last check.
#[derive(Default)]
pub(in crate::jobs) struct EngineChecks(Mutex<Vec<ModelCheck>>);

impl Execution {
    /// Checks each model that may be called, and logs what is wrong. A failed check does not stop jobs: some providers allow
    /// calls to a model that they do not allow to be looked up. Only a failed call opens the breaker.
    pub async fn check_engines(&self) {
        let Ok(checks) = tokio::time::timeout(TIMEOUT, self.engine.check(self.now())).await else {
            tracing::warn!("the engines' providers do not say whether their models are there");
            return;
        };
        for ModelCheck { route, outcome } in &checks {
            match outcome {
                Ok(None) => tracing::debug!(engine = route, "the model is there"),
                Ok(Some(note)) => tracing::warn!(engine = route, note, "a model needs attention"),
                Err(failure) => tracing::error!(engine = route, %failure, "a model may not be callable"),
            }
        }
        *self.engine_checks.0.lock().unwrap_or_else(PoisonError::into_inner) = checks;
    }

    /// The problems that the last check found.
    pub fn engine_warnings(&self) -> Vec<String> {
        let checks = self.engine_checks.0.lock().unwrap_or_else(PoisonError::into_inner);
        let warning = |checked: &ModelCheck| match &checked.outcome {
            Ok(note) => note.as_ref().map(|note| format!("{}: {note}", checked.route)),
            Err(failure) => Some(format!("{}: {}", checked.route, failure.error.message)),
        };
        checks.iter().filter_map(warning).collect()
    }
}
