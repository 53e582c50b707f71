//! Servers that implement `OpenAI`'s `/v1/images/generations`: the vendor, others, and servers of the operator's own, which
//! may draw with trained models.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Method, Request};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::{
    super::{
        AttemptContext, GeneratedImage, Generation, ImageSpec,
        descriptor::{EngineDescriptor, OpenEngine},
        failures,
    },
    Access, Provider, SharedState, brief,
    call::{Batch, CallPlan},
    drawing::{CallLimits, draw},
    failure,
    frame::{class_of_area, nearest_size},
    picture,
};
use crate::{
    config::{LoraConfig, OpenAiConfig, Secret, SecretRef},
    domain::failure::{AttemptFailure, ErrorCode},
    http::{HttpResponse, Limits, exchange},
};

pub(in crate::engine) const ENGINE: EngineDescriptor = EngineDescriptor {
    name: "openai",
    needs_google_credentials: false,
    location: |config| location(config.engine.openai.base_url.as_ref(), &config.engine.openai.key),
    open: OpenEngine::Remote(|config, access| Arc::new(OpenAi::new(&config.openai, access, SharedState::new(config)))),
};

pub(in crate::engine) const LORA: EngineDescriptor = EngineDescriptor {
    name: "lora",
    needs_google_credentials: false,
    location: |config| location(config.engine.lora.endpoint.as_ref(), &config.engine.lora.key),
    open: OpenEngine::Remote(|config, access| Arc::new(OpenAi::lora(&config.lora, access, SharedState::new(config)))),
};

fn location(address: Option<&Url>, key: &SecretRef) -> Vec<(&'static str, String)> {
    let address = address.map_or_else(|| "not set".to_owned(), ToString::to_string);
    vec![("address", address), ("key", key_source(key))]
}

/// The origin of a key, never the key itself.
fn key_source(key: &SecretRef) -> String {
    let source = match (&key.env, &key.file) {
        (Some(name), _) => format!("the variable {name}"),
        (None, Some(path)) => path.display().to_string(),
        (None, None) => return "none".to_owned(),
    };
    if key.value().is_some() {
        format!("from {source}")
    } else {
        format!("missing: {source} is empty or does not exist")
    }
}

/// Concurrent calls for the pictures of one job.
const CONCURRENCY: usize = 2;
/// Every diffusion model can draw sides that are multiples of this.
const GRID: u32 = 16;

/// A client of such a server. A call requests one picture, because some servers cannot draw more.
struct OpenAi {
    access: Access,
    server: &'static str,
    section: &'static str,
    /// The configuration key of the address, for messages.
    address_key: &'static str,
    base: Option<Url>,
    key: Option<Secret>,
    /// Whether requests name a trained model and a seed.
    is_lora: bool,
    shared: SharedState,
}

impl OpenAi {
    fn new(config: &OpenAiConfig, access: &Access, shared: SharedState) -> Self {
        Self {
            access: access.clone(),
            server: "the image server",
            section: "engine.openai",
            address_key: "base_url",
            base: config.base_url.clone(),
            key: config.key.value().cloned(),
            is_lora: false,
            shared,
        }
    }

    fn lora(config: &LoraConfig, access: &Access, shared: SharedState) -> Self {
        Self {
            access: access.clone(),
            server: "the LoRA server",
            section: "engine.lora",
            address_key: "endpoint",
            base: config.endpoint.clone(),
            key: config.key.value().cloned(),
            is_lora: true,
            shared,
        }
    }

    fn body(&self, spec: &ImageSpec, model: &str, (width, height): (u32, u32)) -> Result<Value, AttemptFailure> {
        let mut body = json!({
            "model": model,
            "prompt": spec.illustration.final_prompt(),
            "n": 1,
            "size": format!("{width}x{height}"),
        });
        // The vendor's newer models always return base64 and refuse the parameter.
        if self.is_lora || !is_gpt(model) {
            body["response_format"] = "b64_json".into();
        }
        if self.is_lora {
            let style = &spec.illustration.style;
            let Some(path) = &style.learnt.model_path else {
                let message = format!(
                    "the style {:?} has no trained model, and the engine \"lora\" needs one; choose a brand whose \
                     training made one, or another engine",
                    style.id
                );
                return Err(AttemptFailure::fail(ErrorCode::InvalidRequest, message));
            };
            body["model_path"] = path.as_str().into();
        }
        Ok(body)
    }

    async fn picture(
        &self,
        model: &str,
        mut body: Value,
        plan: CallPlan,
        attempt: u32,
    ) -> Result<Batch, AttemptFailure> {
        if self.is_lora {
            body["seed"] = plan.seed.into();
        }
        let address = self.address(&["images", "generations"])?;
        let response = self.send(Method::POST, address, Some(body), attempt).await?;
        if !response.is_success() {
            return Err(self.failure(&response, model));
        }
        let result = picture::interpret(self.server, attempt, move || read(&response.body)).await?;
        let image = match result {
            ImageResult::Picture(image) => Some(image),
            ImageResult::Link(address) => Some(self.fetch(&address, attempt).await?),
            ImageResult::Withheld => None,
        };
        if image.is_none() {
            tracing::info!(model, "the engine withheld a picture");
        }
        Ok(Batch { filtered: u32::from(image.is_none()), images: image.into_iter().collect() })
    }

    /// Fetches a picture that the response only links to, without the key: the address may belong to anyone.
    async fn fetch(&self, address: &str, attempt: u32) -> Result<GeneratedImage, AttemptFailure> {
        let server = self.server;
        let unusable = |why| AttemptFailure::unusable(attempt, format!("{server} links to a picture {why}"));
        let address: Url = address.parse().map_err(|_| unusable("at an invalid address"))?;
        let is_own = self.base.as_ref().is_some_and(|base| base.origin() == address.origin());
        if !is_own && address.scheme() != "https" {
            return Err(unusable("that is neither on it nor on https"));
        }
        let request = Request::new(Method::GET, address);
        let response = self.exchange(request, self.access.limits, attempt).await?;
        if !response.is_success() {
            return Err(unusable("that cannot be fetched"));
        }
        picture::interpret(server, attempt, move || picture::of_bytes(response.body)).await
    }

    /// What a refusal means. Servers repeat the request, and some do not mask the key.
    fn failure(&self, response: &HttpResponse, model: &str) -> AttemptFailure {
        let mut failure = failure::of_openai(response, self.server, self.section, model);
        if let Some(key) = &self.key {
            failure.error.message = failure.error.message.replace(key.reveal(), "[redacted]");
        }
        failure
    }

    fn address(&self, path: &[&str]) -> Result<Url, AttemptFailure> {
        let Some(mut address) = self.base.clone() else {
            let message = format!("{}.{} must be set", self.section, self.address_key);
            return Err(AttemptFailure::misconfigured(message));
        };
        if let Ok(mut segments) = address.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        Ok(address)
    }

    async fn send(
        &self,
        method: Method,
        address: Url,
        body: Option<Value>,
        attempt: u32,
    ) -> Result<HttpResponse, AttemptFailure> {
        let mut limits = brief(self.access.limits);
        let mut request = Request::new(method, address);
        if let Some(key) = &self.key {
            let mut value = http::HeaderValue::from_str(&format!("Bearer {}", key.reveal())).map_err(|_| {
                AttemptFailure::misconfigured(format!("{}.key has characters that no header can have", self.section))
            })?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        if let Some(body) = body {
            request.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
            *request.body_mut() = Some(Bytes::from(body.to_string()).into());
            limits = self.access.limits;
        }
        self.exchange(request, limits, attempt).await
    }

    async fn exchange(&self, request: Request, limits: Limits, attempt: u32) -> Result<HttpResponse, AttemptFailure> {
        let exchanged = exchange(&self.access.http, request, limits).await;
        exchanged.map_err(|error| failures::of_exchange(self.server, &error, attempt))
    }
}

#[async_trait]
impl Provider for OpenAi {
    async fn generate(&self, spec: &ImageSpec, model: &str, cx: &AttemptContext) -> Result<Generation, AttemptFailure> {
        let size = size(model, spec.illustration.width, spec.illustration.height);
        let body = self.body(spec, model, size)?;
        let limits = CallLimits { per_call: 1, concurrency: CONCURRENCY };
        let call = |plan| -> futures::future::BoxFuture<'_, _> {
            Box::pin(self.picture(model, body.clone(), plan, cx.attempt))
        };
        let drawn = draw(spec, model, cx, &self.shared.paid, limits, call).await?;
        Ok(Generation {
            cost_micro_usd: self.shared.prices.cost(model, class_of_area(size.0, size.1), drawn.images.len()),
            images: drawn.images,
            filtered: drawn.filtered,
            model: model.to_owned(),
            final_prompt: spec.illustration.final_prompt(),
            seed: self.is_lora.then_some(spec.seed),
        })
    }

    async fn check(&self, model: &str) -> Result<Option<String>, AttemptFailure> {
        let response = self.send(Method::GET, self.address(&["models", model])?, None, 1).await?;
        // Many servers have no list of models. Those that have one report a missing model by its own code.
        let has_no_list = matches!(response.status, 404 | 405 | 501) && !failure::is_unknown_model(&response);
        if has_no_list {
            return Ok(Some(format!(
                "{} has no list of models; its first picture will show whether it has {model}",
                self.server
            )));
        }
        if response.is_success() { Ok(None) } else { Err(self.failure(&response, model)) }
    }
}

fn is_gpt(model: &str) -> bool {
    model.starts_with("gpt-image")
}

/// The size to request: for the vendor's models one of their sizes, for other models the wanted size rounded up to the
/// grid.
fn size(model: &str, width: u32, height: u32) -> (u32, u32) {
    let sizes: &[(u32, u32)] = if is_gpt(model) {
        &[(1024, 1024), (1536, 1024), (1024, 1536)]
    } else if model.starts_with("dall-e-3") {
        &[(1024, 1024), (1792, 1024), (1024, 1792)]
    } else if model.starts_with("dall-e-2") {
        &[(256, 256), (512, 512), (1024, 1024)]
    } else {
        &[]
    };
    let up = |side: u32| side.max(1).div_ceil(GRID) * GRID;
    nearest_size(sizes, width, height).unwrap_or((up(width), up(height)))
}

enum ImageResult {
    Picture(GeneratedImage),
    Link(String),
    Withheld,
}

#[derive(Deserialize)]
struct ImagesResponse {
    data: Vec<ImageData>,
}

#[derive(Deserialize)]
struct ImageData {
    b64_json: Option<String>,
    url: Option<String>,
}

fn read(body: &[u8]) -> Result<ImageResult, String> {
    let response: ImagesResponse = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    for datum in response.data {
        if let Some(data) = datum.b64_json.filter(|data| !data.is_empty()) {
            return picture::of_base64(&data).map(ImageResult::Picture);
        }
        match datum.url {
            Some(url) if url.starts_with("data:") => return picture::of_base64(&url).map(ImageResult::Picture),
            Some(url) if !url.is_empty() => return Ok(ImageResult::Link(url)),
            _ => {}
        }
    }
    Ok(ImageResult::Withheld)
}
