//! `mediaforge doctor engine`

use std::time::Instant;

use anyhow::Context as _;
use clap::Args;
use tokio::sync::watch;

use super::{
    credentials,
    findings::{Drawn, Findings},
};
use crate::{
    app,
    cli::{Exit, Invocation, output},
    config::{Config, Flag},
    domain::{
        clock::{Clock as _, SystemClock, SystemRandom},
        failure::{AttemptFailure, ErrorCode},
        ids::JobId,
        kind::JobKind,
        request::IllustrationSpec,
    },
    engine::{self, AttemptContext, ImageEngine, ImageSpec},
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

pub(super) async fn run(args: EngineArgs, invocation: &Invocation) -> anyhow::Result<Exit> {
    let flags = args.engine.map(|value| Flag { name: "--engine", key: "engine.default", value }).into_iter().collect();
    let config = invocation.load(None, flags)?.config;
    let route = config.engine.route(&config.engine.default).map_err(anyhow::Error::msg)?;
    let opened = app::open_engine(&config)?;
    if !args.json {
        output::note(format!("asking {route} ..."));
    }
    let checked = opened.check(SystemClock.now()).await.into_iter().find(|found| found.route == route.to_string());
    let picture = if args.no_picture { None } else { Some(draw(&*opened, &config).await?) };
    let descriptor = engine::descriptor(route.engine).context("the engine is not built in")?;
    let credentials = match descriptor.needs_google_credentials {
        true => Some(credentials::found(&invocation.environment).await),
        false => None,
    };
    let findings = Findings { route, descriptor, name: config.engine.default.clone(), credentials, checked, picture };
    let is_well = findings.is_well();
    if args.json {
        output::line(findings.json(&config).to_string())?;
    } else {
        for (label, text) in findings.lines(&config) {
            output::line(format!("{label:<11}  {text}"))?;
        }
    }
    Ok(if is_well { Exit::Done } else { Exit::Failed })
}

/// One picture, and how long it took.
async fn draw(engine: &dyn ImageEngine, config: &Config) -> anyhow::Result<Drawn> {
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
    Ok(Drawn { took: began.elapsed(), answer })
}
