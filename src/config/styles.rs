//! The sections about the catalogue of styles.

use serde::{Deserialize, Serialize};

use crate::domain::style::{Learnt, Style};

/// `[styles.<id>]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StyleConfig {
    /// Position in the list; the lowest is the default style.
    pub order: u32,
    /// The name that people see.
    pub name: String,
    /// One sentence about the look.
    pub description: String,
    /// The text that is added to the prompt.
    pub modifier: String,
    /// The engine for this style. Absent: `engine.default`.
    #[serde(default)]
    pub engine: Option<String>,
}

impl StyleConfig {
    pub(super) fn to_style(&self, id: &str) -> Style {
        let Self { name, description, modifier, .. } = self.clone();
        Style { id: id.to_owned(), name, description, modifier, palette: Vec::new(), learnt: Learnt::default() }
    }
}
