//! One push subscription: reads messages in order, pushes them, and records the replies.

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

/// How many messages are read ahead.
const READ_AHEAD: usize = 256;
/// How long pushes in progress may take after the stop signal. A message that is not acknowledged by then is pushed again.
const DRAIN: Duration = Duration::from_secs(3);
/// The first pause after the worker was unreachable.
const MIN_PAUSE: Duration = Duration::from_millis(100);
/// The longest such pause.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// The wait after a failed read, and the longest wait for a message: it limits the delay after the clock was set back.
const RETRY_READ: Duration = Duration::from_secs(1);
const MAX_SLEEP: Duration = Duration::from_secs(30);

/// The result of a push.
enum PushResult {
    /// Acknowledged.
    Ack,
    /// Refused, too late, or interrupted.
    Nack(String),
    /// No connection to the worker.
    Unreachable(String),
}

/// Shared by all subscriptions of a broker.
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
    /// Messages that were read and are not settled: waiting for a slot, in progress, or being acknowledged.
    in_memory: Mutex<HashSet<i64>>,
    /// Notified when a message leaves `in_memory` and will be visible again.
    returned: Notify,
    pause: Mutex<Pause>,
}

/// Nothing is pushed while the worker is unreachable.
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
        let (in_memory, returned, pause) = (Mutex::default(), Notify::new(), Mutex::default());
        Self { context, kind, endpoint, slots, in_memory, returned, pause }
    }

    /// Delivers until `stop` is cancelled.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        // If a previous run panicked, its pushes ended with it, and its messages must be read again.
        self.in_memory().clear();
        let mut pushes = JoinSet::new();
        let mut ready = VecDeque::new();
        let mut own = self.context.embedded.own_messages();
        let mut foreign = self.context.embedded.foreign_commits();
        loop {
            let next = stop.run_until_cancelled(self.next(&mut ready, &mut own, &mut foreign)).await;
            let Some((slot, message)) = next else { break };
            pushes.spawn(Arc::clone(&self).deliver(message, slot, stop.clone()));
            while let Some(ended) = pushes.try_join_next() {
                log_panic(ended);
            }
        }
        let all = async {
            while let Some(ended) = pushes.join_next().await {
                log_panic(ended);
            }
        };
        // Returning drops and thereby aborts the remaining pushes.
        let _ = timeout(DRAIN, all).await;
    }

    /// Waits for a slot, a message and the end of a pause.
    async fn next(
        &self,
        ready: &mut VecDeque<Message>,
        own: &mut watch::Receiver<u64>,
        foreign: &mut watch::Receiver<u64>,
    ) -> (OwnedSemaphorePermit, Message) {
        loop {
            self.wait_for_pause().await;
            // The semaphore is never closed. If it were, this would wait for the stop signal.
            let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else { std::future::pending().await };
            if let Some(message) = ready.pop_front() {
                // Meanwhile other pushes may have found the worker unreachable.
                self.wait_for_pause().await;
                return (slot, message);
            }
            drop(slot);
            // Marks before the query, so that a commit during the query wakes this task again.
            own.mark_unchanged();
            foreign.mark_unchanged();
            let wait = match self.pull(ready).await {
                Ok(_) if !ready.is_empty() => continue,
                Ok(next) => next.map_or(MAX_SLEEP, |at| until(self.context.clock.now(), at).min(MAX_SLEEP)),
                Err(error) => {
                    tracing::warn!(error = %error, "cannot read queue messages; trying again");
                    RETRY_READ
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

    /// Reads messages ahead. If these are all, returns when the next one becomes visible.
    async fn pull(&self, ready: &mut VecDeque<Message>) -> crate::queue::Result<Option<Timestamp>> {
        // Copied before the query: a message that is acknowledged meanwhile is in this copy or no longer in the table.
        let in_memory = self.in_memory().clone();
        let (kind, now) = (self.kind, self.context.clock.now());
        let pulled = self
            .context
            .embedded
            .read("queue.pull", move |db| rows::pull(db, kind, now, READ_AHEAD, &in_memory))
            .await?;
        self.in_memory().extend(pulled.messages.iter().map(|message| message.id));
        ready.extend(pulled.messages);
        Ok(pulled.next)
    }

    async fn deliver(self: Arc<Self>, message: Message, slot: OwnedSemaphorePermit, stop: CancellationToken) {
        let id = message.id;
        let result = self.push(&message).await;
        // The worker has replied; the next push need not wait until the reply is recorded.
        drop(slot);
        let is_gone = matches!(result, PushResult::Ack);
        let settled = match result {
            PushResult::Ack => self.context.embedded.write("queue.ack", move |tx| rows::acknowledge(tx, id)).await,
            // The worker stops together with its broker and refuses what it has not claimed. The message keeps its count
            // and its place, and is pushed first after the restart.
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
                self.end_pause();
                self.in_memory().remove(&id);
                if !is_gone {
                    self.returned.notify_one();
                }
            }
            // The message is pushed again, but after a pause: with a full disk, every message would otherwise be pushed and
            // refused in a tight loop.
            Err(error) => {
                tracing::warn!(message.id = id, %error, "cannot settle a queue message");
                self.put_back(id, "the database cannot record replies");
            }
        }
    }

    /// Makes a message available again with the same count, after a pause of the subscription.
    fn put_back(&self, id: i64, reason: &str) {
        self.pause_delivery(reason);
        self.in_memory().remove(&id);
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
                // A connection is reused only after the response has been read to its end.
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
        // Up to a tenth more, so that messages that were refused together are not all pushed again together.
        let visible_at = after(self.context.clock.now(), backoff.mul_f64(1.0 + self.context.random.unit() / 10.0));
        tracing::debug!(message.id = id, delivery = attempt, reason, "push refused");
        self.context.embedded.write("queue.nack", move |tx| rows::postpone(tx, id, attempt + 1, visible_at)).await
    }

    /// Pauses the whole subscription for a while, without counting a delivery.
    ///
    /// Pub/Sub would count it. Here the broker and the worker usually run on one machine, and five quick connection
    /// failures during a restart of the worker must not make a dead letter.
    fn pause_delivery(&self, reason: &str) {
        let mut pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        // Pushes that failed together count as one failure.
        if pause.until.is_none_or(|until| until <= now) {
            let length = doubled(MIN_PAUSE, pause.failures, MAX_PAUSE);
            pause.until = Some(now + length);
            pause.failures = pause.failures.saturating_add(1);
            if pause.failures == 1 {
                tracing::info!(endpoint = %self.endpoint, reason, "messages wait");
            }
        }
    }

    fn end_pause(&self) {
        let mut pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        if pause.failures > 0 {
            *pause = Pause::default();
        }
    }

    async fn wait_for_pause(&self) {
        let until = self.pause.lock().unwrap_or_else(PoisonError::into_inner).until;
        if let Some(until) = until {
            sleep_until(until).await;
        }
    }

    fn in_memory(&self) -> MutexGuard<'_, HashSet<i64>> {
        self.in_memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a status acknowledges a message: the list of Pub/Sub, which omits some 2xx.
fn is_ack(status: StatusCode) -> bool {
    matches!(status.as_u16(), 102 | 200 | 201 | 202 | 204)
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(error = %error, "a delivery panicked");
    }
}
