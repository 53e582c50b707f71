//! A brand: the request to train it, the check of its training pictures, and the result of the training.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{
    field_error::FieldError,
    ids::{RequestHash, UserId},
    palette::Rgb,
    stored_image::StoredImage,
    style::{Learnt, MAX_REFERENCES, Style},
    upload::UploadId,
};

/// The limits of a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrandLimits {
    /// The fewest training images.
    pub min_images: usize,
    /// The most training images.
    pub max_images: usize,
    /// The most colours.
    pub max_colors: usize,
    /// Characters of the longest name.
    pub name_chars: usize,
    /// Pixels of the shortest allowed short side of a training image.
    pub min_side: u32,
    /// The largest ratio of the long side of a training image to its short side.
    pub max_aspect: u32,
    /// Two pictures whose fingerprints differ in fewer bits count as duplicates.
    pub min_difference: u32,
}

impl BrandLimits {
    /// The error, if this number of pictures is not allowed.
    pub fn check_count(&self, pictures: usize) -> Option<FieldError> {
        let is_wrong = pictures < self.min_images || pictures > self.max_images;
        is_wrong.then(|| self.count_error(Some(pictures)))
    }

    fn count_error(&self, found: Option<usize>) -> FieldError {
        let found = found.map(|found| format!("; there are {found}")).unwrap_or_default();
        let (min, max) = (self.min_images, self.max_images);
        FieldError::new("trainingImages", format!("must list the uploadIds of {min} to {max} pictures{found}"))
    }
}

/// A request for a training, not yet validated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrainRequest {
    /// The brand's display name.
    pub brand_name: Option<String>,
    /// Colours that the brand must have, `#rrggbb`.
    pub brand_colors: Option<Vec<String>>,
    /// Ids of the uploads to learn from: pictures and archives of pictures.
    pub training_images: Option<Vec<String>>,
}

/// A request with valid fields. Its pictures are not checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainOrder {
    /// Trimmed.
    pub name: String,
    /// Distinct, in the order of the request.
    pub colors: Vec<Rgb>,
    /// Distinct, in the order of the request.
    pub uploads: Vec<UploadId>,
}

impl TrainRequest {
    /// The valid request, or all its errors.
    pub fn validate(&self, limits: &BrandLimits) -> Result<TrainOrder, Vec<FieldError>> {
        let mut errors = Vec::new();
        let name = self.brand_name.as_deref().unwrap_or_default().trim();
        let chars = name.chars().count();
        if chars == 0 || chars > limits.name_chars || name.chars().any(char::is_control) {
            let detail = format!("must be 1 to {} characters without control characters", limits.name_chars);
            errors.push(FieldError::new("brandName", detail));
        }
        let colors = self.brand_colors.as_deref().unwrap_or_default();
        if colors.len() > limits.max_colors {
            errors.push(FieldError::new("brandColors", format!("must be at most {} colours", limits.max_colors)));
        }
        let colors = parse_each(colors, "brandColors", &mut errors);
        let uploads = self.training_images.as_deref().unwrap_or_default();
        // The number of pictures is known only after the archives have been unpacked.
        if uploads.is_empty() || uploads.len() > limits.max_images {
            errors.push(limits.count_error(None));
        }
        // Check no more elements than are allowed, so that the response stays small.
        let uploads = parse_each(&uploads[..uploads.len().min(limits.max_images)], "trainingImages", &mut errors);
        if errors.is_empty() { Ok(TrainOrder { name: name.to_owned(), colors, uploads }) } else { Err(errors) }
    }
}

fn parse_each<T>(texts: &[String], field: &str, errors: &mut Vec<FieldError>) -> Vec<T>
where
    T: FromStr<Err: fmt::Display> + PartialEq,
{
    let mut values = Vec::with_capacity(texts.len());
    for (n, text) in texts.iter().enumerate() {
        let at = |detail: String| FieldError::new(&format!("{field}/{n}"), detail);
        match text.parse::<T>() {
            Ok(value) if values.contains(&value) => errors.push(at("occurs twice".to_owned())),
            Ok(value) => values.push(value),
            Err(wrong) => errors.push(at(wrong.to_string())),
        }
    }
    values
}

/// The measurements of an uploaded picture, kept so that it need not be decoded again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageFacts {
    /// Pixels, after rotation to the upright position.
    pub width: u32,
    /// Pixels, after rotation to the upright position.
    pub height: u32,
    /// A perceptual hash: pictures that look alike differ in few bits.
    pub fingerprint: u64,
}

/// The result of checking a picture for training.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum ImageCheck {
    /// The picture is fit for training.
    Ok,
    /// Nothing was uploaded under this id, or it has expired.
    Missing,
    /// The upload is not a usable picture.
    NotAnImage {
        /// The reason, in the words of a refused upload.
        why: String,
    },
    /// The short side has too few pixels.
    TooSmall {
        /// Pixels it has.
        short_side: u32,
        /// Pixels it needs.
        needed: u32,
    },
    /// One side is much longer than the other.
    ExtremeAspect,
    /// The caption beside the picture is invalid.
    BadCaption {
        /// What is wrong.
        why: String,
    },
    /// The picture looks like an earlier picture of the same request.
    NearDuplicate {
        /// Position of the earlier picture.
        of: usize,
    },
}

impl ImageCheck {
    /// The explanation for users.
    pub fn detail(&self) -> String {
        match self {
            Self::Ok => "fit for training".to_owned(),
            Self::Missing => "nothing was uploaded under this id, or it has expired".to_owned(),
            Self::NotAnImage { why } | Self::BadCaption { why } => why.clone(),
            Self::TooSmall { short_side, needed } => {
                format!("its short side has {short_side} px; {needed} px are needed")
            }
            Self::ExtremeAspect => "its sides differ too much in length".to_owned(),
            Self::NearDuplicate { of } => format!("looks like image {of}"),
        }
    }
}

/// The content of an upload, as found in the media store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UploadContent {
    /// A picture.
    Picture(ImageFacts),
    /// Not a usable picture, and why.
    NotAnImage(String),
    /// A picture with an invalid caption, and what is wrong with it.
    BadCaption(String),
    /// Nothing was uploaded, or it has expired.
    Missing,
}

/// Checks every picture, in order. Of pictures that look alike, the first is fit.
pub fn check_images(uploads: &[UploadContent], limits: &BrandLimits) -> Vec<ImageCheck> {
    let mut seen: Vec<(usize, u64)> = Vec::new();
    let check = |(n, upload): (usize, &UploadContent)| {
        let facts = match upload {
            UploadContent::Picture(facts) => facts,
            UploadContent::NotAnImage(why) => return ImageCheck::NotAnImage { why: why.clone() },
            UploadContent::BadCaption(why) => return ImageCheck::BadCaption { why: why.clone() },
            UploadContent::Missing => return ImageCheck::Missing,
        };
        let (short, long) = (facts.width.min(facts.height), facts.width.max(facts.height));
        if short < limits.min_side {
            return ImageCheck::TooSmall { short_side: short, needed: limits.min_side };
        }
        if u64::from(long) > u64::from(short) * u64::from(limits.max_aspect) {
            return ImageCheck::ExtremeAspect;
        }
        let alike = |(_, other): &&(usize, u64)| (other ^ facts.fingerprint).count_ones() < limits.min_difference;
        if let Some((of, _)) = seen.iter().find(alike) {
            return ImageCheck::NearDuplicate { of: *of };
        }
        seen.push((n, facts.fingerprint));
        ImageCheck::Ok
    };
    uploads.iter().enumerate().map(check).collect()
}

/// A picture of a request, and the result of its check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedImage {
    /// The upload that the request names: the picture, or the archive that contains it.
    pub upload: UploadId,
    /// Its position in the request.
    pub position: usize,
    /// The picture's path in the archive, if the upload is an archive.
    pub entry: Option<String>,
    /// The result of the check.
    pub verdict: ImageCheck,
}

/// A training picture: the brand's own copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrainingImage {
    /// Media key.
    pub key: String,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
}

/// What to train, complete and valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BrandSpec {
    /// The display name.
    pub name: String,
    /// Colours that the brand must have.
    pub colors: Vec<Rgb>,
    /// The pictures to learn from.
    pub images: Vec<TrainingImage>,
}

impl TrainOrder {
    /// The hash that two requests under one idempotency key must share.
    pub fn hash(&self, user: &UserId) -> RequestHash {
        let canonical = serde_json::json!([user.as_str(), self.name, self.colors, self.uploads]);
        RequestHash::of(canonical.to_string().as_bytes())
    }
}

/// The result of a training.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrainedBrand {
    /// The brand's colours, the given ones first.
    pub palette: Vec<Rgb>,
    /// The location of the trained model, if the trainer made one.
    pub model_path: Option<String>,
    /// Sample pictures.
    pub samples: Vec<StoredImage>,
    /// What the provider charges, in millionths of a US dollar.
    pub cost_micro_usd: u64,
    /// Time from the start of the operation to its end, in milliseconds.
    pub training_ms: u64,
}

impl BrandSpec {
    /// The style that draws in this brand.
    pub fn style(&self, id: &str, trained: &TrainedBrand) -> Style {
        Style {
            id: id.to_owned(),
            name: self.name.clone(),
            description: format!("The style of {}, trained from {} pictures", self.name, self.images.len()),
            modifier: format!("in the visual style of the brand {}", self.name),
            palette: trained.palette.clone(),
            learnt: Learnt {
                references: spread(&self.images, MAX_REFERENCES).map(|image| image.key.clone()).collect(),
                model_path: trained.model_path.clone(),
            },
        }
    }
}

/// At most `most` elements, evenly spread: the first pictures of a folder are often alike.
fn spread<T>(all: &[T], most: usize) -> impl Iterator<Item = &T> {
    let count = all.len().min(most);
    (0..count).map(move |n| &all[n * all.len() / count])
}

/// The prompts for the sample pictures of a brand.
pub const SAMPLE_PROMPTS: [&str; 3] =
    ["a lighthouse on a cliff by the sea", "a city street with people and trees", "a cat on a hill under the stars"];
