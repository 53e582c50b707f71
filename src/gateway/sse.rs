//! Server-sent events: a stream of jobs that a client can leave and resume without missing how a job ended.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    fmt::Display,
    time::Duration,
};

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

use super::{GatewayState, params::QueryParams, present::Presenter, streams::StreamPermit};
use crate::{
    domain::{
        ids::JobId,
        job::{Job, Progress, State, Status},
    },
    error::BackendError,
    store::{Version, Versioned},
};

/// Proxies close silent connections; a comment at this interval keeps the stream open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long clients wait before they reconnect, in milliseconds.
const RETRY_MS: u64 = 2_000;
/// When a stream remembers the sent state of this many jobs, it forgets the finished ones.
const MAX_REMEMBERED: usize = 1_000;
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The last event that the client has received: from the header that `EventSource` sends, or from `?last_event_id=`. An
/// unusable value is ignored and the client receives everything, because a browser cannot correct what it sends.
pub(super) fn last_event_id(headers: &HeaderMap, uri: &Uri) -> Option<u64> {
    let header = headers.get(LAST_EVENT_ID).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    header.or_else(|| QueryParams::of(uri).one("last_event_id").ok()??.parse().ok())
}

/// The meaning of an event's `id:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EventIds {
    /// The job's version, on a stream of one job.
    Version,
    /// When the event was sent, in milliseconds since 1970, on a stream of all jobs: it tells which endings a client has
    /// missed.
    Time,
}

/// The events of one response.
pub(super) struct JobEvents {
    gateway: GatewayState,
    presenter: Presenter,
    ids: EventIds,
    /// States to send before the changes.
    first: VecDeque<Versioned<Job>>,
    changes: BoxStream<'static, Result<Versioned<Job>, BackendError>>,
    sent: HashMap<JobId, SentState>,
    keep_alive: Interval,
    ended: bool,
    /// Counts this stream as open until it ends.
    _permit: StreamPermit,
}

/// The state of a job that the client has received.
#[derive(Debug, Clone, Copy, PartialEq)]
struct SentState {
    version: Version,
    status: Status,
    attempt: u32,
    is_cancelling: bool,
    progress: Option<Progress>,
}

impl SentState {
    fn of(job: &Versioned<Job>) -> Self {
        let (progress, is_cancelling) = match &job.value.state {
            State::Running { progress, cancel_by, .. } => (*progress, cancel_by.is_some()),
            _ => (None, false),
        };
        let (status, attempt) = (job.value.status(), job.value.attempt());
        Self { version: job.version, status, attempt, is_cancelling, progress }
    }

    /// The name of the event that reports this state; `None` if the client sees no difference, for example after a
    /// heartbeat.
    fn event_name(&self, before: Option<&Self>) -> Option<&'static str> {
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
        let is_same_stage =
            (self.status, self.attempt, self.is_cancelling) == (before.status, before.attempt, before.is_cancelling);
        match (&before.progress, &self.progress) {
            _ if !is_same_stage => Some(name),
            (before, now) if before == now => None,
            // Progress never falls within an attempt, so the attempt was handed back and started again.
            (Some(_), None) => Some(name),
            _ => Some("job.progress"),
        }
    }
}

impl JobEvents {
    /// The events of `first`, followed by those of `changes`.
    pub fn new(
        gateway: GatewayState,
        presenter: Presenter,
        ids: EventIds,
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
            sent: HashMap::new(),
            keep_alive,
            ended: false,
            _permit: permit,
        }
    }

    /// Treats this state as already sent.
    pub fn assume_sent(&mut self, job: &Versioned<Job>) {
        self.sent.insert(job.value.id.clone(), SentState::of(job));
    }

    /// The response: `retry:` once, then the events.
    pub fn into_response(self) -> Response {
        let retry = stream::iter([Ok::<_, Infallible>(retry_frame(RETRY_MS))]);
        let events = stream::unfold(self, |mut events| async move {
            let frame = events.next_frame().await?;
            Some((Ok(frame), events))
        });
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            // nginx and similar proxies then pass every event on at once.
            (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
        ];
        (headers, Body::from_stream(retry.chain(events))).into_response()
    }

    async fn next_frame(&mut self) -> Option<Bytes> {
        while !self.ended {
            let drain = self.gateway.drain().clone();
            let change = if let Some(job) = self.first.pop_front() {
                if self.first.is_empty() {
                    // A stream is idle most of the time, and there may be thousands: give the memory back.
                    self.first = VecDeque::new();
                }
                Some(Ok(job))
            } else {
                tokio::select! {
                    biased;
                    () = drain.cancelled() => {
                        self.ended = true;
                        // A random delay, so that the clients do not all reconnect at the same moment.
                        let jitter = self.gateway.random().next_u64() % RETRY_MS;
                        return Some(retry_frame(RETRY_MS / 2 + jitter));
                    }
                    change = self.changes.next() => change,
                    _ = self.keep_alive.tick() => return Some(Bytes::from_static(b": keep-alive\n\n")),
                }
            };
            let frame = match change {
                Some(Ok(job)) => self.frame_for(&job).await,
                Some(Err(error)) => Err(error),
                None => {
                    self.ended = true;
                    Ok(None)
                }
            };
            match frame {
                Ok(None) => {}
                Ok(Some(frame)) => {
                    self.keep_alive.reset();
                    return Some(frame);
                }
                Err(error) => {
                    // End the stream: the client reconnects and resumes. If the stream went on, this change would be lost.
                    tracing::warn!(op = error.op, %error, "event stream ended");
                    self.ended = true;
                    return Some(retry_frame(RETRY_MS));
                }
            }
        }
        None
    }

    async fn frame_for(&mut self, job: &Versioned<Job>) -> Result<Option<Bytes>, BackendError> {
        let now = SentState::of(job);
        let Some(name) = now.event_name(self.sent.get(&job.value.id)) else {
            if let Some(sent) = self.sent.get_mut(&job.value.id) {
                sent.version = sent.version.max(now.version);
            }
            return Ok(None);
        };
        let view = self.presenter.job(job).await?;
        if self.sent.len() >= MAX_REMEMBERED {
            // A stream of all jobs may stay open for weeks: a repeated event is harmless, unbounded memory is not.
            self.sent.retain(|_, sent| !sent.status.is_final());
        }
        self.sent.insert(job.value.id.clone(), now);
        let id = match self.ids {
            EventIds::Version => job.version.0,
            EventIds::Time => u64::try_from(self.gateway.now().as_millisecond()).unwrap_or_default(),
        };
        Ok(serde_json::to_string(&view).ok().map(|data| event_frame(name, id, &data)))
    }
}

/// `data` is JSON without raw line breaks, so it fits on one `data:` line.
fn event_frame(name: &str, id: impl Display, data: &str) -> Bytes {
    Bytes::from(format!("event: {name}\nid: {id}\ndata: {data}\n\n"))
}

fn retry_frame(ms: u64) -> Bytes {
    Bytes::from(format!("retry: {ms}\n\n"))
}
