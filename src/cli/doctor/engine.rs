//! `mediaforge doctor engine`

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    app,
    cli::{Exit, Invocation, output},
    config::{Config, EngineName, Flag, Route},
    domain::{
        clock::{Clock as _, SystemClock, SystemRandom},
        ids::JobId,
        job::{AttemptFailure, Disposition, ErrorCode, JobKind},
        request::IllustrationSpec,
    },
    engine::{AttemptContext, Checked, Generation, ImageEngine, ImageSpec},
};

/// What is asked for: cheap, harmless, and easy to recognise.
const PROMPT: &str = "a small blue circle on a white ground";
const SIDE: u32 = 512;

/// Call the engine once with a tiny prompt, and say what came of it
///
/// Looks for the model first, then asks for one small picture, for which the provider may charge. Nothing is stored, and
/// no credits are touched.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mediaforge doctor engine
  mediaforge doctor engine --engine gemini/gemini-3-pro-image --profile gcp
  mediaforge doctor engine --no-picture --json

Exit codes: 0 the engine works, 1 it does not, 2 wrong usage or configuration.")]
pub(super) struct EngineArgs {
    /// Another engine than the configured one: an engine, an alias, or ENGINE/MODEL [default: engine.default]
    #[arg(long, value_name = "NAME")]
    engine: Option<String>,
    /// Only look whether the model is there; this costs nothing
    #[arg(long)]
    no_picture: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What was found.
struct Findings {
    route: Route,
    name: String,
    checked: Option<Checked>,
    picture: Option<(Duration, Result<Generation, AttemptFailure>)>,
}

pub(super) async fn run(args: EngineArgs, invocation: &Invocation) -> anyhow::Result<Exit> {
    let flags = args.engine.map(|value| Flag { name: "--engine", key: "engine.default", value }).into_iter().collect();
    let config = invocation.load(None, flags)?.config;
    let route = config.engine.route(&config.engine.default).map_err(anyhow::Error::msg)?;
    let engine = app::open_engine(&config)?;
    if !args.json {
        output::note(format!("asking {route} ..."));
    }
    let checked = engine.check(SystemClock.now()).await.into_iter().find(|found| found.route == route.to_string());
    let picture = if args.no_picture { None } else { Some(draw(&*engine, &config).await?) };
    let findings = Findings { route, name: config.engine.default.clone(), checked, picture };
    let is_well = findings.is_well();
    if args.json {
        output::line(findings.json(&config).to_string())?;
    } else {
        for (label, text) in findings.lines(&config) {
            output::line(format!("{label:<12} {text}"))?;
        }
    }
    Ok(if is_well { Exit::Done } else { Exit::Failed })
}

/// One picture, and how long it took.
async fn draw(
    engine: &dyn ImageEngine,
    config: &Config,
) -> anyhow::Result<(Duration, Result<Generation, AttemptFailure>)> {
    let mut style = config.catalogue()?.default_style().clone();
    style.modifier.clear();
    let (width, height) = (SIDE, SIDE);
    let illustration = IllustrationSpec { prompt: PROMPT.to_owned(), style, width, height, count: 1, seed: Some(1) };
    let route = config.engine.route(&config.engine.default).map_err(anyhow::Error::msg)?.to_string();
    let spec = ImageSpec { illustration, seed: 1, route, references: Vec::new() };
    let job_id = JobId::random(JobKind::Illustration, &SystemRandom);
    let cx = AttemptContext { job_id, attempt: 1, progress: watch::channel(None).0 };
    let began = Instant::now();
    let limit = config.jobs.attempt_timeout;
    let late = || AttemptFailure::retry(ErrorCode::EngineTimeout, format!("no answer in {limit:?}"));
    let answer = tokio::time::timeout(limit, engine.generate(&spec, &cx)).await.unwrap_or_else(|_| Err(late()));
    Ok((began.elapsed(), answer))
}

impl Findings {
    fn is_well(&self) -> bool {
        let is_there = self.checked.as_ref().is_none_or(|checked| checked.outcome.is_ok());
        // A model that draws is well, whether it may be looked at or not.
        self.picture.as_ref().map_or(is_there, |(_, drawn)| drawn.is_ok())
    }

    fn lines(&self, config: &Config) -> Vec<(&'static str, String)> {
        let alias = if self.name == self.route.to_string() { String::new() } else { format!("  (as {:?})", self.name) };
        let mut lines = vec![("engine", format!("{}{alias}", self.route))];
        lines.extend(self.place(config));
        lines.push((
            "model",
            match self.checked.as_ref().map(|checked| &checked.outcome) {
                None => "nothing to look for".to_owned(),
                Some(Ok(None)) => "is there".to_owned(),
                Some(Ok(Some(note))) => note.clone(),
                Some(Err(failure)) => format!("cannot be seen: {}", failure.error.message),
            },
        ));
        match &self.picture {
            None => lines.push(("picture", "not asked for (--no-picture)".to_owned())),
            Some((took, Ok(drawn))) => {
                let bytes = drawn.images.iter().map(|image| image.bytes.len()).sum::<usize>();
                let what = match drawn.images.len() {
                    0 => "withheld by the engine's content filter".to_owned(),
                    _ => format!("{bytes} bytes"),
                };
                lines.push(("picture", what));
                lines.push(("latency", format!("{:.1} s", took.as_secs_f64())));
                lines.push(("price", price(drawn.cost_micro_usd)));
            }
            Some((took, Err(failure))) => {
                lines.push(("picture", format!("failed after {:.1} s", took.as_secs_f64())));
                lines.push(("error", failure.error.to_string()));
                lines.push(("so", advice(failure).to_owned()));
            }
        }
        lines
    }

    /// Where the engine is and whose it is.
    fn place(&self, config: &Config) -> Vec<(&'static str, String)> {
        let project = || config.gcp.project.clone().unwrap_or_else(|| "not set (gcp.project)".to_owned());
        let url = |url: &Option<url::Url>| url.as_ref().map_or_else(|| "not set".to_owned(), ToString::to_string);
        let vertex = |location: &str| {
            vec![
                ("project", project()),
                ("location", location.to_owned()),
                ("credentials", "the application's default ones".to_owned()),
            ]
        };
        match self.route.engine {
            EngineName::Gemini => vertex(&config.engine.gemini.location),
            EngineName::Imagen => vertex(&config.engine.imagen.location),
            EngineName::OpenAi => vec![("address", url(&config.engine.openai.base_url))],
            EngineName::Lora => vec![("address", url(&config.engine.lora.endpoint))],
            EngineName::Preview | EngineName::Noop => vec![("address", "built in".to_owned())],
        }
    }

    fn json(&self, config: &Config) -> Value {
        let place: serde_json::Map<_, _> =
            self.place(config).into_iter().map(|(label, text)| (label.to_owned(), json!(text))).collect();
        let model = self.checked.as_ref().map(|checked| match &checked.outcome {
            Ok(note) => json!({ "ok": true, "note": note }),
            Err(failure) => {
                json!({ "ok": false, "code": failure.error.code.as_str(), "message": failure.error.message })
            }
        });
        let picture = self.picture.as_ref().map(|(took, drawn)| match drawn {
            Ok(drawn) => json!({
                "ok": true, "pictures": drawn.images.len(), "filtered": drawn.filtered, "model": drawn.model,
                "latencyMs": u64::try_from(took.as_millis()).unwrap_or(u64::MAX), "costMicroUsd": drawn.cost_micro_usd,
            }),
            Err(failure) => {
                json!({ "ok": false, "code": failure.error.code.as_str(), "message": failure.error.message,
                        "advice": advice(failure) })
            }
        });
        json!({ "engine": self.route.to_string(), "place": place, "model": model, "picture": picture, "ok": self.is_well() })
    }
}

fn price(micro_usd: u64) -> String {
    if micro_usd == 0 {
        return "nothing, or not in engine.models".to_owned();
    }
    format!("${}.{:06}", micro_usd / 1_000_000, micro_usd % 1_000_000)
}

fn advice(failure: &AttemptFailure) -> &'static str {
    match failure.disposition {
        Disposition::Throttled { .. } => "the quota is used up: jobs wait and cost no attempt; ask for more quota",
        Disposition::Misconfigured => "an operator must help: jobs wait until their deadline",
        Disposition::Retry { .. } => "it may pass: jobs try again by themselves",
        Disposition::Fail => "trying the same again does not help",
    }
}
