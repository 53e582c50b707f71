//! The engine that withholds every picture. It has nothing to set.

use super::{Check, Config, EngineSection};

pub(super) struct Noop;

impl EngineSection for Noop {
    fn name(&self) -> &'static str {
        "noop"
    }

    fn model(&self) -> Option<&str> {
        None
    }

    fn validate(&self, _config: &Config, _is_used: bool, _check: &mut Check) {}
}
