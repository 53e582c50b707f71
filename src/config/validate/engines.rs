//! What draws and what trains.

use std::{path::Component, time::Duration};

use super::Check;
use crate::config::{Config, EngineName, GOOGLE_CLOUD_NOT_INCLUDED, MediaBackend, Roles, TrainerBackend};

pub(super) fn ranges(config: &Config, check: &mut Check) {
    let (engine, trainer) = (&config.engine, &config.trainer);
    let fractions = [
        ("engine.preview.rate_limited", engine.preview.rate_limited),
        ("engine.preview.unavailable", engine.preview.unavailable),
        ("engine.preview.misconfigured", engine.preview.misconfigured),
        ("engine.preview.filtered", engine.preview.filtered),
        ("engine.preview.hang", engine.preview.hang),
        ("trainer.mock.rate_limited", trainer.mock.rate_limited),
        ("trainer.mock.unavailable", trainer.mock.unavailable),
        ("trainer.mock.misconfigured", trainer.mock.misconfigured),
        ("trainer.mock.failed", trainer.mock.failed),
        ("trainer.mock.hang", trainer.mock.hang),
    ];
    for (key, value) in fractions {
        check.range(key, &value, &(0.0..=1.0));
    }
    let attempt = config.jobs.attempt_timeout;
    check.at_most("engine.preview.latency", engine.preview.latency, "jobs.attempt_timeout", attempt);
    check.range("engine.gemini.concurrency", &engine.gemini.concurrency, &(1..=16));
    check.http_url("engine.gemini.endpoint", engine.gemini.endpoint.as_ref());
    check.http_url("engine.imagen.endpoint", engine.imagen.endpoint.as_ref());
    check.http_url("engine.openai.base_url", engine.openai.base_url.as_ref());
    check.http_url("engine.lora.endpoint", engine.lora.endpoint.as_ref());
    for model in &engine.models {
        if let Some(day) = model.retires.as_deref()
            && day.parse::<jiff::civil::Date>().is_err()
        {
            check.wrong("engine.models", format!("{}: {day:?} is no day; write it as 2026-08-17", model.id));
        }
    }
    routes(config, check);
    trainers(config, check);
}

fn routes(config: &Config, check: &mut Check) {
    let engine = &config.engine;
    for (alias, meant) in &engine.aliases {
        if engine.aliases.contains_key(meant) {
            check.wrong(&format!("engine.aliases.{alias}"), format!("{meant:?} is an alias itself; name an engine"));
        } else if let Err(detail) = engine.route(meant) {
            check.wrong(&format!("engine.aliases.{alias}"), detail);
        }
    }
    for (key, name) in names(config) {
        if let Err(detail) = engine.route(name) {
            check.wrong(&key, detail);
        }
    }
}

/// Every key that names what draws, with what it says.
fn names(config: &Config) -> Vec<(String, &str)> {
    let styles =
        config.styles.iter().filter_map(|(id, style)| Some((format!("styles.{id}.engine"), style.engine.as_deref()?)));
    let fallback = config.engine.fallback.as_deref().map(|name| ("engine.fallback".to_owned(), name));
    let brands = config.engine.brands.as_deref().map(|name| ("engine.brands".to_owned(), name));
    std::iter::once(("engine.default".to_owned(), config.engine.default.as_str()))
        .chain(fallback)
        .chain(brands)
        .chain(styles)
        .collect()
}

fn trainers(config: &Config, check: &mut Check) {
    let trainer = &config.trainer;
    check.time("trainer.poll_every", trainer.poll_every, &(Duration::from_millis(50)..=Duration::from_mins(1)));
    check.time("trainer.mock.duration", trainer.mock.duration, &(Duration::ZERO..=Duration::from_hours(24)));
    let (vertex, command) = (&trainer.vertex, &trainer.command);
    check.http_url("trainer.vertex.endpoint", vertex.endpoint.as_ref());
    check.http_url("trainer.vertex.storage_endpoint", vertex.storage_endpoint.as_ref());
    check.range("trainer.vertex.steps", &vertex.steps, &(1..=100_000));
    check.range("trainer.vertex.boot_disk_gb", &vertex.boot_disk_gb, &(100..=4000));
    check.range("trainer.command.steps", &command.steps, &(1..=100_000));
    check.some_time("trainer.vertex.timeout", vertex.timeout);
    check.some_time("trainer.vertex.pending_timeout", vertex.pending_timeout);
    check.some_time("trainer.command.timeout", command.timeout);
    check.time("trainer.command.grace", command.grace, &(Duration::ZERO..=Duration::from_mins(1)));
    for problem in crate::config::argv::problems(&command.argv) {
        check.wrong("trainer.command.argv", problem);
    }
    if command.artifact.as_deref().is_some_and(|artifact| !is_below(artifact)) {
        check.wrong("trainer.command.artifact", "must be a path below the output, such as lora.safetensors");
    }
    if vertex.output.as_deref().is_some_and(|output| !is_bucket(output)) {
        check.wrong("trainer.vertex.output", "must be gs://bucket or gs://bucket/prefix");
    }
}

fn is_bucket(output: &str) -> bool {
    output.strip_prefix("gs://").and_then(|rest| rest.split('/').next()).is_some_and(|bucket| !bucket.is_empty())
}

/// Whether a path leads to something below where it begins.
fn is_below(path: &str) -> bool {
    !path.is_empty() && std::path::Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

/// What a worker cannot do without: the parts that it is told to use.
pub(super) fn serving(config: &Config, roles: Roles, check: &mut Check) {
    if !roles.worker {
        return;
    }
    let used: Vec<EngineName> =
        names(config).iter().filter_map(|(_, name)| Some(config.engine.route(name).ok()?.engine)).collect();
    let is_vertex = |name: &EngineName| matches!(name, EngineName::Gemini | EngineName::Imagen);
    let trains = config.trainer.default;
    let uses_vertex =
        [("engine.default", used.iter().any(is_vertex)), ("trainer.default", trains == TrainerBackend::Vertex)];
    for (key, _) in uses_vertex.into_iter().filter(|(_, is_used)| *is_used && !cfg!(feature = "google-cloud")) {
        check.wrong(key, format!("Vertex AI is not available: {GOOGLE_CLOUD_NOT_INCLUDED}"));
    }
    if config.gcp.project.is_none() && (used.iter().any(is_vertex) || trains == TrainerBackend::Vertex) {
        check.wrong("gcp.project", "must be set, for Vertex AI is used");
    }
    if used.contains(&EngineName::OpenAi) && config.engine.openai.base_url.is_none() {
        check.wrong("engine.openai.base_url", "must be set, for the engine \"openai\" is used");
    }
    if used.contains(&EngineName::Lora) && config.engine.lora.endpoint.is_none() {
        check.wrong("engine.lora.endpoint", "must be set, for the engine \"lora\" is used");
    }
    if trains == TrainerBackend::Vertex {
        let needed = [
            ("trainer.vertex.image", config.trainer.vertex.image.is_some()),
            ("trainer.vertex.output", config.trainer.vertex.output.is_some()),
            ("media.gcs.bucket", config.media.gcs.bucket.is_some()),
        ];
        if config.media.backend != MediaBackend::Gcs {
            let detail = "must be \"gcs\", for trainer.default is \"vertex\": it reads the pictures from the bucket";
            check.wrong("media.backend", detail);
        }
        for (key, is_set) in needed {
            if !is_set {
                check.wrong(key, "must be set, for trainer.default is \"vertex\"");
            }
        }
    }
    if trains == TrainerBackend::Command && config.trainer.command.argv.is_empty() {
        check.wrong("trainer.command.argv", "must name a program, for trainer.default is \"command\"");
    }
}
