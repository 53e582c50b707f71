//! `mediaforge generate`
#![expect(clippy::doc_markdown, reason = "these doc comments are help texts")]

mod api;
mod follow;
mod interrupt;
mod local;
mod progress;
mod save;

use std::{path::PathBuf, str::FromStr, time::Duration};

use clap::Args;
use serde_json::{Value, json};

use self::{
    api::{Api, Job},
    follow::Followed,
    progress::Progress,
};
use super::{Exit, Failure, Invocation, output};
use crate::{
    config::duration,
    domain::clock::{Random as _, SystemRandom},
};

/// Turn a prompt into pictures
///
/// Asks the gateway at --url, or else the one that runs on this machine. When none runs, the whole system runs inside
/// this command for this one job, on the same data directory. The pictures' paths go to standard output, everything
/// else to standard error. Interrupted or timed out, the job goes on: the command prints its id.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mediaforge generate \"a lighthouse at dawn\"
  mediaforge generate \"a lighthouse at dawn\" --style watercolor --size 1536x1024 --count 2 -o out/
  mediaforge generate \"a fox in snow\" --seed 7 --json | jq -r '.files[]'
  mediaforge generate \"a fox in snow\" --url https://forge.example.com --detach

Exit codes:
    0  done (with --detach: accepted)        5  the job was cancelled
    1  the job failed                        6  too many requests, try later
    2  wrong usage, configuration, request   7  the service refuses this caller
    3  not enough credits                  124  --timeout passed, the job goes on
    4  service unreachable or unavailable  130  interrupted or detached, the job goes on")]
pub(super) struct GenerateArgs {
    /// What to draw
    #[arg(value_name = "PROMPT")]
    prompt: String,
    /// A style of the catalogue, such as watercolor, flat-2d, line-art, isometric or clay-3d [default: the service's first]
    #[arg(short, long, value_name = "ID", help_heading = "Picture")]
    style: Option<String>,
    /// Pixels, such as 1536x1024; one number is a square [default: 1024x1024]
    #[arg(long, value_name = "WxH", help_heading = "Picture")]
    size: Option<Size>,
    /// How many pictures [default: 1]
    #[arg(short = 'n', long, value_name = "N", help_heading = "Picture")]
    count: Option<u32>,
    /// The same seed and prompt give the same picture, where the engine can
    #[arg(long, value_name = "N", help_heading = "Picture")]
    seed: Option<u32>,
    /// Where to save the pictures; created when missing
    #[arg(short, long, value_name = "DIR", default_value = ".", value_hint = clap::ValueHint::DirPath, help_heading = "Output")]
    output: PathBuf,
    /// Print one JSON object: the job, and "files" with the paths
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Do not show progress
    #[arg(short, long, help_heading = "Output")]
    quiet: bool,
    /// The gateway to ask [env: MEDIAFORGE_URL] [default: gateway.listen on this machine]
    #[arg(long, value_name = "URL", help_heading = "Service")]
    url: Option<url::Url>,
    /// Who asks, where the service believes it (gateway.auth = "none") [env: MEDIAFORGE_USER] [default: local]
    #[arg(long, value_name = "ID", help_heading = "Service")]
    user: Option<String>,
    /// Do not wait: print the job's id once it is accepted
    #[arg(long, alias = "no-wait", help_heading = "Service")]
    detach: bool,
    /// Wait at most this long, such as 90s or 5m
    #[arg(long, value_name = "DURATION", value_parser = duration::from_text, help_heading = "Service")]
    timeout: Option<Duration>,
    /// Names this request: repeating it finds the same job instead of paying again [default: a random one]
    #[arg(long, value_name = "KEY", value_parser = idempotency_key, help_heading = "Service")]
    idempotency_key: Option<String>,
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
            _ => Err("write width and height in pixels, such as 1536x1024".into()),
        }
    }
}

/// A key is a quoted string in its header, so it is held to what needs no escapes there.
fn idempotency_key(text: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
    if (1..=255).contains(&text.len()) && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("1 to 255 visible ASCII characters without quotes and backslashes".into())
    }
}

pub(super) async fn run(args: GenerateArgs, invocation: &Invocation) -> anyhow::Result<Exit> {
    // Taken first: from here on Ctrl-C ends the command in order, whatever it is doing.
    let mut interrupts = interrupt::Interrupts::new()?;
    let service = local::Service::find(args.url.as_ref(), invocation).await?;
    let user = args.user.clone().or_else(|| invocation.environment.get("MEDIAFORGE_USER").map(str::to_owned));
    let api = Api::new(service.url(), user)?;
    let outcome = tokio::select! {
        outcome = draw(&args, &api, &mut interrupts, service.afterwards()) => outcome,
        error = service.failed() => Err(error),
    };
    let stopped = tokio::select! {
        stopped = service.stop() => stopped,
        // What is not done yet is taken over when its lease lapses.
        () = interrupts.next() => return Ok(Exit::INTERRUPTED),
    };
    let exit = outcome?;
    stopped?;
    Ok(exit)
}

/// Submits, waits, saves. `afterwards` says what becomes of a job that is not waited for.
async fn draw(
    args: &GenerateArgs,
    api: &Api,
    interrupts: &mut interrupt::Interrupts,
    afterwards: &str,
) -> anyhow::Result<Exit> {
    let until = args.timeout.map(|timeout| tokio::time::Instant::now() + timeout);
    let random = SystemRandom;
    let key = args
        .idempotency_key
        .clone()
        .unwrap_or_else(|| format!("cli-{:016x}{:016x}", random.next_u64(), random.next_u64()));
    let body = request(args, api.user());
    let id = tokio::select! {
        id = api.submit(&body, &key) => id?,
        exit = given_up(interrupts, until) => {
            let hint = format!("`--idempotency-key {key}` with the same request finds it without paying twice");
            return Err(Failure::new(exit, "gave up; the job may have been accepted").hint(hint).into());
        }
    };
    if args.detach {
        print_accepted(args, &id)?;
        return Ok(Exit::Done);
    }

    let progress = Progress::new(args.quiet);
    let followed = follow::until_done(api, &id, &progress, interrupts, until).await;
    progress.finish();
    match followed? {
        Followed::Ended(job) => tokio::select! {
            exit = finish(args, api, &job) => exit,
            () = interrupts.next() => {
                let hint = format!("the job {id} is done; its pictures stay with the service");
                Err(Failure::new(Exit::INTERRUPTED, "interrupted while saving").hint(hint).into())
            }
        },
        Followed::Detached => {
            output::note(format!("detached; {afterwards}"));
            print_accepted(args, &id)?;
            Ok(Exit::INTERRUPTED)
        }
        Followed::TimedOut => {
            output::note(format!("timed out; {afterwards}"));
            print_accepted(args, &id)?;
            Ok(Exit::TimedOut)
        }
    }
}

/// Resolves when the person or the clock ends the wait.
async fn given_up(interrupts: &mut interrupt::Interrupts, until: Option<tokio::time::Instant>) -> Exit {
    tokio::select! {
        () = interrupts.next() => Exit::INTERRUPTED,
        () = follow::reached(until) => Exit::TimedOut,
    }
}

fn request(args: &GenerateArgs, user: Option<&str>) -> Value {
    let fields = [
        ("userId", user.map(Value::from)),
        ("prompt", Some(args.prompt.as_str().into())),
        ("styleId", args.style.as_deref().map(Value::from)),
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

fn print_accepted(args: &GenerateArgs, id: &str) -> std::io::Result<()> {
    if args.json { output::line(json!({ "illustrationId": id, "files": [] }).to_string()) } else { output::line(id) }
}

/// Saves what a finished job made and says how it ended.
async fn finish(args: &GenerateArgs, api: &Api, job: &Job) -> anyhow::Result<Exit> {
    let files = if job.is_completed() { save::all(api, job, &args.prompt, &args.output).await? } else { Vec::new() };
    if args.json {
        let mut shown = job.raw.clone();
        shown["files"] = files.iter().map(|file| file.display().to_string()).collect();
        output::line(shown.to_string())?;
    } else {
        for file in &files {
            output::line(file.display().to_string())?;
        }
    }
    match job.status.as_str() {
        "completed" => Ok(Exit::Done),
        "cancelled" => {
            output::note(format!("{} was cancelled; no credits were taken", job.illustration_id));
            Ok(Exit::Cancelled)
        }
        _ => {
            let cause = job
                .error
                .as_ref()
                .map_or("no reason given".to_owned(), |error| format!("{} ({})", error.message, error.code));
            let message = format!("the job failed: {cause}");
            Err(Failure::new(Exit::Failed, message)
                .hint(format!("no credits were taken; the job is {}", job.illustration_id))
                .into())
        }
    }
}

#[cfg(test)]
mod tests;
