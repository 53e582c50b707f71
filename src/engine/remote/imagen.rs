//! Imagen: `predict` on Vertex AI, up to four pictures a call.

use std::borrow::Cow;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use super::{
    super::{AttemptContext, Generation, ImageSpec},
    Access, Provider, Tools,
    drawing::{Batch, Division, Share, draw},
    frame::{Ratio, SizeClass, class, nearest},
    picture, safety,
    vertex::{self, Vertex},
};
use crate::{config::ImagenConfig, domain::failure::AttemptFailure};

/// The shapes it draws in.
const RATIOS: [Ratio; 5] = [Ratio(1, 1), Ratio(3, 4), Ratio(4, 3), Ratio(9, 16), Ratio(16, 9)];

/// Pictures of one call, at most.
const PER_CALL: u32 = 4;

/// Imagen on Vertex AI.
pub(super) struct Imagen {
    vertex: Vertex,
    tools: Tools,
}

/// What is asked for beside the seed and the number.
#[derive(Clone, Copy)]
struct Frame {
    ratio: Ratio,
    size: SizeClass,
    /// Whether the model knows the parameter.
    is_sized: bool,
}

impl Imagen {
    pub(super) fn new(config: &ImagenConfig, access: &Access, tools: Tools) -> Self {
        Self { vertex: Vertex::new(access, "engine.imagen", &config.location, config.endpoint.as_ref()), tools }
    }

    async fn pictures(
        &self,
        model: &str,
        prompt: &str,
        frame: Frame,
        share: Share,
        attempt: u32,
    ) -> Result<Batch, AttemptFailure> {
        let mut parameters = json!({
            "sampleCount": share.count,
            "aspectRatio": frame.ratio.to_string(),
            // A seed counts only without a watermark, and only when nobody rewrites the prompt. The smallest is 1.
            "seed": share.seed.max(1),
            "addWatermark": false,
            "enhancePrompt": false,
            "includeRaiReason": true,
            "outputOptions": { "mimeType": "image/png" },
        });
        if frame.is_sized {
            parameters["sampleImageSize"] = frame.size.as_str().into();
        }
        let body = json!({ "instances": [{ "prompt": prompt }], "parameters": parameters });
        let answer = self.vertex.call(model, "predict", &body, attempt).await?;
        let wanted = share.count;
        let (batch, reasons) = picture::interpret(vertex::SERVICE, attempt, move || read(&answer, wanted)).await?;
        if batch.filtered > 0 {
            let categories = reasons.iter().map(|reason| safety::categories(reason)).collect::<Vec<_>>().join(", ");
            tracing::info!(model, filtered = batch.filtered, categories, "the engine withheld pictures");
        }
        Ok(batch)
    }
}

#[async_trait]
impl Provider for Imagen {
    async fn generate(&self, spec: &ImageSpec, model: &str, cx: &AttemptContext) -> Result<Generation, AttemptFailure> {
        let prompt = spec.illustration.final_prompt();
        let frame = frame(spec, model);
        let division = Division { per_call: PER_CALL, at_once: 1 };
        let call = |share| -> futures::future::BoxFuture<'_, _> {
            Box::pin(self.pictures(model, &prompt, frame, share, cx.attempt))
        };
        let drawn = draw(spec, model, cx, &self.tools.paid, division, call).await?;
        Ok(Generation {
            cost_micro_usd: self.tools.prices.cost(model, frame.size, drawn.images.len()),
            images: drawn.images,
            filtered: drawn.filtered,
            model: model.to_owned(),
            final_prompt: prompt,
            seed: Some(spec.seed.max(1)),
        })
    }

    async fn check(&self, model: &str) -> Result<Option<String>, AttemptFailure> {
        self.vertex.check(model).await
    }
}

/// Only the fourth generation has sizes; those before it draw at 1K.
fn frame(spec: &ImageSpec, model: &str) -> Frame {
    let (width, height) = (spec.illustration.width, spec.illustration.height);
    let ratio = nearest(&RATIOS, width, height);
    let is_sized = model.starts_with("imagen-4");
    let sizes: &[_] = if is_sized { &[SizeClass::One, SizeClass::Two] } else { &[SizeClass::One] };
    Frame { ratio, size: class(sizes, ratio, width, height), is_sized }
}

#[derive(Deserialize)]
struct PredictResponse<'a> {
    #[serde(borrow)]
    predictions: Option<Vec<Prediction<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Prediction<'a> {
    #[serde(borrow)]
    bytes_base64_encoded: Option<Cow<'a, str>>,
    rai_filtered_reason: Option<String>,
}

/// The pictures of an answer and the reasons of those that it lacks: one that is missing was withheld.
fn read(body: &[u8], wanted: u32) -> Result<(Batch, Vec<String>), String> {
    let answer: PredictResponse<'_> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let (mut images, mut reasons) = (Vec::new(), Vec::new());
    for prediction in answer.predictions.unwrap_or_default() {
        reasons.extend(prediction.rai_filtered_reason);
        if let Some(data) = prediction.bytes_base64_encoded.filter(|data| !data.is_empty())
            && images.len() < wanted as usize
        {
            images.push(picture::of_base64(&data)?);
        }
    }
    let filtered = wanted - u32::try_from(images.len()).unwrap_or(wanted).min(wanted);
    Ok((Batch { images, filtered }, reasons))
}
