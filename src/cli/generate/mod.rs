//! `mediaforge generate`

mod style;

use std::{path::PathBuf, str::FromStr};

use clap::Args;
use serde_json::Value;

use super::{
    Exit, Invocation,
    job::{self, Job, ServiceArgs, Session},
    output,
};
use crate::domain::kind::JobKind;

/// Turn a prompt into pictures
///
/// Uses the gateway at --url, or the one that runs on this machine. If none is running, the command runs the whole system
/// for this one job, on the same data directory. Prints the paths of the pictures to standard output and everything else
/// to standard error. After an interrupt or a timeout the job continues, and the command prints its id.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mediaforge generate \"a lighthouse at dawn\"
  mediaforge generate \"a lighthouse at dawn\" --style watercolor --size 1536x1024 --count 2 -o out/
  mediaforge generate \"a fox in snow\" --seed 7 --json | jq -r '.files[]'
  mediaforge generate \"a fox in snow\" --url https://forge.example.com --detach

Exit codes:
    0  success (with --detach: accepted)     5  the job was cancelled
    1  the job failed                        6  too many requests, try again later
    2  wrong usage, configuration, request   7  the service refuses this caller
    3  not enough credits                  124  --timeout has passed, the job continues
    4  service unreachable or unavailable  130  interrupted or detached, the job continues")]
pub(super) struct GenerateArgs {
    /// What to draw
    #[arg(value_name = "PROMPT")]
    prompt: String,
    /// A style (watercolor, flat-2d, line-art, isometric, clay-3d), or the name or id of a trained brand [default: the
    /// first style of the service]
    #[arg(short, long, value_name = "STYLE", help_heading = "Picture")]
    style: Option<String>,
    /// Size in pixels, for example 1536x1024; one number means a square [default: 1024x1024]
    #[arg(long, value_name = "WxH", help_heading = "Picture")]
    size: Option<Size>,
    /// Number of pictures [default: 1]
    #[arg(short = 'n', long, value_name = "N", help_heading = "Picture")]
    count: Option<u32>,
    /// Seed; with the same seed and prompt, many engines draw the same picture
    #[arg(long, value_name = "N", help_heading = "Picture")]
    seed: Option<u32>,
    /// Directory for the pictures, created if missing
    #[arg(short, long, value_name = "DIR", default_value = ".", value_hint = clap::ValueHint::DirPath, help_heading = "Output")]
    output: PathBuf,
    /// Print one JSON object: the job, with the paths of the pictures in "files"
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Do not show progress
    #[arg(short, long, help_heading = "Output")]
    quiet: bool,
    #[command(flatten)]
    service: ServiceArgs,
}

/// `1536x1024`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    width: u32,
    height: u32,
}

impl FromStr for Size {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (width, height) = text.split_once(['x', 'X', '×']).unwrap_or((text, text));
        match (width.trim().parse(), height.trim().parse()) {
            (Ok(width), Ok(height)) => Ok(Self { width, height }),
            _ => Err("write width and height in pixels, for example 1536x1024".into()),
        }
    }
}

pub(super) async fn run(args: GenerateArgs, invocation: &Invocation) -> anyhow::Result<Exit> {
    job::with_service(&args.service, invocation, async |session| draw(&args, session).await).await
}

/// Submits the job, waits for it and saves the pictures.
async fn draw(args: &GenerateArgs, session: &mut Session<'_>) -> anyhow::Result<Exit> {
    const KIND: JobKind = JobKind::Illustration;
    let api = session.api;
    let style = match &args.style {
        Some(style) => Some(session.unless_stopped(style::id_of(api, style), "nothing was submitted").await?),
        None => None,
    };
    if !args.service.detach {
        job::save::prepare(&args.output).await?;
    }
    let id = session.submit(KIND, &request(args, style, api.user())).await?;
    if args.service.detach {
        job::print_accepted(KIND, &id, args.json)?;
        return Ok(Exit::Done);
    }
    match session.follow(KIND, &id, args.quiet).await? {
        Ok(job) => finish(args, session, &job).await,
        Err(exit) => {
            job::print_accepted(KIND, &id, args.json)?;
            Ok(exit)
        }
    }
}

fn request(args: &GenerateArgs, style: Option<String>, user: Option<&str>) -> Value {
    let fields = [
        ("userId", user.map(Value::from)),
        ("prompt", Some(args.prompt.as_str().into())),
        ("styleId", style.map(Value::from)),
        ("width", args.size.map(|size| size.width.into())),
        ("height", args.size.map(|size| size.height.into())),
        ("count", args.count.map(Value::from)),
        ("seed", args.seed.map(Value::from)),
    ];
    fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// Saves the pictures of a finished job and returns the exit code.
async fn finish(args: &GenerateArgs, session: &mut Session<'_>, job: &Job) -> anyhow::Result<Exit> {
    let mut files = Vec::new();
    if job.is_completed() {
        let saving = job::save::save_pictures(session.api, (&job.id, &job.image_urls), &args.prompt, &args.output);
        files = session.save(&job.id, saving).await?;
    }
    if args.json {
        let mut shown = job.raw.clone();
        shown["files"] = files.iter().map(|file| file.display().to_string()).collect();
        output::line(shown.to_string())?;
    } else {
        for file in &files {
            output::line(file.display().to_string())?;
        }
    }
    job::exit_of(job)
}

#[cfg(test)]
mod tests;
