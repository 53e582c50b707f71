//! How an engine registers itself: each exports one [`EngineDescriptor`], and [`ENGINES`](super::ENGINES) lists them.

use std::sync::Arc;

use super::{
    ImageEngine,
    remote::{Access, Provider},
};
use crate::{
    config::{Config, EngineConfig},
    domain::clock::Random,
};

/// An engine that the configuration can name.
pub struct EngineDescriptor {
    /// As in `engine.default`; the section of the engine is `[engine.<name>]`.
    pub name: &'static str,
    /// Whether it calls Google Cloud as this process.
    pub needs_google_credentials: bool,
    /// Where the engine is and what identifies this process there, as label and text, for operators.
    pub location: fn(&Config) -> Vec<(&'static str, String)>,
    /// Makes the engine. Connects to nothing.
    pub(super) open: OpenEngine,
}

/// Makes an engine from its section.
pub(super) enum OpenEngine {
    /// In this process, without models. The randomness decides the simulated faults.
    BuiltIn(fn(&EngineConfig, &Arc<dyn Random>) -> Arc<dyn ImageEngine>),
    /// Behind an HTTP API, with any of its models.
    Remote(fn(&EngineConfig, &Access) -> Arc<dyn Provider>),
}

impl EngineDescriptor {
    /// Whether the engine runs in this process and costs nothing.
    pub fn is_built_in(&self) -> bool {
        matches!(self.open, OpenEngine::BuiltIn(_))
    }

    /// The location of an engine in this process.
    pub(super) fn built_in(_config: &Config) -> Vec<(&'static str, String)> {
        vec![("address", "built in".to_owned())]
    }
}
