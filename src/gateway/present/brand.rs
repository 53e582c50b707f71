//! A brand as clients see it, and what is said of the pictures it is made from.

use serde::Serialize;
use utoipa::{
    ToSchema,
    openapi::{RefOr, Schema},
};

use super::{Links, Presenter, common::Common};
use crate::{
    domain::{
        Timestamp,
        brand::{BrandSpec, ImageCheck, Judged},
        job::{Job, Output, State},
        kind::JobKind,
    },
    error::BackendError,
    store::Versioned,
};

/// A brand, as it stands now.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Brand, example = json!({
    "brandId": "brd_4kQ0b1xYc7ZpT2mN9sVd", "status": "ready", "name": "Acme",
    "colors": ["#ff6600"], "palette": ["#ff6600", "#1b2a41", "#f4efe6"], "imageCount": 12,
    "sampleUrls": ["http://127.0.0.1:8080/media/brands/local/brd_4kQ0b1xYc7ZpT2mN9sVd/1-2-0.png"],
    "trainingMs": 1_043_000, "userId": "local", "attempt": 1, "creditsUsed": 25, "costUsd": 1.85,
    "createdAt": "2026-03-01T12:00:00Z", "startedAt": "2026-03-01T12:00:00.120Z",
    "completedAt": "2026-03-01T12:17:23.120Z", "queueMs": 120, "version": 96
}))]
pub(in crate::gateway) struct Brand<'a> {
    #[serde(rename = "brandId")]
    id: &'a str,
    #[schema(schema_with = status_schema)]
    status: &'static str,
    /// What people call it.
    name: &'a str,
    /// The colours it was given.
    #[schema(example = json!(["#ff6600"]))]
    colors: Vec<String>,
    /// The colours it draws in, once it is ready: the given ones, then those of its pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    palette: Option<Vec<String>>,
    /// Pictures it learns from.
    image_count: usize,
    /// Sample pictures, once it is ready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    sample_urls: Vec<String>,
    /// When the first of these URLs stops working, where they expire. Reading the brand again gives new ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    url_expires_at: Option<Timestamp>,
    /// Where the trainer put the model, if it made one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    model_path: Option<&'a str>,
    /// Milliseconds the training took.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    training_ms: Option<u64>,
    #[serde(flatten)]
    common: Common<'a>,
}

fn status_schema() -> RefOr<Schema> {
    super::status_schema(JobKind::Brand)
}

impl Presenter {
    pub(super) async fn brand<'a>(
        &self,
        job: &'a Versioned<Job>,
        spec: &'a BrandSpec,
    ) -> Result<Brand<'a>, BackendError> {
        let trained = match &job.value.state {
            State::Succeeded { output: Output::Brand(trained), .. } => Some(trained),
            _ => None,
        };
        let samples = trained.iter().flat_map(|trained| &trained.samples).map(|sample| sample.key.as_str());
        let Links { urls: sample_urls, expires_at } = self.links(samples).await?;
        Ok(Brand {
            id: job.value.id.as_str(),
            status: job.value.status().shown_as(JobKind::Brand),
            name: &spec.name,
            colors: spec.colors.iter().map(ToString::to_string).collect(),
            palette: trained.map(|trained| trained.palette.iter().map(ToString::to_string).collect()),
            image_count: spec.images.len(),
            sample_urls,
            url_expires_at: expires_at,
            model_path: trained.and_then(|trained| trained.model_path.as_deref()),
            training_ms: trained.map(|trained| trained.training_ms),
            common: Common::of(job),
        })
    }
}

/// Whether a picture is fit for training.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ImageCheck, example = json!({
    "uploadId": "upl_4kQ0b1xYc7ZpT2mN9sVd", "verdict": "too_small", "detail": "its short side has 300 px; 512 px are needed",
    "shortSide": 300, "needed": 512
}))]
pub(in crate::gateway) struct VerdictView {
    /// As the request names it.
    upload_id: String,
    /// The picture's path in the archive, when that is what was uploaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "posters/spring.png")]
    entry: Option<String>,
    /// `ok`, `missing`, `not_an_image`, `too_small`, `extreme_aspect`, `bad_caption` or `near_duplicate`.
    verdict: &'static str,
    /// For people.
    detail: String,
    /// Of one that is too small: pixels of its short side.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    short_side: Option<u32>,
    /// Of one that is too small: pixels it needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    needed: Option<u32>,
    /// Of one that looks like an earlier one: the earlier one's position among the verdicts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    of: Option<usize>,
}

impl From<Judged> for VerdictView {
    fn from(Judged { upload, entry, verdict, .. }: Judged) -> Self {
        let (word, short_side, needed, of) = match verdict {
            ImageCheck::Ok => ("ok", None, None, None),
            ImageCheck::Missing => ("missing", None, None, None),
            ImageCheck::NotAnImage { .. } => ("not_an_image", None, None, None),
            ImageCheck::TooSmall { short_side, needed } => ("too_small", Some(short_side), Some(needed), None),
            ImageCheck::ExtremeAspect => ("extreme_aspect", None, None, None),
            ImageCheck::BadCaption { .. } => ("bad_caption", None, None, None),
            ImageCheck::NearDuplicate { of } => ("near_duplicate", None, None, Some(of)),
        };
        Self { upload_id: upload.into(), entry, verdict: word, detail: verdict.detail(), short_side, needed, of }
    }
}
