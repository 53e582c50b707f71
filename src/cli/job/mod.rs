//! Shared by the commands that submit a job: finding the gateway, waiting, exit codes.
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
use self::{follow::FollowOutcome, interrupt::Interrupts, local::Service};
use super::{Exit, Failure, Invocation, output};
use crate::{
    config::{Environment, Secret, duration},
    domain::{
        clock::{Random as _, SystemRandom},
        ids::JobId,
        kind::JobKind,
    },
};

/// The gateway, the caller, and how long to wait.
#[derive(Debug, Args)]
#[command(next_help_heading = "Service")]
pub(super) struct ServiceArgs {
    /// The address of the gateway [env: MEDIAFORGE_URL] [default: gateway.listen on this machine]
    #[arg(long, value_name = "URL", value_parser = service_url)]
    pub(super) url: Option<url::Url>,
    /// The user, for a service with gateway.auth = "none" [env: MEDIAFORGE_USER] [default: local]
    #[arg(long, value_name = "ID")]
    pub(super) user: Option<String>,
    /// A file with the ID token, for a service that requires one [env: MEDIAFORGE_TOKEN_FILE, or the token itself in
    /// MEDIAFORGE_TOKEN]
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<std::path::PathBuf>,
    /// Do not wait: print the id of the job as soon as it is accepted
    #[arg(long, alias = "no-wait")]
    pub(super) detach: bool,
    /// Wait at most this long, for example 90s or 5m
    #[arg(long, value_name = "DURATION", value_parser = duration::from_text)]
    pub(super) timeout: Option<Duration>,
    /// A key for this request; repeating the request with the same key finds the same job and costs nothing [default: random]
    #[arg(long, value_name = "KEY", value_parser = idempotency_key)]
    pub(super) idempotency_key: Option<String>,
}

fn service_url(text: &str) -> Result<url::Url, String> {
    match text.parse::<url::Url>() {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        _ => Err("must begin with http:// or https://, for example http://127.0.0.1:8080".into()),
    }
}

/// The key is a quoted string in its header, so it may contain only characters that need no escapes.
pub(super) fn idempotency_key(text: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
    if (1..=255).contains(&text.len()) && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("write 1 to 255 visible ASCII characters, without quotes and backslashes".into())
    }
}

/// The token. It is never an argument, because every user of the machine can read arguments.
fn token(args: &ServiceArgs, environment: &Environment) -> Result<Option<Secret>, Failure> {
    let named = || environment.get("MEDIAFORGE_TOKEN_FILE").map(Into::into);
    let text = match args.token_file.clone().or_else(named) {
        Some(file) => std::fs::read_to_string(&file).map_err(|error| {
            Failure::new(Exit::Usage, format!("cannot read the token file {}: {error}", file.display()))
        })?,
        None => environment.get("MEDIAFORGE_TOKEN").unwrap_or_default().to_owned(),
    };
    Ok(Some(text.trim()).filter(|token| !token.is_empty()).map(Secret::new))
}

/// Finds the service or starts one in this process, runs `work` with it, and stops it again.
pub(super) async fn with_service(
    args: &ServiceArgs,
    invocation: &Invocation,
    work: impl AsyncFnOnce(&mut Session<'_>) -> anyhow::Result<Exit>,
) -> anyhow::Result<Exit> {
    // First, so that from here on Ctrl-C always ends the command cleanly.
    let mut interrupts = Interrupts::new()?;
    let service = Service::find(args.url.as_ref(), invocation).await?;
    let user = args.user.clone().or_else(|| invocation.environment.get("MEDIAFORGE_USER").map(str::to_owned));
    let mut api = Api::new(service.url(), user)?;
    if let Some(token) = token(args, &invocation.environment)? {
        api = api.with_token(&token)?;
    }
    let mut session = Session::new(args, &api, &mut interrupts, service.job_fate());
    session.outlives_command = service.outlives_command();
    let outcome = tokio::select! {
        outcome = work(&mut session) => outcome,
        error = service.failed() => Err(error),
    };
    let stopped = tokio::select! {
        // If the command stopped waiting, running work is handed back at once.
        stopped = service.stop(!matches!(outcome, Ok(Exit::Done))) => stopped,
        // Unfinished work is taken over when its lease lapses.
        () = interrupts.next() => return Ok(Exit::INTERRUPTED),
    };
    let exit = outcome?;
    stopped?;
    Ok(exit)
}

/// The session of one command with one gateway.
pub(super) struct Session<'a> {
    pub(super) api: &'a Api,
    /// Whether the gateway, and so its addresses, outlive this command.
    pub(super) outlives_command: bool,
    interrupts: &'a mut Interrupts,
    /// What happens to a job when the command stops waiting for it.
    job_fate: &'a str,
    until: Option<Instant>,
    key: String,
    named_key: Option<&'a str>,
}

impl<'a> Session<'a> {
    pub(super) fn new(args: &'a ServiceArgs, api: &'a Api, interrupts: &'a mut Interrupts, job_fate: &'a str) -> Self {
        let until = args.timeout.map(|timeout| Instant::now() + timeout);
        let named_key = args.idempotency_key.as_deref();
        let random = || format!("cli-{:016x}{:016x}", SystemRandom.next_u64(), SystemRandom.next_u64());
        let key = named_key.map_or_else(random, str::to_owned);
        Self { api, outlives_command: true, interrupts, job_fate, until, key, named_key }
    }

    /// Runs `work` unless the user or `--timeout` ends it first; `left` then describes what is left.
    pub(super) async fn unless_stopped<T>(
        &mut self,
        work: impl Future<Output = anyhow::Result<T>>,
        left: &str,
    ) -> anyhow::Result<T> {
        tokio::select! {
            done = work => done,
            exit = stopped(self.interrupts, self.until) => Err(Failure::new(exit, format!("stopped; {left}")).into()),
        }
    }

    /// The job of an earlier request with the same `--idempotency-key`.
    pub(super) async fn find_earlier_job(&mut self, kind: JobKind) -> anyhow::Result<Option<String>> {
        let Some(key) = self.named_key else { return Ok(None) };
        // If the user id is unusual, the request itself finds the job.
        let Ok(user) = self.api.user().unwrap_or("local").parse() else { return Ok(None) };
        let id = JobId::derived(kind, &user, key);
        let api = self.api;
        let job = async { Ok(api.with_retries(async || api.job(kind, id.as_str()).await).await?) };
        Ok(self.unless_stopped(job, "nothing was submitted").await?.map(|job| job.id))
    }

    /// Submits the request and returns the id of the job.
    pub(super) async fn submit(&mut self, kind: JobKind, body: &Value) -> anyhow::Result<String> {
        let key = &self.key;
        tokio::select! {
            id = self.api.submit(kind, body, key) => Ok(id?),
            exit = stopped(self.interrupts, self.until) => {
                let hint = format!("repeat the request with `--idempotency-key {key}` to find the job without paying twice");
                Err(Failure::new(exit, "stopped; the job may have been accepted").hint(hint).into())
            }
        }
    }

    /// Waits for the job. Returns the exit code if the command stops waiting.
    pub(super) async fn follow(&mut self, kind: JobKind, id: &str, quiet: bool) -> anyhow::Result<Result<Job, Exit>> {
        let progress = Progress::new(quiet);
        let outcome = follow::until_ended(self.api, (kind, id), &progress, self.interrupts, self.until).await;
        progress.finish();
        let (word, exit) = match outcome? {
            FollowOutcome::Ended(job) => return Ok(Ok(*job)),
            FollowOutcome::Detached => ("detached", Exit::INTERRUPTED),
            FollowOutcome::TimedOut => ("timed out", Exit::TimedOut),
        };
        output::note(format!("{word}; {}", self.job_fate));
        Ok(Err(exit))
    }

    /// Saves the files of a finished job, unless the user interrupts.
    pub(super) async fn save<T>(
        &mut self,
        id: &str,
        saving: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        tokio::select! {
            saved = saving => saved.with_context(|| format!("the job {id} has finished, and its pictures are still in the service")),
            () = self.interrupts.next() => {
                let hint = format!("the job {id} has finished, and its pictures are still in the service");
                Err(Failure::new(Exit::INTERRUPTED, "interrupted while saving").hint(hint).into())
            }
        }
    }
}

/// Resolves when the user or `--timeout` ends the wait.
async fn stopped(interrupts: &mut Interrupts, until: Option<Instant>) -> Exit {
    tokio::select! {
        () = interrupts.next() => Exit::INTERRUPTED,
        () = follow::reached(until) => Exit::TimedOut,
    }
}

/// Prints the id of a job for which the command does not wait.
pub(super) fn print_accepted(kind: JobKind, id: &str, json: bool) -> std::io::Result<()> {
    if json {
        let mut shown = serde_json::json!({ "files": [] });
        shown[kind.id_field()] = id.into();
        output::line(shown.to_string())
    } else {
        output::line(id)
    }
}

/// The exit code for a job that has ended.
pub(super) fn exit_of(job: &Job) -> anyhow::Result<Exit> {
    let Job { id, .. } = job;
    if job.is_completed() {
        return Ok(Exit::Done);
    }
    if job.is_cancelled() {
        output::note(format!("{id} was cancelled and cost no credits"));
        return Ok(Exit::Cancelled);
    }
    let reason = job.error.as_ref().map(|error| format!("{} ({})", error.message, error.code));
    let message = format!("the job failed: {}", reason.as_deref().unwrap_or("no reason given"));
    Err(Failure::new(Exit::Failed, message).hint(format!("the job {id} cost no credits")).into())
}

/// Interrupts for tests.
#[cfg(test)]
pub(super) fn no_interrupts() -> Interrupts {
    Interrupts::new().unwrap()
}
