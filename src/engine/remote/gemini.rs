//! Gemini's image models: `generateContent` on Vertex AI, one picture a call.

use std::{borrow::Cow, sync::Arc};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    super::{
        AttemptContext, Generation, ImageSpec,
        descriptor::{EngineDescriptor, OpenEngine},
    },
    Access, Provider, SharedState,
    call::{Batch, CallPlan},
    drawing::{CallLimits, draw},
    failure::VERTEX_AI,
    frame::{Ratio, SizeClass, class, nearest},
    picture,
    vertex::{self, Vertex},
};
use crate::{
    config::GeminiConfig,
    domain::{failure::AttemptFailure, style::MAX_REFERENCES},
    http::excerpt,
    media::image::{DecodeLimits, reference_picture},
};

pub(in crate::engine) const ENGINE: EngineDescriptor = EngineDescriptor {
    name: "gemini",
    needs_google_credentials: true,
    location: |config| {
        let gemini = &config.engine.gemini;
        vertex::location(config, &gemini.location, gemini.endpoint.as_ref())
    },
    open: OpenEngine::Remote(|config, access| Arc::new(Gemini::new(&config.gemini, access, SharedState::new(config)))),
};

/// The aspect ratios of the models.
pub(super) const RATIOS: [Ratio; 14] = [
    Ratio(1, 1),
    Ratio(3, 2),
    Ratio(2, 3),
    Ratio(3, 4),
    Ratio(4, 3),
    Ratio(4, 5),
    Ratio(5, 4),
    Ratio(9, 16),
    Ratio(16, 9),
    Ratio(21, 9),
    Ratio(1, 4),
    Ratio(4, 1),
    Ratio(1, 8),
    Ratio(8, 1),
];

/// The sizes of a model that is not in `engine.models`.
const SIZES: [SizeClass; 3] = [SizeClass::One, SizeClass::Two, SizeClass::Four];

/// The longest side of a reference picture, in pixels. Larger ones show no more of a style, and every call sends them all.
const REFERENCE_SIDE: u32 = 1024;
/// Bytes of a reference picture, at most.
const REFERENCE_BYTES: usize = 1 << 20;

/// Gemini on Vertex AI.
struct Gemini {
    vertex: Vertex,
    thinking: Option<String>,
    concurrency: usize,
    shared: SharedState,
}

impl Gemini {
    fn new(config: &GeminiConfig, access: &Access, shared: SharedState) -> Self {
        Self {
            vertex: Vertex::new(access, "engine.gemini", &config.location, config.endpoint.as_ref()),
            thinking: config.thinking.clone(),
            concurrency: config.concurrency,
            shared,
        }
    }

    /// The aspect ratio and the size to request, and whether to send the size: a model with a single size refuses it.
    fn frame(&self, spec: &ImageSpec, model: &str) -> (Ratio, SizeClass, bool) {
        let (width, height) = (spec.illustration.width, spec.illustration.height);
        let ratio = nearest(&RATIOS, width, height);
        let sizes = self.shared.prices.sizes(model).unwrap_or_else(|| SIZES.to_vec());
        (ratio, class(&sizes, ratio, width, height), !sizes.is_empty())
    }

    async fn picture(
        &self,
        model: &str,
        mut body: Value,
        plan: CallPlan,
        attempt: u32,
    ) -> Result<Batch, AttemptFailure> {
        body["generationConfig"]["seed"] = plan.seed.into();
        let response = self.vertex.call(model, "generateContent", &body, attempt).await?;
        let result = picture::interpret(VERTEX_AI, attempt, move || read(&response)).await?;
        Ok(match result {
            GeminiResult::Picture(image) => Batch { images: vec![image], filtered: 0 },
            GeminiResult::Withheld(reason) => {
                tracing::info!(model, reason, "the engine withheld a picture");
                Batch { images: Vec::new(), filtered: 1 }
            }
        })
    }
}

#[async_trait]
impl Provider for Gemini {
    async fn generate(&self, spec: &ImageSpec, model: &str, cx: &AttemptContext) -> Result<Generation, AttemptFailure> {
        let (ratio, size, is_sized) = self.frame(spec, model);
        let references = references(spec.references.clone(), cx.attempt).await?;
        let prompt = spec.illustration.final_prompt_with_references(references.len());
        let mut image = json!({
            "aspectRatio": ratio.to_string(),
            "imageOutputOptions": { "mimeType": "image/png" },
        });
        if is_sized {
            image["imageSize"] = size.as_str().into();
        }
        let mut config = json!({ "responseModalities": ["IMAGE", "TEXT"], "imageConfig": image });
        if let Some(level) = &self.thinking {
            config["thinkingConfig"] = json!({ "thinkingLevel": level });
        }
        let mut parts = vec![json!({ "text": prompt })];
        parts.extend(references);
        let body = json!({ "contents": [{ "role": "user", "parts": parts }], "generationConfig": config });

        let limits = CallLimits { per_call: 1, concurrency: self.concurrency };
        let call = |plan| -> futures::future::BoxFuture<'_, _> {
            Box::pin(self.picture(model, body.clone(), plan, cx.attempt))
        };
        let drawn = draw(spec, model, cx, &self.shared.paid, limits, call).await?;
        Ok(Generation {
            cost_micro_usd: self.shared.prices.cost(model, size, drawn.images.len()),
            images: drawn.images,
            filtered: drawn.filtered,
            model: model.to_owned(),
            final_prompt: prompt,
            seed: Some(spec.seed),
        })
    }

    async fn check(&self, model: &str) -> Result<Option<String>, AttemptFailure> {
        self.vertex.check(model).await
    }

    fn references(&self) -> usize {
        MAX_REFERENCES
    }
}

/// The parts of a request with the reference pictures.
async fn references(pictures: Vec<Bytes>, attempt: u32) -> Result<Vec<Value>, AttemptFailure> {
    if pictures.is_empty() {
        return Ok(Vec::new());
    }
    let part =
        |picture: Bytes| match reference_picture(picture, REFERENCE_SIDE, REFERENCE_BYTES, &DecodeLimits::default()) {
            Ok((bytes, format)) => {
                Some(json!({ "inlineData": { "mimeType": format.content_type(), "data": STANDARD.encode(bytes) } }))
            }
            Err(error) => {
                tracing::warn!(%error, "a reference picture cannot be read; drawing without it");
                None
            }
        };
    let parts = move || Ok(pictures.into_iter().take(MAX_REFERENCES).filter_map(part).collect());
    picture::interpret("the media store", attempt, parts).await
}

enum GeminiResult {
    Picture(super::super::GeneratedImage),
    /// With the reasons that the response gives.
    Withheld(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GenerateContentResponse<'a> {
    #[serde(borrow)]
    candidates: Option<Vec<Candidate<'a>>>,
    prompt_feedback: Option<Feedback>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate<'a> {
    #[serde(borrow)]
    content: Option<Content<'a>>,
    finish_reason: Option<String>,
    finish_message: Option<String>,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow)]
    parts: Option<Vec<Part<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part<'a> {
    thought: Option<bool>,
    text: Option<String>,
    #[serde(borrow)]
    inline_data: Option<Blob<'a>>,
}

#[derive(Deserialize)]
struct Blob<'a> {
    #[serde(borrow)]
    data: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Feedback {
    block_reason: Option<String>,
    block_reason_message: Option<String>,
}

/// Reads the picture of a response. A response without a picture counts as withheld, whatever else it says: a model can
/// refuse in plain text with the finish reason `STOP`.
fn read(body: &[u8]) -> Result<GeminiResult, String> {
    let response: GenerateContentResponse<'_> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let mut reasons = Vec::new();
    if let Some(feedback) = response.prompt_feedback {
        reasons.extend(feedback.block_reason.into_iter().chain(feedback.block_reason_message));
    }
    for candidate in response.candidates.unwrap_or_default() {
        let parts = candidate.content.and_then(|content| content.parts).unwrap_or_default();
        reasons.extend(candidate.finish_reason.into_iter().chain(candidate.finish_message));
        for part in parts.into_iter().filter(|part| part.thought != Some(true)) {
            if let Some(data) = part.inline_data.and_then(|blob| blob.data).filter(|data| !data.is_empty()) {
                return picture::of_base64(&data).map(GeminiResult::Picture);
            }
            reasons.extend(part.text);
        }
    }
    Ok(GeminiResult::Withheld(excerpt(&reasons.join("; "))))
}
