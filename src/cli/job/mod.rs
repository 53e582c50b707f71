//! What the commands that submit a job and wait for it share: whom they ask, how they wait, how they end.
#![expect(clippy::doc_markdown, reason = "these doc comments are help texts")]

pub(super) mod api;
pub(super) mod error;
mod follow;
mod interrupt;
mod local;
mod progress;
pub(super) mod save;
mod state;

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;
use tokio::time::Instant;

pub(super) use self::{api::Api, progress::Progress, state::Job};
use self::{follow::Followed, interrupt::Interrupts, local::Service};
use super::{Exit, Failure, Invocation, output};
use crate::{
    config::{Environment, Secret, duration},
    domain::{
        clock::{Random as _, SystemRandom},
        ids::JobId,
        kind::JobKind,
    },
};

/// Whom to ask, and how long to wait.
#[derive(Debug, Args)]
#[command(next_help_heading = "Service")]
pub(super) struct ServiceArgs {
    /// The gateway to ask [env: MEDIAFORGE_URL] [default: gateway.listen on this machine]
    #[arg(long, value_name = "URL", value_parser = service_url)]
    pub(super) url: Option<url::Url>,
    /// Who asks, where the service believes it (gateway.auth = "none") [env: MEDIAFORGE_USER] [default: local]
    #[arg(long, value_name = "ID")]
    pub(super) user: Option<String>,
    /// A file with the ID token to send, where the service wants one [env: MEDIAFORGE_TOKEN_FILE, or the token itself in
    /// MEDIAFORGE_TOKEN]
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<std::path::PathBuf>,
    /// Do not wait: print the job's id once it is accepted
    #[arg(long, alias = "no-wait")]
    pub(super) detach: bool,
    /// Wait at most this long, such as 90s or 5m
    #[arg(long, value_name = "DURATION", value_parser = duration::from_text)]
    pub(super) timeout: Option<Duration>,
    /// Names this request: repeating it finds the same job instead of paying again [default: a random one]
    #[arg(long, value_name = "KEY", value_parser = idempotency_key)]
    pub(super) idempotency_key: Option<String>,
}

fn service_url(text: &str) -> Result<url::Url, String> {
    match text.parse::<url::Url>() {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        _ => Err("begin with http:// or https://, for example http://127.0.0.1:8080".into()),
    }
}

/// A key is a quoted string in its header, so it is held to what needs no escapes there.
pub(super) fn idempotency_key(text: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
    if (1..=255).contains(&text.len()) && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("1 to 255 visible ASCII characters without quotes and backslashes".into())
    }
}

/// The token to send. Never an argument: those can be read by everybody on the machine.
fn token(args: &ServiceArgs, environment: &Environment) -> Result<Option<Secret>, Failure> {
    let named = || environment.get("MEDIAFORGE_TOKEN_FILE").map(Into::into);
    let text = match args.token_file.clone().or_else(named) {
        Some(file) => std::fs::read_to_string(&file).map_err(|error| {
            Failure::new(Exit::Usage, format!("cannot read the token in {}: {error}", file.display()))
        })?,
        None => environment.get("MEDIAFORGE_TOKEN").unwrap_or_default().to_owned(),
    };
    Ok(Some(text.trim()).filter(|token| !token.is_empty()).map(Secret::new))
}

/// Finds the service (or runs one here), does `work` with it, and leaves everything in order.
pub(super) async fn with_service(
    args: &ServiceArgs,
    invocation: &Invocation,
    work: impl AsyncFnOnce(&mut Session<'_>) -> anyhow::Result<Exit>,
) -> anyhow::Result<Exit> {
    // Taken first: from here on Ctrl-C ends the command in order, whatever it is doing.
    let mut interrupts = Interrupts::new()?;
    let service = Service::find(args.url.as_ref(), invocation).await?;
    let user = args.user.clone().or_else(|| invocation.environment.get("MEDIAFORGE_USER").map(str::to_owned));
    let mut api = Api::new(service.url(), user)?;
    if let Some(token) = token(args, &invocation.environment)? {
        api = api.with_token(&token)?;
    }
    let mut session = Session::new(args, &api, &mut interrupts, service.afterwards());
    session.is_lasting = service.is_lasting();
    let outcome = tokio::select! {
        outcome = work(&mut session) => outcome,
        error = service.failed() => Err(error),
    };
    let stopped = tokio::select! {
        // Whoever stopped waiting does not wait for the work either: it is handed back at once.
        stopped = service.stop(!matches!(outcome, Ok(Exit::Done))) => stopped,
        // What is not done yet is taken over when its lease lapses.
        () = interrupts.next() => return Ok(Exit::INTERRUPTED),
    };
    let exit = outcome?;
    stopped?;
    Ok(exit)
}

/// One command's talk with one gateway.
pub(super) struct Session<'a> {
    pub(super) api: &'a Api,
    /// Whether the gateway is there after this command, and the addresses it gives with it.
    pub(super) is_lasting: bool,
    interrupts: &'a mut Interrupts,
    /// What becomes of a job that is not waited for.
    afterwards: &'a str,
    until: Option<Instant>,
    key: String,
    named_key: Option<&'a str>,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        args: &'a ServiceArgs,
        api: &'a Api,
        interrupts: &'a mut Interrupts,
        afterwards: &'a str,
    ) -> Self {
        let until = args.timeout.map(|timeout| Instant::now() + timeout);
        let named_key = args.idempotency_key.as_deref();
        let random = || format!("cli-{:016x}{:016x}", SystemRandom.next_u64(), SystemRandom.next_u64());
        let key = named_key.map_or_else(random, str::to_owned);
        Self { api, is_lasting: true, interrupts, afterwards, until, key, named_key }
    }

    /// Does `work` unless the person or the clock ends it first; `left` says what is left then.
    pub(super) async fn unless_given_up<T>(
        &mut self,
        work: impl Future<Output = anyhow::Result<T>>,
        left: &str,
    ) -> anyhow::Result<T> {
        tokio::select! {
            done = work => done,
            exit = given_up(self.interrupts, self.until) => Err(Failure::new(exit, format!("gave up; {left}")).into()),
        }
    }

    /// The job that an earlier request under the same `--idempotency-key` made.
    pub(super) async fn earlier(&mut self, kind: JobKind) -> anyhow::Result<Option<String>> {
        let Some(key) = self.named_key else { return Ok(None) };
        // A caller or a service that names jobs otherwise has none of this id, and the request then decides.
        let Ok(user) = self.api.user().unwrap_or("local").parse() else { return Ok(None) };
        let id = JobId::derived(kind, &user, key);
        let api = self.api;
        let job = async { Ok(api.repeated(async || api.job(kind, id.as_str()).await).await?) };
        Ok(self.unless_given_up(job, "nothing was asked for").await?.map(|job| job.id))
    }

    /// Hands the request over; the job's id.
    pub(super) async fn submit(&mut self, kind: JobKind, body: &Value) -> anyhow::Result<String> {
        let key = &self.key;
        tokio::select! {
            id = self.api.submit(kind, body, key) => Ok(id?),
            exit = given_up(self.interrupts, self.until) => {
                let hint = format!("`--idempotency-key {key}` with the same request finds it without paying twice");
                Err(Failure::new(exit, "gave up; the job may have been accepted").hint(hint).into())
            }
        }
    }

    /// The job once it is over, or how the command ends without it.
    pub(super) async fn follow(&mut self, kind: JobKind, id: &str, quiet: bool) -> anyhow::Result<Result<Job, Exit>> {
        let progress = Progress::new(quiet);
        let followed = follow::until_done(self.api, (kind, id), &progress, self.interrupts, self.until).await;
        progress.finish();
        let (word, exit) = match followed? {
            Followed::Ended(job) => return Ok(Ok(*job)),
            Followed::Detached => ("detached", Exit::INTERRUPTED),
            Followed::TimedOut => ("timed out", Exit::TimedOut),
        };
        output::note(format!("{word}; {}", self.afterwards));
        Ok(Err(exit))
    }

    /// Saves files of a finished job.
    pub(super) async fn save<T>(
        &mut self,
        id: &str,
        saving: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        tokio::select! {
            saved = saving => saved.with_context(|| format!("the job {id} is done and its pictures stay with the service")),
            () = self.interrupts.next() => {
                let hint = format!("the job {id} is done; its pictures stay with the service");
                Err(Failure::new(Exit::INTERRUPTED, "interrupted while saving").hint(hint).into())
            }
        }
    }
}

/// Resolves when the person or the clock ends the wait.
async fn given_up(interrupts: &mut Interrupts, until: Option<Instant>) -> Exit {
    tokio::select! {
        () = interrupts.next() => Exit::INTERRUPTED,
        () = follow::reached(until) => Exit::TimedOut,
    }
}

/// What is printed of a job that is not waited for.
pub(super) fn print_accepted(kind: JobKind, id: &str, json: bool) -> std::io::Result<()> {
    if json {
        let mut shown = serde_json::json!({ "files": [] });
        shown[kind.id_field()] = id.into();
        output::line(shown.to_string())
    } else {
        output::line(id)
    }
}

/// How a job that is over ends the command.
pub(super) fn ended(job: &Job) -> anyhow::Result<Exit> {
    let Job { id, .. } = job;
    if job.is_completed() {
        return Ok(Exit::Done);
    }
    if job.is_cancelled() {
        output::note(format!("{id} was cancelled; no credits were taken"));
        return Ok(Exit::Cancelled);
    }
    let reason = job.error.as_ref().map(|error| format!("{} ({})", error.message, error.code));
    let message = format!("the job failed: {}", reason.as_deref().unwrap_or("no reason given"));
    Err(Failure::new(Exit::Failed, message).hint(format!("no credits were taken; the job is {id}")).into())
}

/// An interrupted wait in tests.
#[cfg(test)]
pub(super) fn no_interrupts() -> Interrupts {
    Interrupts::new().unwrap()
}
