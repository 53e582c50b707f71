//! Pub/Sub: topics, subscriptions, push and pull.

mod backlog;
mod data;
mod envelope;
mod flow;
mod grpc;
mod limits;
mod mask;
mod pull;
mod push;
mod queue;
pub mod resource;
mod rest;
mod state;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::Router;
use jiff::Timestamp;
use tokio::{sync::watch, time::Instant};

use crate::Identity;
use state::{Now, State};

/// Topics and subscriptions. Clones share them.
#[derive(Debug, Clone)]
pub struct PubSub(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Notified of every change, so that waiting callers check again.
    changes: watch::Sender<()>,
    identity: Identity,
    http: reqwest::Client,
}

/// A published message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Assigned by the service, unique.
    pub id: String,
    /// The data.
    pub data: Vec<u8>,
    /// The attributes.
    pub attributes: BTreeMap<String, String>,
    /// Kept, but without effect.
    pub ordering_key: String,
    /// The time of publication, in whole milliseconds.
    pub publish_time: Timestamp,
}

/// A delivery by push or pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The message's id.
    pub message_id: String,
    /// The number of the delivery of this message, from 1.
    pub attempt: u32,
    /// The HTTP status of the response to a push. `None` until it arrives, and for a pull.
    pub answer: Option<u16>,
}

impl PubSub {
    pub(crate) fn new(identity: Identity) -> Self {
        let (state, changes) = (Mutex::default(), watch::Sender::new(()));
        // Redirects are not followed: a 3xx is a negative acknowledgement.
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build();
        let http = http.expect("a client without settings of its own can be built");
        Self(Arc::new(Shared { state, changes, identity, http }))
    }

    /// The gRPC services and the REST API.
    pub(crate) fn routes(&self) -> Router {
        grpc::routes(self).merge(rest::routes(self))
    }

    /// Makes every wait shorter than documented by this factor: retries, pauses, ack deadlines, retention. The limits of
    /// settings stay the same, and so does the end of a wait that has already begun.
    ///
    /// # Panics
    /// If `factor` is not a positive number.
    pub fn speed(&self, factor: f64) {
        assert!(factor > 0.0 && factor.is_finite(), "a speed is a positive number, not {factor}");
        self.change(|state| state.speed = factor);
    }

    /// Loses the next acknowledgements: their messages are delivered again, as at-least-once delivery allows.
    pub fn lose_acks(&self, times: usize) {
        self.change(|state| state.lost_acks += times);
    }

    /// The messages published to a topic, oldest first (the last 10 000).
    pub fn published(&self, topic: &str) -> Vec<Message> {
        let state = self.lock();
        let published = state.topics.get(topic).map(|topic| topic.published.iter().map(|message| (**message).clone()));
        published.map(Iterator::collect).unwrap_or_default()
    }

    /// The unacknowledged messages of a subscription, oldest first.
    pub fn messages(&self, subscription: &str) -> Vec<Message> {
        let state = self.lock();
        let messages = state.queues.get(subscription).map(|queue| queue.backlog.messages());
        messages.map(|messages| messages.map(|message| (**message).clone()).collect()).unwrap_or_default()
    }

    /// The deliveries of a subscription, oldest first (the last 10 000).
    pub fn deliveries(&self, subscription: &str) -> Vec<Delivery> {
        let state = self.lock();
        let deliveries = state.queues.get(subscription).map(|queue| queue.deliveries.iter());
        deliveries.map(|all| all.map(|(_, delivery)| delivery.clone()).collect()).unwrap_or_default()
    }

    /// The largest number of concurrent pushes of a subscription.
    pub fn push_window(&self, subscription: &str) -> Option<usize> {
        self.lock().queues.get(subscription).map(|queue| queue.flow.window())
    }

    /// The settings of a subscription.
    pub fn subscription(&self, name: &str) -> Option<resource::Subscription> {
        self.lock().queues.get(name).map(|queue| queue.settings.clone())
    }

    /// Waits until the condition holds. It is checked after every change; the caller sets a time limit.
    pub async fn until(&self, is_so: impl Fn(&Self) -> bool) {
        let mut changes = self.0.changes.subscribe();
        loop {
            changes.borrow_and_update();
            if is_so(self) || changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Changes the state and notifies waiting callers.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let done = change(&mut self.lock());
        self.0.changes.send_replace(());
        done
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The current time in whole milliseconds, as the service writes it.
#[expect(clippy::disallowed_methods, reason = "the emulator is the clock of its clients")]
fn now() -> Now {
    let time = Timestamp::now();
    let time = Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time);
    Now { time, instant: Instant::now() }
}
