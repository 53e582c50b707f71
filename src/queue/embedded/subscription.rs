//! One push subscription: takes messages in turn, pushes them, and notes what the worker answered.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use reqwest::{
    Client, StatusCode,
    header::{CONTENT_TYPE, HeaderValue},
};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    envelope,
    rows::{self, Message},
};
use crate::{
    config::EmbeddedQueueConfig,
    domain::{
        Timestamp,
        clock::{Clock, Random, after, until},
        kind::JobKind,
        message::JobMessage,
        retry::doubled,
        trace::TraceContext,
    },
    embedded::Embedded,
    error,
};

/// Messages that are read ahead.
const READ_AHEAD: usize = 256;
/// How long pushes under way may still take after the stop signal; what is not acknowledged by then comes again.
const DRAIN: Duration = Duration::from_secs(3);
/// The first pause after a worker could not be reached.
const MIN_PAUSE: Duration = Duration::from_millis(100);
/// The longest such pause.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// The wait after the database refused, and the longest sleep: a clock that was set is noticed by then.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const MAX_SLEEP: Duration = Duration::from_secs(30);

/// What came of a push.
enum PushResult {
    /// Acknowledged.
    Ack,
    /// Refused, too late, or cut off in the middle.
    Nack(String),
    /// There was nobody to deliver to.
    Unreachable(String),
}

/// What all subscriptions of a broker share.
pub(super) struct PushContext {
    pub embedded: Embedded,
    pub client: Client,
    pub config: EmbeddedQueueConfig,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
}

/// One push subscription.
pub(super) struct Subscription {
    context: Arc<PushContext>,
    kind: JobKind,
    endpoint: Url,
    slots: Arc<Semaphore>,
    /// Messages that were read and are not settled: waiting for a slot, under way, or being acknowledged.
    held: Mutex<HashSet<i64>>,
    /// Notified when a message is no longer held and will be visible again.
    returned: Notify,
    pause: Mutex<Pause>,
}

/// While the worker cannot be reached nothing is sent.
#[derive(Default)]
struct Pause {
    until: Option<Instant>,
    failures: u32,
}

impl Subscription {
    pub(super) fn new(context: Arc<PushContext>, kind: JobKind, push_url: &Url, max_in_flight: usize) -> Self {
        let mut endpoint = push_url.clone();
        endpoint.set_path(&format!("{}{}", push_url.path().trim_end_matches('/'), kind.endpoint()));
        let slots = Arc::new(Semaphore::new(max_in_flight.clamp(1, Semaphore::MAX_PERMITS)));
        let (held, returned, pause) = (Mutex::default(), Notify::new(), Mutex::default());
        Self { context, kind, endpoint, slots, held, returned, pause }
    }

    /// Delivers until `stop` is cancelled.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        // Whoever ran before and ended by a defect took its pushes along; what it held is nobody's.
        self.held().clear();
        let mut pushes = JoinSet::new();
        let mut ready = VecDeque::new();
        let mut own = self.context.embedded.own_messages();
        let mut foreign = self.context.embedded.foreign_commits();
        loop {
            let next = stop.run_until_cancelled(self.next(&mut ready, &mut own, &mut foreign)).await;
            let Some((slot, message)) = next else { break };
            pushes.spawn(Arc::clone(&self).deliver(message, slot, stop.clone()));
            while let Some(ended) = pushes.try_join_next() {
                report(ended);
            }
        }
        let all = async {
            while let Some(ended) = pushes.join_next().await {
                report(ended);
            }
        };
        // Returning drops, and so aborts, what is still under way.
        let _ = timeout(DRAIN, all).await;
    }

    /// Waits for a slot, a message and a worker that can be reached.
    async fn next(
        &self,
        ready: &mut VecDeque<Message>,
        own: &mut watch::Receiver<u64>,
        foreign: &mut watch::Receiver<u64>,
    ) -> (OwnedSemaphorePermit, Message) {
        loop {
            self.paused().await;
            // The semaphore is never closed; should it ever be, this waits to be cancelled.
            let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else { std::future::pending().await };
            if let Some(message) = ready.pop_front() {
                // While it waited for the slot, the pushes before it may have found nobody there.
                self.paused().await;
                return (slot, message);
            }
            drop(slot);
            // Interest first, then the query: what is committed in between rings again.
            own.mark_unchanged();
            foreign.mark_unchanged();
            let wait = match self.pull(ready).await {
                Ok(_) if !ready.is_empty() => continue,
                Ok(next) => next.map_or(MAX_SLEEP, |at| until(self.context.clock.now(), at).min(MAX_SLEEP)),
                Err(error) => {
                    tracing::warn!(error = %error, "cannot read queue messages; trying again");
                    LOOK_AGAIN
                }
            };
            tokio::select! {
                _ = own.changed() => {}
                _ = foreign.changed() => {}
                () = self.returned.notified() => {}
                () = sleep(wait) => {}
            }
        }
    }

    /// Reads messages ahead; answers when the next will be visible, if these are all.
    async fn pull(&self, ready: &mut VecDeque<Message>) -> crate::queue::Result<Option<Timestamp>> {
        // Copied before the query: a message that is acknowledged meanwhile is either held here or gone there.
        let held = self.held().clone();
        let (kind, now) = (self.kind, self.context.clock.now());
        let pulled =
            self.context.embedded.read("queue.pull", move |db| rows::pull(db, kind, now, READ_AHEAD, &held)).await?;
        self.held().extend(pulled.messages.iter().map(|message| message.id));
        ready.extend(pulled.messages);
        Ok(pulled.next)
    }

    async fn deliver(self: Arc<Self>, message: Message, slot: OwnedSemaphorePermit, stop: CancellationToken) {
        let id = message.id;
        let verdict = self.push(&message).await;
        // The worker is done with this one; writing down its answer must not keep the next from it.
        drop(slot);
        let is_gone = matches!(verdict, PushResult::Ack);
        let settled = match verdict {
            PushResult::Ack => self.context.embedded.write("queue.ack", move |tx| rows::acknowledge(tx, id)).await,
            // The worker stops with its broker and refuses what it has not claimed. That is nobody's failure: the
            // message keeps its count and its place, and comes first after the restart.
            PushResult::Nack(reason) if stop.is_cancelled() => {
                tracing::debug!(message.id = id, reason, "push refused while stopping");
                Ok(())
            }
            PushResult::Nack(reason) => self.refuse(message, &reason).await,
            PushResult::Unreachable(reason) => {
                return self.put_back(id, &format!("the worker cannot be reached: {reason}"));
            }
        };
        match settled {
            Ok(()) => {
                self.reached();
                self.held().remove(&id);
                if !is_gone {
                    self.returned.notify_one();
                }
            }
            // It is delivered once more, which at-least-once allows, but not at once: a full disk would have every message
            // pushed and refused without a pause.
            Err(error) => {
                tracing::warn!(message.id = id, %error, "cannot settle a queue message");
                self.put_back(id, "the database takes no answers");
            }
        }
    }

    /// Lets a message that keeps its count come again, after a pause of all.
    fn put_back(&self, id: i64, reason: &str) {
        self.pause_delivery(reason);
        self.held().remove(&id);
        self.returned.notify_one();
    }

    async fn push(&self, message: &Message) -> PushResult {
        let body = match envelope::body(message, self.kind.subscription()) {
            Ok(body) => body,
            Err(error) => return PushResult::Nack(error.to_string()),
        };
        let mut request = self
            .context
            .client
            .post(self.endpoint.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .timeout(self.context.config.ack_deadline)
            .body(body);
        if let Some(trace) = message.attributes.get("traceparent") {
            request = request.header("traceparent", trace);
        }
        match request.send().await {
            Ok(response) => {
                let status = response.status();
                // Read to its end, the answer leaves the connection free for the next push.
                let _ = response.bytes().await;
                if is_ack(status) { PushResult::Ack } else { PushResult::Nack(format!("answered {status}")) }
            }
            Err(error) if error.is_connect() => PushResult::Unreachable(error::chain(&error)),
            Err(error) => PushResult::Nack(error::chain(&error)),
        }
    }

    async fn refuse(&self, message: Message, reason: &str) -> crate::queue::Result<()> {
        let (id, kind, attempt) = (message.id, self.kind, message.delivery_attempt);
        if attempt >= self.context.config.max_delivery_attempts {
            let about = serde_json::from_slice::<JobMessage>(&message.data).ok();
            let job_id = about.map(|about| about.job_id.to_string());
            let trace = message.attributes.get("traceparent").and_then(|text| text.parse().ok());
            let trace_id = trace.map(|trace: TraceContext| trace.trace_id());
            tracing::warn!(
                job.id = job_id,
                trace_id,
                message.id = id,
                deliveries = attempt,
                reason,
                "message becomes a dead letter"
            );
            return self.context.embedded.write("queue.forward", move |tx| rows::forward(tx, kind, &message)).await;
        }
        let backoff =
            doubled(self.context.config.min_backoff, attempt.saturating_sub(1), self.context.config.max_backoff);
        // Up to a tenth more, so that messages refused together do not all come back together.
        let visible_at = after(self.context.clock.now(), backoff.mul_f64(1.0 + self.context.random.unit() / 10.0));
        tracing::debug!(message.id = id, delivery = attempt, reason, "push refused");
        self.context.embedded.write("queue.nack", move |tx| rows::postpone(tx, id, attempt + 1, visible_at)).await
    }

    /// Holds the whole subscription off for a while, without counting a delivery.
    ///
    /// Pub/Sub would count it. Here the broker and the worker are two halves of one laptop's program: a worker that is
    /// being restarted must not turn five quick connection failures into a dead letter.
    fn pause_delivery(&self, reason: &str) {
        let mut pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        // Pushes that failed together are one failure.
        if pause.until.is_none_or(|until| until <= now) {
            let length = doubled(MIN_PAUSE, pause.failures, MAX_PAUSE);
            pause.until = Some(now + length);
            pause.failures = pause.failures.saturating_add(1);
            if pause.failures == 1 {
                tracing::info!(endpoint = %self.endpoint, reason, "messages wait");
            }
        }
    }

    fn reached(&self) {
        let mut pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        if pause.failures > 0 {
            *pause = Pause::default();
        }
    }

    async fn paused(&self) {
        let until = self.pause.lock().unwrap_or_else(PoisonError::into_inner).until;
        if let Some(until) = until {
            sleep_until(until).await;
        }
    }

    fn held(&self) -> MutexGuard<'_, HashSet<i64>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What counts as an acknowledgement, by Pub/Sub's list. Other 2xx do not.
fn is_ack(status: StatusCode) -> bool {
    matches!(status.as_u16(), 102 | 200 | 201 | 202 | 204)
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(error = %error, "a delivery ended by a defect");
    }
}
