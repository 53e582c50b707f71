//! An illustration as clients see it.

use serde::Serialize;
use utoipa::{
    ToSchema,
    openapi::{RefOr, Schema},
};

use super::{Links, Presenter, common::JobFields};
use crate::{
    domain::{
        Timestamp,
        job::{Job, Output, State},
        kind::JobKind,
        request::IllustrationSpec,
    },
    error::BackendError,
    store::Versioned,
};

/// An illustration in its current state.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Illustration, example = json!({
    "illustrationId": "ill_4kQ0b1xYc7ZpT2mN9sVd", "status": "completed", "userId": "local",
    "prompt": "a lighthouse at dawn", "styleId": "watercolor", "styleName": "Watercolor",
    "width": 1536, "height": 1024, "count": 1, "seed": 7,
    "imageUrl": "http://127.0.0.1:8080/media/illustrations/local/ill_4kQ0b1xYc7ZpT2mN9sVd/1-2-0.png",
    "imageUrls": ["http://127.0.0.1:8080/media/illustrations/local/ill_4kQ0b1xYc7ZpT2mN9sVd/1-2-0.png"],
    "thumbnailUrl": "http://127.0.0.1:8080/media/illustrations/local/ill_4kQ0b1xYc7ZpT2mN9sVd/1-2-0_thumb.webp",
    "attempt": 1, "creditsUsed": 1, "costUsd": 0.039, "modelUsed": "imagen-4.0-generate-001",
    "finalPrompt": "a lighthouse at dawn, soft watercolor washes",
    "createdAt": "2026-03-01T12:00:00Z", "startedAt": "2026-03-01T12:00:00.120Z",
    "completedAt": "2026-03-01T12:00:16.480Z", "queueMs": 120, "generationMs": 16360, "version": 6
}))]
pub(in crate::gateway) struct IllustrationView<'a> {
    #[serde(rename = "illustrationId")]
    id: &'a str,
    #[schema(schema_with = status_schema)]
    status: &'static str,
    /// The prompt of the request, unchanged.
    prompt: &'a str,
    style_id: &'a str,
    style_name: &'a str,
    /// Pixels.
    width: u32,
    /// Pixels.
    height: u32,
    /// The number of requested images.
    count: u32,
    /// The seed that reproduces the result: that of the request, or the one that the model has used.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    seed: Option<u32>,
    /// The first image.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    image_url: Option<String>,
    /// All images: fewer than `count` if the model has withheld some.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    image_urls: Vec<String>,
    /// A WebP of the first image, at most 384 pixels wide and high.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    thumbnail_url: Option<String>,
    /// When the first of these URLs expires, if they do. Read the illustration again to get new URLs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    url_expires_at: Option<Timestamp>,
    /// The number of images that the model has withheld because of their content. They cost nothing.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(required = false)]
    filtered: u32,
    /// The model that has created the images.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    model_used: Option<&'a str>,
    /// The prompt that the model has received.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    final_prompt: Option<&'a str>,
    /// The duration of the successful attempt, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    generation_ms: Option<u64>,
    #[serde(flatten)]
    common: JobFields<'a>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde requires")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn status_schema() -> RefOr<Schema> {
    super::status_schema(JobKind::Illustration)
}

impl Presenter {
    pub(super) async fn illustration<'a>(
        &self,
        job: &'a Versioned<Job>,
        spec: &'a IllustrationSpec,
    ) -> Result<IllustrationView<'a>, BackendError> {
        let output = match &job.value.state {
            State::Succeeded { output: Output::Pictures(pictures), .. } => Some(pictures),
            _ => None,
        };
        let images = output.iter().flat_map(|output| &output.images).map(|image| image.key.as_str());
        let thumbnail = output.and_then(|output| output.thumbnail_key.as_deref());
        let Links { urls: mut image_urls, expires_at } = self.links(images.chain(thumbnail)).await?;
        let thumbnail_url = thumbnail.and_then(|_| image_urls.pop());
        Ok(IllustrationView {
            id: job.value.id.as_str(),
            status: job.value.status().shown_as(JobKind::Illustration),
            prompt: &spec.prompt,
            style_id: &spec.style.id,
            style_name: &spec.style.name,
            width: spec.width,
            height: spec.height,
            count: spec.count,
            seed: spec.seed.or(output.and_then(|output| output.seed)),
            image_url: image_urls.first().cloned(),
            image_urls,
            thumbnail_url,
            url_expires_at: expires_at,
            filtered: output.map_or(0, |output| output.filtered),
            model_used: output.map(|output| output.model.as_str()),
            final_prompt: output.map(|output| output.final_prompt.as_str()),
            generation_ms: output.map(|output| output.generation_ms),
            common: JobFields::of(job),
        })
    }
}
