//! Watches a job until it ends, and reconnects when the connection is lost.

use std::{pin::pin, time::Duration};

use futures::{Stream, StreamExt as _};
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    super::{Exit, Failure, output},
    api::Api,
    error::ApiError,
    interrupt::{Choice, Interrupts, ask},
    progress::Progress,
    state::Job,
};
use crate::domain::{
    clock::{Random as _, SystemRandom},
    kind::JobKind,
};

/// How long a service may be unavailable before this command gives up.
const UNAVAILABLE_LIMIT: Duration = Duration::from_mins(1);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// How watching ended.
pub(super) enum FollowOutcome {
    /// The job has ended.
    Ended(Box<Job>),
    /// The user stopped waiting.
    Detached,
    /// `--timeout` has passed.
    TimedOut,
}

/// Watches the job and shows its progress. On Ctrl-C, asks the user what to do.
pub(super) async fn until_ended(
    api: &Api,
    (kind, id): (JobKind, &str),
    progress: &Progress,
    interrupts: &mut Interrupts,
    until: Option<Instant>,
) -> Result<FollowOutcome, Failure> {
    let mut ended = pin!(wait_for_end(api, (kind, id), progress));
    let mut timed_out = pin!(reached(until));
    loop {
        tokio::select! {
            job = &mut ended => return job.map(|job| FollowOutcome::Ended(Box::new(job))),
            () = &mut timed_out => return Ok(FollowOutcome::TimedOut),
            () = interrupts.next() => {}
        }
        let is_interactive = progress.suspend();
        let choice = tokio::select! {
            job = &mut ended => return job.map(|job| FollowOutcome::Ended(Box::new(job))),
            () = &mut timed_out => return Ok(FollowOutcome::TimedOut),
            choice = ask(is_interactive) => choice,
            // A second Ctrl-C: the user does not want to answer.
            () = interrupts.next() => Choice::Detach,
        };
        progress.resume();
        match choice {
            Choice::Wait => {}
            Choice::Detach => return Ok(FollowOutcome::Detached),
            Choice::Cancel => match api.cancel(kind, id).await {
                Ok(()) => progress.show_message("cancelling"),
                Err(error) => output::note(format!("cannot cancel: {error}")),
            },
        }
    }
}

/// Resolves at `until`, or never if it is `None`.
pub(super) async fn reached(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// Waits for the end of the job.
async fn wait_for_end(api: &Api, (kind, id): (JobKind, &str), progress: &Progress) -> Result<Job, Failure> {
    let mut seen = None;
    let mut pause = FIRST_PAUSE;
    let mut unavailable_since = None;
    loop {
        match api.events(kind, id, seen.as_deref()).await {
            Ok(events) => {
                let before = seen.clone();
                if let Some(job) = read_events(kind, events, &mut seen, progress).await {
                    return Ok(job);
                }
                if before != seen {
                    (pause, unavailable_since) = (FIRST_PAUSE, None);
                }
            }
            Err(error) if !error.is_transient() => return Err(error.explain(api.url())),
            Err(error) => give_up_after(UNAVAILABLE_LIMIT, &mut unavailable_since, error, api, id)?,
        }
        progress.show_message("connection lost, reconnecting");
        // Half fixed, half random, so that not all watchers reconnect to a restarted service at once.
        sleep(pause.mul_f64(0.5 + SystemRandom.unit() / 2.0)).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

/// Reads events until the job ends. Returns `None` if the connection ends first.
async fn read_events(
    kind: JobKind,
    events: impl Stream<Item = Option<eventsource_stream::Event>>,
    seen: &mut Option<String>,
    progress: &Progress,
) -> Option<Job> {
    let mut events = pin!(events);
    while let Some(Some(event)) = events.next().await {
        if !event.id.is_empty() {
            *seen = Some(event.id);
        }
        let Some(job) = Job::parse(kind, &event.data) else { continue };
        progress.show(&job);
        if job.has_ended() {
            return Some(job);
        }
    }
    None
}

fn give_up_after(
    timeout: Duration,
    unavailable_since: &mut Option<Instant>,
    error: ApiError,
    api: &Api,
    id: &str,
) -> Result<(), Failure> {
    if unavailable_since.get_or_insert_with(Instant::now).elapsed() < timeout {
        return Ok(());
    }
    let mut failure = error.explain(api.url());
    failure.exit = Exit::Unavailable;
    Err(failure.hint(format!("the job {id} was accepted and continues when the service is available again")))
}
