//! The work of a job, the credits held for it, and its output.

use serde::{Deserialize, Serialize};

use crate::domain::{
    brand::{BrandSpec, TrainedBrand},
    credits::Credits,
    request::IllustrationSpec,
    stored_image::StoredImage,
};

/// What a job does, complete and valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Work {
    /// Draw pictures.
    Illustration(IllustrationSpec),
    /// Train a brand.
    Brand(BrandSpec),
}

/// The credits held for one run of a job. A redrive makes a new hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// 1 for the first run.
    pub number: u32,
    /// Credits for one unit (picture, training).
    pub unit: Credits,
    /// Units requested.
    pub units: u32,
}

impl Hold {
    /// Credits held for all units.
    pub fn amount(&self) -> Credits {
        self.unit.saturating_mul(self.units.into())
    }
}

/// What a finished job delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// The output of an illustration.
    Pictures(Pictures),
    /// The output of a training.
    Brand(TrainedBrand),
}

impl Output {
    /// Delivered units.
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
    /// Pictures that the engine's content filter withheld.
    pub filtered: u32,
    /// The model that drew them.
    pub model: String,
    /// The prompt that the engine received.
    pub final_prompt: String,
    /// The seed that repeats the result.
    pub seed: Option<u32>,
    /// What the provider charges, in millionths of a US dollar.
    pub cost_micro_usd: u64,
    /// Engine and storage time of the successful attempt, in milliseconds.
    pub generation_ms: u64,
}
