//! The catalogue of styles, and the composition of prompts.

use serde::{Deserialize, Serialize};

use super::palette::Rgb;

/// A style of the catalogue or of a brand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Style {
    /// The id that requests name: lower-case letters, digits and dashes; for a brand its job id.
    pub id: String,
    /// The display name.
    pub name: String,
    /// One sentence about its look.
    pub description: String,
    /// Text that is added to the prompt.
    pub modifier: String,
    /// Colours to draw in; if empty, the engine chooses.
    #[serde(default)]
    pub palette: Vec<Rgb>,
    /// For a brand's style: the results of its training, for engines that can use them.
    #[serde(default)]
    pub learnt: Learnt,
}

/// The results of a training, for engines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Learnt {
    /// Media keys of pictures that show the style.
    pub references: Vec<String>,
    /// The location of the trained model.
    pub model_path: Option<String>,
}

/// The most reference pictures of a brand that an engine receives.
pub const MAX_REFERENCES: usize = 4;

impl Style {
    /// The prompt for an engine: the user's words first, verbatim, then the style.
    pub fn compose(&self, prompt: &str) -> String {
        let mut composed = prompt.to_owned();
        if !self.modifier.is_empty() {
            composed = format!("{}, {}", prompt.trim(), self.modifier);
        }
        if !self.palette.is_empty() {
            let colors = self.palette.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            composed = format!("{composed}, in the colours {colors}");
        }
        composed
    }

    /// The prompt for an engine that also receives reference pictures of the style. It explains the pictures; otherwise a
    /// model draws their subjects, too.
    pub fn compose_with_references(&self, prompt: &str, references: usize) -> String {
        let composed = self.compose(prompt);
        let (these, their) = match references {
            0 => return composed,
            1 => ("The attached picture shows".to_owned(), "its"),
            _ => (format!("The {references} attached pictures show"), "their"),
        };
        format!(
            "{}. {these} how to draw, not what: keep to {their} style, {their} colours and {their} line, and take over \
             none of {their} subjects.",
            composed.trim_end().trim_end_matches('.')
        )
    }
}

/// The available styles, in display order. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue(Vec<Style>);

impl Catalogue {
    /// A catalogue of at least one style with distinct ids.
    pub fn new(styles: Vec<Style>) -> Result<Self, InvalidCatalogue> {
        if styles.is_empty() {
            return Err(InvalidCatalogue::Empty);
        }
        for (at, style) in styles.iter().enumerate() {
            let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            if style.id.is_empty() || style.id.len() > 64 || !style.id.bytes().all(legal) {
                return Err(InvalidCatalogue::Id(style.id.clone()));
            }
            if styles[..at].iter().any(|earlier| earlier.id == style.id) {
                return Err(InvalidCatalogue::Duplicate(style.id.clone()));
            }
        }
        Ok(Self(styles))
    }

    /// The style with this id.
    pub fn find(&self, id: &str) -> Option<&Style> {
        self.0.iter().find(|style| style.id == id)
    }

    /// The style with this display name, in any case.
    pub fn find_by_name(&self, name: &str) -> Option<&Style> {
        let wanted = name.trim().to_lowercase();
        self.0.iter().find(|style| style.name.to_lowercase() == wanted)
    }

    /// The style of a request that names none: the first.
    pub fn default_style(&self) -> &Style {
        &self.0[0]
    }

    /// All styles, in display order.
    pub fn iter(&self) -> impl Iterator<Item = &Style> {
        self.0.iter()
    }

    /// All ids, for an error that lists the valid values.
    pub fn ids(&self) -> String {
        self.0.iter().map(|style| style.id.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// All display names, for an error that lists the valid values.
    pub fn names(&self) -> String {
        self.0.iter().map(|style| style.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// Why a list of styles cannot be a catalogue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCatalogue {
    /// The list is empty.
    #[error("the catalogue needs at least one style")]
    Empty,
    /// The id has characters that are not allowed.
    #[error("style id {0:?} must be 1 to 64 lower-case letters, digits or dashes")]
    Id(String),
    /// Two styles have this id.
    #[error("style id {0:?} occurs twice")]
    Duplicate(String),
}
