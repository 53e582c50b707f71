//! The sections of the catalogue of styles.

use serde::{Deserialize, Serialize};

use crate::domain::style::{Learnt, Style};

/// `[styles.<id>]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StyleConfig {
    /// Position in the list; the lowest is the default style.
    pub order: u32,
    /// What people read.
    pub name: String,
    /// One sentence about how it looks.
    pub description: String,
    /// What is added to the prompt.
    pub modifier: String,
    /// What draws it, as `engine.default` does; absent: that.
    #[serde(default)]
    pub engine: Option<String>,
}

impl StyleConfig {
    pub(super) fn of_id(&self, id: &str) -> Style {
        let Self { name, description, modifier, .. } = self.clone();
        Style { id: id.to_owned(), name, description, modifier, palette: Vec::new(), learnt: Learnt::default() }
    }
}
