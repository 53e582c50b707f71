//! A brand: what it is trained from, which pictures are fit for it, and what was learnt.

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

/// What a training may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrandLimits {
    /// Training images, at least.
    pub min_images: usize,
    /// Training images, at most.
    pub max_images: usize,
    /// Colours, at most.
    pub max_colors: usize,
    /// Characters of a name, at most.
    pub name_chars: usize,
    /// The short side of a training image, in pixels, at least.
    pub min_side: u32,
    /// The long side of a training image by its short side, at most.
    pub max_aspect: u32,
    /// Bits in which the fingerprints of two different pictures differ, at least.
    pub min_difference: u32,
}

impl BrandLimits {
    /// What is wrong with so many pictures, if anything.
    pub fn check_count(&self, pictures: usize) -> Option<FieldError> {
        let is_wrong = pictures < self.min_images || pictures > self.max_images;
        is_wrong.then(|| self.wrong_count(Some(pictures)))
    }

    fn wrong_count(&self, found: Option<usize>) -> FieldError {
        let found = found.map(|found| format!("; there are {found}")).unwrap_or_default();
        let (min, max) = (self.min_images, self.max_images);
        FieldError::new("trainingImages", format!("must be the uploadIds of {min} to {max} pictures{found}"))
    }
}

/// The body of `POST /train-brand` as it came in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrainRequest {
    /// What people call the brand.
    pub brand_name: Option<String>,
    /// Colours it must have, `#rrggbb`.
    pub brand_colors: Option<Vec<String>>,
    /// Uploads to learn from: pictures, and archives of them.
    pub training_images: Option<Vec<String>>,
}

/// A request whose fields are right; its images are still to be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainOrder {
    /// Trimmed.
    pub name: String,
    /// Distinct, in the order given.
    pub colors: Vec<Rgb>,
    /// Distinct, in the order given.
    pub uploads: Vec<UploadId>,
}

impl TrainRequest {
    /// The order, or everything that is wrong with the request.
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
        let colors = each(colors, "brandColors", &mut errors);
        let uploads = self.training_images.as_deref().unwrap_or_default();
        // How many pictures they come to is known when the archives among them have been opened.
        if uploads.is_empty() || uploads.len() > limits.max_images {
            errors.push(limits.wrong_count(None));
        }
        // More than can be right are not looked at one by one: the answer must stay small.
        let uploads = each(&uploads[..uploads.len().min(limits.max_images)], "trainingImages", &mut errors);
        if errors.is_empty() { Ok(TrainOrder { name: name.to_owned(), colors, uploads }) } else { Err(errors) }
    }
}

fn each<T>(texts: &[String], field: &str, errors: &mut Vec<FieldError>) -> Vec<T>
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

/// What is known of an uploaded picture without opening it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageFacts {
    /// Pixels, upright.
    pub width: u32,
    /// Pixels, upright.
    pub height: u32,
    /// A perceptual hash: pictures that look alike differ in few bits.
    pub fingerprint: u64,
}

/// Whether a picture is fit for training.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum ImageCheck {
    /// It is.
    Ok,
    /// Nothing was uploaded under this id, or it has expired.
    Missing,
    /// What was uploaded is no usable picture.
    NotAnImage {
        /// In the words that an upload through the gateway is refused with.
        why: String,
    },
    /// Its short side has fewer pixels than needed.
    TooSmall {
        /// Pixels it has.
        short_side: u32,
        /// Pixels it needs.
        needed: u32,
    },
    /// It is much longer than wide, or the other way round.
    ExtremeAspect,
    /// The text that came with it is no caption.
    BadCaption {
        /// What is wrong.
        why: String,
    },
    /// It looks like an earlier one of the same request.
    NearDuplicate {
        /// Position of the earlier one.
        of: usize,
    },
}

impl ImageCheck {
    /// What a person is told.
    pub fn detail(&self) -> String {
        match self {
            Self::Ok => "fit for training".to_owned(),
            Self::Missing => "nothing was uploaded under this id, or it has expired".to_owned(),
            Self::NotAnImage { why } | Self::BadCaption { why } => why.clone(),
            Self::TooSmall { short_side, needed } => {
                format!("its short side has {short_side} px; {needed} px are needed")
            }
            Self::ExtremeAspect => "its sides are too different in length".to_owned(),
            Self::NearDuplicate { of } => format!("looks like image {of}"),
        }
    }
}

/// What an upload turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upload {
    /// A picture.
    Picture(ImageFacts),
    /// Something else: why it is no usable picture.
    NotAnImage(String),
    /// A picture with a text that is no caption: why.
    BadCaption(String),
    /// Nothing.
    Missing,
}

/// A verdict per picture, in order. Of pictures that look alike the first is fit.
pub fn judge(uploads: &[Upload], limits: &BrandLimits) -> Vec<ImageCheck> {
    let mut seen: Vec<(usize, u64)> = Vec::new();
    let verdict = |(n, upload): (usize, &Upload)| {
        let facts = match upload {
            Upload::Picture(facts) => facts,
            Upload::NotAnImage(why) => return ImageCheck::NotAnImage { why: why.clone() },
            Upload::BadCaption(why) => return ImageCheck::BadCaption { why: why.clone() },
            Upload::Missing => return ImageCheck::Missing,
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
    uploads.iter().enumerate().map(verdict).collect()
}

/// A verdict and what it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The upload, as the request names it.
    pub upload: UploadId,
    /// Its position in the request.
    pub position: usize,
    /// The picture's path in the archive, when that is what was uploaded.
    pub entry: Option<String>,
    /// The verdict.
    pub verdict: ImageCheck,
}

/// A picture to learn from, copied into the brand.
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
    /// What people call it.
    pub name: String,
    /// Colours it must have.
    pub colors: Vec<Rgb>,
    /// What to learn from.
    pub images: Vec<TrainingImage>,
}

impl TrainOrder {
    /// What makes two requests "the same" under one idempotency key.
    pub fn hash(&self, user: &UserId) -> RequestHash {
        let canonical = serde_json::json!([user.as_str(), self.name, self.colors, self.uploads]);
        RequestHash::of(canonical.to_string().as_bytes())
    }
}

/// What a training learnt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrainedBrand {
    /// The brand's colours, the given ones first.
    pub palette: Vec<Rgb>,
    /// Where the trainer put the model, if it made one.
    pub model_path: Option<String>,
    /// Sample pictures.
    pub samples: Vec<StoredImage>,
    /// What the provider charges, in millionths of a US dollar.
    pub cost_micro_usd: u64,
    /// Time from the start of the operation to its end, in milliseconds.
    pub training_ms: u64,
}

impl BrandSpec {
    /// The style that draws in this brand, once it is trained.
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

/// At most `most` of them, evenly spread: the first pictures of a folder are often of one kind.
fn spread<T>(all: &[T], most: usize) -> impl Iterator<Item = &T> {
    let count = all.len().min(most);
    (0..count).map(move |n| &all[n * all.len() / count])
}

/// What the sample pictures of a brand show.
pub const SAMPLE_PROMPTS: [&str; 3] =
    ["a lighthouse on a cliff by the sea", "a city street with people and trees", "a cat on a hill under the stars"];
