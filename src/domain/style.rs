//! Styles: a catalogue to choose from, and the one place where a prompt is composed.

use serde::{Deserialize, Serialize};

use super::palette::Rgb;

/// One style of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Style {
    /// What requests name: lower-case letters, digits and dashes.
    pub id: String,
    /// What people read.
    pub name: String,
    /// One sentence about how it looks.
    pub description: String,
    /// What is added to the prompt.
    pub modifier: String,
    /// Colours to draw in; empty when the style leaves them to the engine.
    #[serde(default)]
    pub palette: Vec<Rgb>,
    /// Of a brand's style: what a training has left for engines that can use it.
    #[serde(default)]
    pub learnt: Learnt,
}

/// What a training has left for engines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Learnt {
    /// Media keys of pictures that show the style.
    pub references: Vec<String>,
    /// Where the trained model is.
    pub model_path: Option<String>,
}

/// Pictures that show a brand's style to an engine that takes any, at most.
pub const MAX_REFERENCES: usize = 4;

impl Style {
    /// The prompt an engine gets: the person's words first, verbatim, then how to draw them.
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

    /// The same for an engine that is shown so many pictures of the style with it: without a word on what they are for, a
    /// model takes their subjects for a part of what to draw.
    pub fn compose_shown(&self, prompt: &str, pictures: usize) -> String {
        let composed = self.compose(prompt);
        let (these, their) = match pictures {
            0 => return composed,
            1 => ("The attached picture shows".to_owned(), "its"),
            _ => (format!("The {pictures} attached pictures show"), "their"),
        };
        format!(
            "{}. {these} how to draw, not what: keep to {their} style, {their} colours and {their} line, and take over \
             none of {their} subjects.",
            composed.trim_end().trim_end_matches('.')
        )
    }
}

/// The styles on offer, in the order they are shown. Never empty.
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
                return Err(InvalidCatalogue::Twice(style.id.clone()));
            }
        }
        Ok(Self(styles))
    }

    /// The style of that id.
    pub fn find(&self, id: &str) -> Option<&Style> {
        self.0.iter().find(|style| style.id == id)
    }

    /// The style of that name, as people write it: without regard to case.
    pub fn named(&self, name: &str) -> Option<&Style> {
        let wanted = name.trim().to_lowercase();
        self.0.iter().find(|style| style.name.to_lowercase() == wanted)
    }

    /// What a request that names no style gets: the first.
    pub fn default_style(&self) -> &Style {
        &self.0[0]
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Style> {
        self.0.iter()
    }

    /// The ids, for an error that lists the valid values.
    pub fn ids(&self) -> String {
        self.0.iter().map(|style| style.id.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// The names, for an error that lists the valid values.
    pub fn names(&self) -> String {
        self.0.iter().map(|style| style.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// Why a list of styles is no catalogue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCatalogue {
    /// There is nothing to choose.
    #[error("the catalogue needs at least one style")]
    Empty,
    /// An id that cannot be named in a request.
    #[error("style id {0:?} must be 1 to 64 lower-case letters, digits or dashes")]
    Id(String),
    /// Two styles of one id.
    #[error("style id {0:?} occurs twice")]
    Twice(String),
}
