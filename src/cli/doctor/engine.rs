//! `mediaforge doctor engine`

use std::time::Instant;

use anyhow::Context as _;
use clap::Args;
use tokio::sync::watch;

use super::{
    credentials,
    findings::{Findings, TestPicture},
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

/// The test prompt: cheap, harmless, and easy to recognise.
const PROMPT: &str = "a small blue circle on a white ground";
const SIDE: u32 = 512;

/// Test the engine with one small picture
///
/// First checks that the model exists, then requests one small picture, for which the provider may charge. Stores
/// nothing and uses no credits.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mediaforge doctor engine
  mediaforge doctor engine --engine gemini/gemini-3-pro-image --profile gcp
  mediaforge doctor engine --no-picture --json

Exit codes: 0 the engine works, 1 it does not, 2 wrong usage or configuration.")]
pub(super) struct EngineArgs {
    /// The engine to test: its name, an alias, or ENGINE/MODEL [default: engine.default]
    #[arg(long, value_name = "NAME")]
    engine: Option<String>,
    /// Only check that the model exists, which is free of charge
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
        output::note(format!("calling {route} ..."));
    }
    let checked = opened.check(SystemClock.now()).await.into_iter().find(|found| found.route == route.to_string());
    let picture = if args.no_picture { None } else { Some(draw_test_picture(&*opened, &config).await?) };
    let descriptor = engine::descriptor(route.engine).context("the engine is not built in")?;
    let credentials = if descriptor.needs_google_credentials {
        Some(credentials::describe(&invocation.environment).await)
    } else {
        None
    };
    let findings = Findings { route, descriptor, name: config.engine.default.clone(), credentials, checked, picture };
    let works = findings.works();
    if args.json {
        output::line(findings.json(&config).to_string())?;
    } else {
        for (label, text) in findings.lines(&config) {
            output::line(format!("{label:<11}  {text}"))?;
        }
    }
    Ok(if works { Exit::Done } else { Exit::Failed })
}

/// Draws one picture and measures the time.
async fn draw_test_picture(engine: &dyn ImageEngine, config: &Config) -> anyhow::Result<TestPicture> {
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
    let late = || AttemptFailure::retry(ErrorCode::EngineTimeout, format!("no response within {limit:?}"));
    let answer = tokio::time::timeout(limit, engine.generate(&spec, &cx)).await.unwrap_or_else(|_| Err(late()));
    Ok(TestPicture { took: began.elapsed(), answer })
}
