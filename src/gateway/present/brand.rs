//! A brand as clients see it.

use serde::Serialize;
use utoipa::{
    ToSchema,
    openapi::{RefOr, Schema},
};

use super::{Links, Presenter, common::JobFields};
use crate::{
    domain::{
        Timestamp,
        brand::BrandSpec,
        job::{Job, Output, State},
        kind::JobKind,
    },
    error::BackendError,
    store::Versioned,
};

/// A brand in its current state.
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
pub(in crate::gateway) struct BrandView<'a> {
    #[serde(rename = "brandId")]
    id: &'a str,
    #[schema(schema_with = status_schema)]
    status: &'static str,
    /// The name for people.
    name: &'a str,
    /// The colours of the request.
    #[schema(example = json!(["#ff6600"]))]
    colors: Vec<String>,
    /// The colours of its style, once it is ready: those of the request, then those of its images.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    palette: Option<Vec<String>>,
    /// The number of training images.
    image_count: usize,
    /// Sample images, once it is ready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    sample_urls: Vec<String>,
    /// When the first of these URLs expires, if they do. Read the brand again to get new URLs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    url_expires_at: Option<Timestamp>,
    /// Where the trainer has stored the model, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    model_path: Option<&'a str>,
    /// The duration of the training, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    training_ms: Option<u64>,
    #[serde(flatten)]
    common: JobFields<'a>,
}

fn status_schema() -> RefOr<Schema> {
    super::status_schema(JobKind::Brand)
}

impl Presenter {
    pub(super) async fn brand<'a>(
        &self,
        job: &'a Versioned<Job>,
        spec: &'a BrandSpec,
    ) -> Result<BrandView<'a>, BackendError> {
        let trained = match &job.value.state {
            State::Succeeded { output: Output::Brand(trained), .. } => Some(trained),
            _ => None,
        };
        let samples = trained.iter().flat_map(|trained| &trained.samples).map(|sample| sample.key.as_str());
        let Links { urls: sample_urls, expires_at } = self.links(samples).await?;
        Ok(BrandView {
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
            common: JobFields::of(job),
        })
    }
}
