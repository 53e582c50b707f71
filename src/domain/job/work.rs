//! What a job is to do, what its credits pay for, and what it delivers.

use serde::{Deserialize, Serialize};

use crate::domain::{
    brand::{BrandSpec, TrainedBrand},
    credits::Credits,
    request::IllustrationSpec,
    stored_image::StoredImage,
};

/// What the job is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Work {
    /// Draw pictures.
    Illustration(IllustrationSpec),
    /// Train a brand.
    Brand(BrandSpec),
}

/// The credits set aside for one run of a job; a redrive makes a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// 1 for the first run.
    pub number: u32,
    /// Credits for one unit (picture, training).
    pub unit: Credits,
    /// Units asked for.
    pub units: u32,
}

impl Hold {
    /// Credits held.
    pub fn amount(&self) -> Credits {
        self.unit.saturating_mul(self.units.into())
    }
}

/// What a finished job delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Of an illustration.
    Pictures(Pictures),
    /// Of a training.
    Brand(TrainedBrand),
}

impl Output {
    /// How many of the units asked for were delivered.
    pub fn delivered(&self) -> u32 {
        match self {
            Self::Pictures(pictures) => u32::try_from(pictures.images.len()).unwrap_or(u32::MAX),
            Self::Brand(_) => 1,
        }
    }
}

/// What a finished illustration delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pictures {
    /// The pictures, at least one.
    pub images: Vec<StoredImage>,
    /// Media key of the first picture's thumbnail.
    pub thumbnail_key: Option<String>,
    /// Pictures that were asked for and withheld by the engine's content filter.
    pub filtered: u32,
    /// The model that drew them.
    pub model: String,
    /// What the model was told.
    pub final_prompt: String,
    /// The seed that repeats the result.
    pub seed: Option<u32>,
    /// What the provider charges, in millionths of a US dollar.
    pub cost_micro_usd: u64,
    /// Engine and storage time of the successful attempt, in milliseconds.
    pub generation_ms: u64,
}
