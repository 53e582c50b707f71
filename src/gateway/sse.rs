//! Server-sent events: a stream of jobs that clients can leave and resume without missing how a job ended.

use std::{collections::HashMap, collections::VecDeque, convert::Infallible, fmt::Display, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Uri, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::{GatewayState, params::Params, present::Presenter, streams::StreamPermit};
use crate::{
    domain::{
        ids::JobId,
        job::{Job, Progress, State, Status},
    },
    error::BackendError,
    store::{Version, Versioned},
};

/// A silent connection is taken for dead by proxies; a comment now and then keeps it.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long clients wait before they reconnect, in milliseconds.
const RETRY_MS: u64 = 2_000;
/// Of how many jobs a stream remembers what it told before it forgets the finished ones.
const REMEMBERED: usize = 1_000;
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Where a client says it stopped reading: the header that `EventSource` sends, or `?last_event_id=`. What makes no
/// sense is ignored: the client cannot help what it sends, and then gets everything.
pub(super) fn last_event_id(headers: &HeaderMap, uri: &Uri) -> Option<u64> {
    let header = headers.get(LAST_EVENT_ID).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    header.or_else(|| Params::of(uri).one("last_event_id").ok()??.parse().ok())
}

/// What the `id:` of an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ids {
    /// The job's version, on a stream of one job.
    Version,
    /// When the event was sent, in milliseconds since 1970, on a stream of many: it tells which endings were missed.
    Time,
}

/// A stream of job events in the making.
pub(super) struct JobEvents {
    gateway: GatewayState,
    presenter: Presenter,
    ids: Ids,
    /// What comes before the changes.
    first: VecDeque<Versioned<Job>>,
    changes: BoxStream<'static, Result<Versioned<Job>, BackendError>>,
    seen: HashMap<JobId, Seen>,
    keep_alive: Interval,
    ended: bool,
    /// Counts this stream until its end.
    _permit: StreamPermit,
}

/// What a client has been told of a job.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Seen {
    version: Version,
    status: Status,
    attempt: u32,
    cancelling: bool,
    progress: Option<Progress>,
}

impl Seen {
    fn of(job: &Versioned<Job>) -> Self {
        let (progress, cancelling) = match &job.value.state {
            State::Running { progress, cancel_by, .. } => (*progress, cancel_by.is_some()),
            _ => (None, false),
        };
        let (status, attempt) = (job.value.status(), job.value.attempt());
        Self { version: job.version, status, attempt, cancelling, progress }
    }

    /// The event that tells of this; `None` when the client knows already (a heartbeat changes nothing to be seen).
    fn event(&self, before: Option<&Self>) -> Option<&'static str> {
        let name = match self.status {
            Status::Queued => "job.queued",
            Status::Running => "job.processing",
            Status::Succeeded => "job.completed",
            Status::Failed => "job.failed",
            Status::Cancelled => "job.cancelled",
        };
        let Some(before) = before else { return Some(name) };
        if self.version <= before.version {
            return None;
        }
        let same_stage =
            (self.status, self.attempt, self.cancelling) == (before.status, before.attempt, before.cancelling);
        match (&before.progress, &self.progress) {
            _ if !same_stage => Some(name),
            (before, now) if before == now => None,
            // Within an attempt progress never falls, so this is the same attempt, counted anew after a hand-back.
            (Some(_), None) => Some(name),
            _ => Some("job.progress"),
        }
    }
}

impl JobEvents {
    /// Events of `first` and then of `changes`.
    pub fn new(
        gateway: GatewayState,
        presenter: Presenter,
        ids: Ids,
        first: impl IntoIterator<Item = Versioned<Job>>,
        changes: BoxStream<'static, Result<Versioned<Job>, BackendError>>,
        permit: StreamPermit,
    ) -> Self {
        let mut keep_alive = tokio::time::interval_at(Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
        keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let first = first.into_iter().collect();
        Self {
            gateway,
            presenter,
            ids,
            first,
            changes,
            seen: HashMap::new(),
            keep_alive,
            ended: false,
            _permit: permit,
        }
    }

    /// Takes it that the client knows this state.
    pub fn already_told(&mut self, job: &Versioned<Job>) {
        self.seen.insert(job.value.id.clone(), Seen::of(job));
    }

    /// The answer: `retry:` once, then the events.
    pub fn into_response(self) -> Response {
        let hello = stream::iter([Ok::<_, Infallible>(retry(RETRY_MS))]);
        let events = stream::unfold(self, |mut events| async move {
            let frame = events.next_frame().await?;
            Some((Ok(frame), events))
        });
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            // Tells nginx and its kin to pass every event on at once.
            (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
        ];
        (headers, Body::from_stream(hello.chain(events))).into_response()
    }

    async fn next_frame(&mut self) -> Option<Bytes> {
        while !self.ended {
            let drain = self.gateway.drain().clone();
            let change = if let Some(job) = self.first.pop_front() {
                if self.first.is_empty() {
                    // A stream is idle for most of its life, and there may be thousands.
                    self.first = VecDeque::new();
                }
                Some(Ok(job))
            } else {
                tokio::select! {
                    biased;
                    () = drain.cancelled() => {
                        self.ended = true;
                        // Spread out, so that not everybody comes back in the same instant.
                        let spread = self.gateway.random().next_u64() % RETRY_MS;
                        return Some(retry(RETRY_MS / 2 + spread));
                    }
                    change = self.changes.next() => change,
                    _ = self.keep_alive.tick() => return Some(Bytes::from_static(b": keep-alive\n\n")),
                }
            };
            let told = match change {
                Some(Ok(job)) => self.tell(&job).await,
                Some(Err(error)) => Err(error),
                None => {
                    self.ended = true;
                    Ok(None)
                }
            };
            match told {
                Ok(None) => {}
                Ok(Some(frame)) => {
                    self.keep_alive.reset();
                    return Some(frame);
                }
                Err(error) => {
                    // The client reconnects and resumes, so nothing is lost; a stream that went on would be.
                    tracing::warn!(op = error.op, %error, "event stream ended");
                    self.ended = true;
                    return Some(retry(RETRY_MS));
                }
            }
        }
        None
    }

    async fn tell(&mut self, job: &Versioned<Job>) -> Result<Option<Bytes>, BackendError> {
        let now = Seen::of(job);
        let event = now.event(self.seen.get(&job.value.id));
        let Some(event) = event else {
            if let Some(seen) = self.seen.get_mut(&job.value.id) {
                seen.version = seen.version.max(now.version);
            }
            return Ok(None);
        };
        let view = self.presenter.job(job).await?;
        if self.seen.len() >= REMEMBERED {
            // A stream of all may stay open for weeks. Told twice is bearable; growing for ever is not.
            self.seen.retain(|_, seen| !seen.status.is_final());
        }
        self.seen.insert(job.value.id.clone(), now);
        let id = match self.ids {
            Ids::Version => job.version.0,
            Ids::Time => u64::try_from(self.gateway.now().as_millisecond()).unwrap_or_default(),
        };
        Ok(serde_json::to_string(&view).ok().map(|data| frame(event, id, &data)))
    }
}

/// JSON has no raw line breaks, so its text is one `data:` line.
fn frame(event: &str, id: impl Display, data: &str) -> Bytes {
    Bytes::from(format!("event: {event}\nid: {id}\ndata: {data}\n\n"))
}

fn retry(ms: u64) -> Bytes {
    Bytes::from(format!("retry: {ms}\n\n"))
}
