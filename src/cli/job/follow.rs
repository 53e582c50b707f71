//! Watching a job until it ends, across lost connections.

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

/// How long a service may be away before this command gives up on it.
const TIMEOUT: Duration = Duration::from_mins(1);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How watching ended.
pub(super) enum Followed {
    /// The job is over.
    Ended(Box<Job>),
    /// The person went away.
    Detached,
    /// `--timeout` passed.
    TimedOut,
}

/// Watches the job, shows its progress and asks the person what to do at Ctrl-C.
pub(super) async fn until_done(
    api: &Api,
    (kind, id): (JobKind, &str),
    progress: &Progress,
    interrupts: &mut Interrupts,
    until: Option<Instant>,
) -> Result<Followed, Failure> {
    let mut ended = pin!(last_state(api, (kind, id), progress));
    let mut timed_out = pin!(reached(until));
    loop {
        tokio::select! {
            job = &mut ended => return job.map(|job| Followed::Ended(Box::new(job))),
            () = &mut timed_out => return Ok(Followed::TimedOut),
            () = interrupts.next() => {}
        }
        let somebody = progress.suspended();
        let choice = tokio::select! {
            job = &mut ended => return job.map(|job| Followed::Ended(Box::new(job))),
            () = &mut timed_out => return Ok(Followed::TimedOut),
            choice = ask(somebody) => choice,
            // A second one: the person has no timeout for questions.
            () = interrupts.next() => Choice::Detach,
        };
        progress.resume();
        match choice {
            Choice::Wait => {}
            Choice::Detach => return Ok(Followed::Detached),
            Choice::Cancel => match api.cancel(kind, id).await {
                Ok(()) => progress.say("cancelling"),
                Err(error) => output::note(format!("cannot cancel: {error}")),
            },
        }
    }
}

/// Resolves at that moment; never when there is none.
pub(super) async fn reached(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// The job once it is over.
async fn last_state(api: &Api, (kind, id): (JobKind, &str), progress: &Progress) -> Result<Job, Failure> {
    let mut seen = None;
    let mut pause = FIRST_PAUSE;
    let mut away_since = None;
    loop {
        match api.events(kind, id, seen.as_deref()).await {
            Ok(events) => {
                let before = seen.clone();
                if let Some(job) = read(kind, events, &mut seen, progress).await {
                    return Ok(job);
                }
                if before != seen {
                    (pause, away_since) = (FIRST_PAUSE, None);
                }
            }
            Err(error) if !error.may_pass() => return Err(error.explain(api.url())),
            Err(error) => give_up_after(TIMEOUT, &mut away_since, error, api, id)?,
        }
        progress.say("connection lost, trying again");
        // Half fixed, half random: a service that restarts must not meet all of its watchers at once.
        sleep(pause.mul_f64(0.5 + SystemRandom.unit() / 2.0)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// The final state, unless the connection ends before it.
async fn read(
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
        if job.is_over() {
            return Some(job);
        }
    }
    None
}

fn give_up_after(
    timeout: Duration,
    away_since: &mut Option<Instant>,
    error: ApiError,
    api: &Api,
    id: &str,
) -> Result<(), Failure> {
    if away_since.get_or_insert_with(Instant::now).elapsed() < timeout {
        return Ok(());
    }
    let mut failure = error.explain(api.url());
    failure.exit = Exit::Unavailable;
    Err(failure.hint(format!("the job {id} was accepted and goes on when the service is back")))
}
