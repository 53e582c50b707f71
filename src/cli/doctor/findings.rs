//! What was found of an engine, for people and for programs.

use std::{io::Cursor, time::Duration};

use image::{ImageFormat, ImageReader};
use serde_json::{Map, Value, json};

use crate::{
    config::{Config, Route},
    domain::failure::{AttemptFailure, Disposition, ErrorCode},
    engine::{EngineDescriptor, GeneratedImage, Generation, ModelCheck},
};

/// What was found.
pub(super) struct Findings {
    pub(super) route: Route,
    /// The route's engine.
    pub(super) descriptor: &'static EngineDescriptor,
    /// As it was named.
    pub(super) name: String,
    /// Which credentials there are, of an engine that needs Google's.
    pub(super) credentials: Option<String>,
    /// Whether the model is there, where it can be looked for.
    pub(super) checked: Option<ModelCheck>,
    /// What came of a picture, where one was asked for.
    pub(super) picture: Option<Drawn>,
}

/// What came of asking for a picture.
pub(super) struct Drawn {
    pub(super) took: Duration,
    pub(super) answer: Result<Generation, AttemptFailure>,
}

impl Findings {
    /// Whether jobs would be drawn.
    pub(super) fn is_well(&self) -> bool {
        let is_there = self.checked.as_ref().is_none_or(|checked| checked.outcome.is_ok());
        // A model that draws is well, whether it may be looked at or not.
        self.picture.as_ref().map_or(is_there, |drawn| drawn.answer.is_ok())
    }

    /// What is wrong: of a picture rather than of the look at the model.
    fn failure(&self) -> Option<&AttemptFailure> {
        match &self.picture {
            Some(drawn) => drawn.answer.as_ref().err(),
            None => self.checked.as_ref().and_then(|checked| checked.outcome.as_ref().err()),
        }
    }

    /// One line for each thing, as a label and what there is to say.
    pub(super) fn lines(&self, config: &Config) -> Vec<(&'static str, String)> {
        let alias = if self.name == self.route.to_string() { String::new() } else { format!("  (as {:?})", self.name) };
        let mut lines = vec![("engine", format!("{}{alias}", self.route))];
        lines.extend(self.place(config));
        lines.push(("model", self.model()));
        match &self.picture {
            None => lines.push(("picture", "not asked for (--no-picture)".to_owned())),
            Some(Drawn { took, answer: Ok(drawn) }) => {
                lines.push(("picture", shown(drawn)));
                lines.push(("latency", format!("{:.1} s", took.as_secs_f64())));
                lines.push(("price", self.price(drawn)));
            }
            Some(Drawn { took, answer: Err(_) }) => {
                lines.push(("picture", format!("none, after {:.1} s", took.as_secs_f64())));
            }
        }
        if let Some(failure) = self.failure() {
            lines.push(("error", failure.error.to_string()));
            lines.push(("advice", advice(failure).to_owned()));
        }
        lines.push(("result", if self.is_well() { "it works" } else { "it does not work" }.to_owned()));
        lines
    }

    fn model(&self) -> String {
        match self.checked.as_ref().map(|checked| &checked.outcome) {
            None => "needs none".to_owned(),
            Some(Ok(None)) => "is there".to_owned(),
            Some(Ok(Some(note))) => note.clone(),
            Some(Err(failure)) if self.failure().is_some_and(|shown| shown.error.message == failure.error.message) => {
                "cannot be seen; see the error".to_owned()
            }
            Some(Err(failure)) => format!("cannot be seen: {}", failure.error.message),
        }
    }

    fn price(&self, drawn: &Generation) -> String {
        match drawn.cost_micro_usd {
            0 if self.descriptor.is_built_in() || drawn.images.is_empty() => "nothing".to_owned(),
            0 => format!("not known: engine.models has no price for {} in this size", drawn.model),
            micro => format!("${}.{:06} by engine.models", micro / 1_000_000, micro % 1_000_000),
        }
    }

    /// Where the engine is, and who asks.
    fn place(&self, config: &Config) -> Vec<(&'static str, String)> {
        let mut place = (self.descriptor.location)(config);
        place.extend(self.credentials.clone().map(|found| ("credentials", found)));
        place
    }

    /// The same for programs.
    pub(super) fn json(&self, config: &Config) -> Value {
        let place: Map<_, _> =
            self.place(config).into_iter().map(|(label, text)| (label.to_owned(), json!(text))).collect();
        let model = self.checked.as_ref().map(|checked| match &checked.outcome {
            Ok(note) => json!({ "ok": true, "note": note }),
            Err(failure) => refused(failure),
        });
        let picture = self.picture.as_ref().map(|Drawn { took, answer }| {
            let mut picture = answer.as_ref().map_or_else(refused, drawn);
            picture["latencyMs"] = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).into();
            picture
        });
        json!({ "engine": self.route.to_string(), "place": place, "model": model, "picture": picture, "ok": self.is_well() })
    }
}

fn refused(failure: &AttemptFailure) -> Value {
    let (code, message) = (failure.error.code.as_str(), &failure.error.message);
    json!({ "ok": false, "code": code, "message": message, "advice": advice(failure) })
}

fn drawn(drawn: &Generation) -> Value {
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

/// Format and pixels as they are, whatever was asked for: jobs are cut to their size from that.
fn size(picture: &GeneratedImage) -> Option<(ImageFormat, u32, u32)> {
    let reader = ImageReader::new(Cursor::new(&picture.bytes)).with_guessed_format().ok()?;
    let format = reader.format()?;
    let (width, height) = reader.into_dimensions().ok()?;
    Some((format, width, height))
}

fn shown(drawn: &Generation) -> String {
    let Some(picture) = drawn.images.first() else {
        return "withheld by the engine's content filter".to_owned();
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
            "the quota is used up: jobs wait, cost no attempt, and go on by themselves; ask the provider for more quota"
        }
        (Disposition::Misconfigured, _) => "only an operator can help: until then jobs wait, up to their deadline",
        (Disposition::Retry { .. }, _) => "it may pass: jobs try again by themselves",
        (Disposition::Fail, ErrorCode::ContentFiltered) => {
            "the provider refuses even this prompt; look at its policies"
        }
        (Disposition::Fail, _) => "to try the same again does not help; jobs fail",
    }
}
