//! A request for pictures. Validation reports every invalid field, not just the first.

use serde::{Deserialize, Serialize};

use super::{
    field_error::FieldError,
    ids::{RequestHash, UserId},
    style::{Catalogue, Style},
};

/// The limits of a request for pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestLimits {
    /// Characters (Unicode scalar values) of the longest prompt.
    pub prompt_chars: usize,
    /// The smallest width or height, in pixels.
    pub min_side: u32,
    /// The largest width or height, in pixels.
    pub max_side: u32,
    /// The most pictures of one job.
    pub max_count: u32,
}

/// The default width and height, in pixels.
pub const DEFAULT_SIDE: u32 = 1024;
/// The largest seed that every engine accepts.
pub const MAX_SEED: u32 = i32::MAX as u32;

/// A request for pictures as it came in. Integers are wide so that an absurd number is a field error with a
/// pointer, not a parse error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GenerateRequest {
    /// What to draw.
    pub prompt: Option<String>,
    /// The id of a style or of a ready brand. Without an id and a name, the first style of the catalogue.
    pub style_id: Option<String>,
    /// The display name of a style. It selects the style if `style_id` is absent.
    pub style_name: Option<String>,
    /// Pixels; [`DEFAULT_SIDE`] by default.
    pub width: Option<i128>,
    /// Pixels; [`DEFAULT_SIDE`] by default.
    pub height: Option<i128>,
    /// Pictures; 1 by default.
    pub count: Option<i128>,
    /// The same seed and request give the same picture, if the engine supports it.
    pub seed: Option<i128>,
}

/// What to draw, complete and valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IllustrationSpec {
    /// The user's words, verbatim.
    pub prompt: String,
    /// A copy of the style, so that a later change of the catalogue does not change an accepted job.
    pub style: Style,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Pictures, at least 1.
    pub count: u32,
    /// At most [`MAX_SEED`]; `None` lets the engine choose.
    pub seed: Option<u32>,
}

impl IllustrationSpec {
    /// The hash that two requests under one idempotency key must share: of the user and of everything that shapes the
    /// result.
    pub fn hash(&self, user: &UserId) -> RequestHash {
        let canonical = serde_json::json!([
            user.as_str(),
            self.prompt,
            self.style.id,
            self.width,
            self.height,
            self.count,
            self.seed
        ]);
        RequestHash::of(canonical.to_string().as_bytes())
    }

    /// The prompt for an engine.
    pub fn final_prompt(&self) -> String {
        self.style.compose(&self.prompt)
    }

    /// The prompt for an engine that receives this number of reference pictures of the style.
    pub fn final_prompt_with_references(&self, references: usize) -> String {
        self.style.compose_with_references(&self.prompt, references)
    }
}

impl GenerateRequest {
    /// The request with its defaults, or all its errors.
    ///
    /// `brand` is the style of the brand that `style_id` names, if it names one.
    pub fn validate(
        &self,
        limits: &RequestLimits,
        catalogue: &Catalogue,
        brand: Option<&Style>,
    ) -> Result<IllustrationSpec, Vec<FieldError>> {
        let mut errors = Vec::new();
        let prompt = self.prompt.clone().unwrap_or_default();
        if let Some(detail) = prompt_error(&prompt, limits.prompt_chars) {
            errors.push(FieldError::new("prompt", detail));
        }
        let unknown = |field, valid: String| FieldError::new(field, format!("unknown style; one of: {valid}"));
        let style = match (&self.style_id, &self.style_name) {
            (Some(id), _) => catalogue
                .find(id)
                .or(brand)
                .ok_or_else(|| unknown("styleId", format!("{}, or the id of a ready brand", catalogue.ids()))),
            (None, Some(name)) => catalogue.find_by_name(name).ok_or_else(|| unknown("styleName", catalogue.names())),
            (None, None) => Ok(catalogue.default_style()),
        };
        let style = style.map_err(|error| errors.push(error)).ok();
        if self.style_id.is_some() && self.style_name.as_ref().is_some_and(|name| name.chars().count() > 80) {
            errors.push(FieldError::new("styleName", "must be at most 80 characters"));
        }
        let mut integer = |name: &str, value: Option<i128>, default: u32, min: u32, max: u32| {
            let value = value.unwrap_or_else(|| default.clamp(min, max).into());
            if value < i128::from(min) || value > i128::from(max) {
                errors.push(FieldError::new(name, format!("must be a whole number from {min} to {max}")));
            }
            u32::try_from(value).unwrap_or_default()
        };
        let width = integer("width", self.width, DEFAULT_SIDE, limits.min_side, limits.max_side);
        let height = integer("height", self.height, DEFAULT_SIDE, limits.min_side, limits.max_side);
        let count = integer("count", self.count, 1, 1, limits.max_count);
        let seed = self.seed.map(|seed| integer("seed", Some(seed), 0, 0, MAX_SEED));
        match style {
            Some(style) if errors.is_empty() => {
                Ok(IllustrationSpec { prompt, style: style.clone(), width, height, count, seed })
            }
            _ => Err(errors),
        }
    }
}

fn prompt_error(prompt: &str, max_chars: usize) -> Option<String> {
    let forbidden = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    if prompt.trim().is_empty() {
        Some(format!("must say what to draw, in 1 to {max_chars} characters"))
    } else if prompt.chars().count() > max_chars {
        Some(format!("must be at most {max_chars} characters"))
    } else if prompt.chars().any(forbidden) {
        Some("must not contain control characters".to_owned())
    } else {
        None
    }
}
