//! Imagen: `predict` on Vertex AI, up to four pictures a call.

use std::{borrow::Cow, sync::Arc};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

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
    picture, safety,
    vertex::{self, Vertex},
};
use crate::{config::ImagenConfig, domain::failure::AttemptFailure};

pub(in crate::engine) const ENGINE: EngineDescriptor = EngineDescriptor {
    name: "imagen",
    needs_google_credentials: true,
    location: |config| {
        let imagen = &config.engine.imagen;
        vertex::location(config, &imagen.location, imagen.endpoint.as_ref())
    },
    open: OpenEngine::Remote(|config, access| Arc::new(Imagen::new(&config.imagen, access, SharedState::new(config)))),
};

/// The aspect ratios of the models.
const RATIOS: [Ratio; 5] = [Ratio(1, 1), Ratio(3, 4), Ratio(4, 3), Ratio(9, 16), Ratio(16, 9)];

/// Pictures per call, at most.
const MAX_PER_CALL: u32 = 4;

/// Imagen on Vertex AI.
struct Imagen {
    vertex: Vertex,
    shared: SharedState,
}

/// The shape of the pictures of a job.
#[derive(Clone, Copy)]
struct Frame {
    ratio: Ratio,
    size: SizeClass,
    /// Whether the model accepts a size.
    is_sized: bool,
}

impl Imagen {
    fn new(config: &ImagenConfig, access: &Access, shared: SharedState) -> Self {
        Self { vertex: Vertex::new(access, "engine.imagen", &config.location, config.endpoint.as_ref()), shared }
    }

    async fn pictures(
        &self,
        model: &str,
        prompt: &str,
        frame: Frame,
        plan: CallPlan,
        attempt: u32,
    ) -> Result<Batch, AttemptFailure> {
        let mut parameters = json!({
            "sampleCount": plan.count,
            "aspectRatio": frame.ratio.to_string(),
            // A seed works only without a watermark and without a rewritten prompt. The smallest is 1.
            "seed": plan.seed.max(1),
            "addWatermark": false,
            "enhancePrompt": false,
            "includeRaiReason": true,
            "outputOptions": { "mimeType": "image/png" },
        });
        if frame.is_sized {
            parameters["sampleImageSize"] = frame.size.as_str().into();
        }
        let body = json!({ "instances": [{ "prompt": prompt }], "parameters": parameters });
        let response = self.vertex.call(model, "predict", &body, attempt).await?;
        let wanted = plan.count;
        let (batch, reasons) = picture::interpret(VERTEX_AI, attempt, move || read(&response, wanted)).await?;
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
        let limits = CallLimits { per_call: MAX_PER_CALL, concurrency: 1 };
        let call = |plan| -> futures::future::BoxFuture<'_, _> {
            Box::pin(self.pictures(model, &prompt, frame, plan, cx.attempt))
        };
        let drawn = draw(spec, model, cx, &self.shared.paid, limits, call).await?;
        Ok(Generation {
            cost_micro_usd: self.shared.prices.cost(model, frame.size, drawn.images.len()),
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

/// Only the fourth generation has sizes; earlier ones draw at 1K.
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

/// Reads the pictures of a response, and the reasons for those that are missing: a missing picture was withheld.
fn read(body: &[u8], wanted: u32) -> Result<(Batch, Vec<String>), String> {
    let response: PredictResponse<'_> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let (mut images, mut reasons) = (Vec::new(), Vec::new());
    for prediction in response.predictions.unwrap_or_default() {
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
