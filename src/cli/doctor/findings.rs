//! The result of testing an engine, as text and as JSON.

use std::{io::Cursor, time::Duration};

use image::{ImageFormat, ImageReader};
use serde_json::{Map, Value, json};

use crate::{
    config::{Config, Route},
    domain::failure::{AttemptFailure, Disposition, ErrorCode},
    engine::{EngineDescriptor, GeneratedImage, Generation, ModelCheck},
};

pub(super) struct Findings {
    pub(super) route: Route,
    /// The route's engine.
    pub(super) descriptor: &'static EngineDescriptor,
    /// The name in the configuration, which may be an alias.
    pub(super) name: String,
    /// The credentials, for an engine on Google Cloud.
    pub(super) credentials: Option<String>,
    /// Whether the model exists, for an engine that can check.
    pub(super) checked: Option<ModelCheck>,
    /// The test picture, unless `--no-picture`.
    pub(super) picture: Option<TestPicture>,
}

pub(super) struct TestPicture {
    pub(super) took: Duration,
    pub(super) answer: Result<Generation, AttemptFailure>,
}

impl Findings {
    /// Whether the engine can draw jobs.
    pub(super) fn works(&self) -> bool {
        let model_exists = self.checked.as_ref().is_none_or(|checked| checked.outcome.is_ok());
        // A model that draws works, even if this caller may not look it up.
        self.picture.as_ref().map_or(model_exists, |drawn| drawn.answer.is_ok())
    }

    /// The failure of the picture, or else of the check of the model.
    fn failure(&self) -> Option<&AttemptFailure> {
        match &self.picture {
            Some(drawn) => drawn.answer.as_ref().err(),
            None => self.checked.as_ref().and_then(|checked| checked.outcome.as_ref().err()),
        }
    }

    /// One line per finding, as a label and a text.
    pub(super) fn lines(&self, config: &Config) -> Vec<(&'static str, String)> {
        let alias = if self.name == self.route.to_string() { String::new() } else { format!("  (as {:?})", self.name) };
        let mut lines = vec![("engine", format!("{}{alias}", self.route))];
        lines.extend(self.location(config));
        lines.push(("model", self.model()));
        match &self.picture {
            None => lines.push(("picture", "not requested (--no-picture)".to_owned())),
            Some(TestPicture { took, answer: Ok(drawn) }) => {
                lines.push(("picture", picture_summary(drawn)));
                lines.push(("latency", format!("{:.1} s", took.as_secs_f64())));
                lines.push(("price", self.price(drawn)));
            }
            Some(TestPicture { took, answer: Err(_) }) => {
                lines.push(("picture", format!("none, after {:.1} s", took.as_secs_f64())));
            }
        }
        if let Some(failure) = self.failure() {
            lines.push(("error", failure.error.to_string()));
            lines.push(("advice", advice(failure).to_owned()));
        }
        lines.push(("result", if self.works() { "it works" } else { "it does not work" }.to_owned()));
        lines
    }

    fn model(&self) -> String {
        match self.checked.as_ref().map(|checked| &checked.outcome) {
            None => "none needed".to_owned(),
            Some(Ok(None)) => "exists".to_owned(),
            Some(Ok(Some(note))) => note.clone(),
            Some(Err(failure)) if self.failure().is_some_and(|shown| shown.error.message == failure.error.message) => {
                "check failed; see the error".to_owned()
            }
            Some(Err(failure)) => format!("check failed: {}", failure.error.message),
        }
    }

    fn price(&self, drawn: &Generation) -> String {
        match drawn.cost_micro_usd {
            0 if self.descriptor.is_built_in() || drawn.images.is_empty() => "free".to_owned(),
            0 => format!("unknown: engine.models has no price for {} in this size", drawn.model),
            micro => format!("${}.{:06} according to engine.models", micro / 1_000_000, micro % 1_000_000),
        }
    }

    /// The address of the engine and the credentials.
    fn location(&self, config: &Config) -> Vec<(&'static str, String)> {
        let mut location = (self.descriptor.location)(config);
        location.extend(self.credentials.clone().map(|found| ("credentials", found)));
        location
    }

    /// The findings as JSON.
    pub(super) fn json(&self, config: &Config) -> Value {
        let location: Map<_, _> =
            self.location(config).into_iter().map(|(label, text)| (label.to_owned(), json!(text))).collect();
        let model = self.checked.as_ref().map(|checked| match &checked.outcome {
            Ok(note) => json!({ "ok": true, "note": note }),
            Err(failure) => failure_json(failure),
        });
        let picture = self.picture.as_ref().map(|TestPicture { took, answer }| {
            let mut picture = answer.as_ref().map_or_else(failure_json, picture_json);
            picture["latencyMs"] = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).into();
            picture
        });
        json!({ "engine": self.route.to_string(), "place": location, "model": model, "picture": picture, "ok": self.works() })
    }
}

fn failure_json(failure: &AttemptFailure) -> Value {
    let (code, message) = (failure.error.code.as_str(), &failure.error.message);
    json!({ "ok": false, "code": code, "message": message, "advice": advice(failure) })
}

fn picture_json(drawn: &Generation) -> Value {
    let size = drawn.images.first().and_then(size);
    json!({
        "ok": true,
        "pictures": drawn.images.len(),
        "filtered": drawn.filtered,
        "format": size.map(|(format, _, _)| format.to_mime_type()),
        "width": size.map(|(_, width, _)| width),
        "height": size.map(|(_, _, height)| height),
        "bytes": drawn.images.iter().map(|image| image.bytes.len()).sum::<usize>(),
        "model": drawn.model,
        "costMicroUsd": drawn.cost_micro_usd,
    })
}

/// The actual format and size, which may differ from the requested size; a job crops the picture.
fn size(picture: &GeneratedImage) -> Option<(ImageFormat, u32, u32)> {
    let reader = ImageReader::new(Cursor::new(&picture.bytes)).with_guessed_format().ok()?;
    let format = reader.format()?;
    let (width, height) = reader.into_dimensions().ok()?;
    Some((format, width, height))
}

fn picture_summary(drawn: &Generation) -> String {
    let Some(picture) = drawn.images.first() else {
        return "withheld by the content filter of the engine".to_owned();
    };
    let kilobytes = picture.bytes.len().div_ceil(1000);
    match size(picture) {
        Some((format, width, height)) => {
            format!("{width}x{height} {}, {kilobytes} kB", format!("{format:?}").to_uppercase())
        }
        None => format!("{kilobytes} kB of an unknown format"),
    }
}

fn advice(failure: &AttemptFailure) -> &'static str {
    match (failure.disposition, failure.error.code) {
        (Disposition::Throttled { .. }, _) => {
            "the quota is used up: jobs wait without using up attempts and continue by themselves; ask the provider for more quota"
        }
        (Disposition::Misconfigured, _) => "fix the configuration; until then jobs wait, at most until their deadline",
        (Disposition::Retry { .. }, _) => "this may be temporary; jobs retry by themselves",
        (Disposition::Fail, ErrorCode::ContentFiltered) => {
            "the provider refuses even this prompt; read its content policy"
        }
        (Disposition::Fail, _) => "a retry does not help; jobs fail",
    }
}
