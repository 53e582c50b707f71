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

/// Topics and subscriptions. Cloning shares them.
#[derive(Debug, Clone)]
pub struct PubSub(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Told of every change: who waits for something looks again.
    changes: watch::Sender<()>,
    identity: Identity,
    http: reqwest::Client,
}

/// A published message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Given by the service, unique.
    pub id: String,
    /// What it carries.
    pub data: Vec<u8>,
    /// What is written on it.
    pub attributes: BTreeMap<String, String>,
    /// Kept, but nothing is ordered by it.
    pub ordering_key: String,
    /// In milliseconds.
    pub publish_time: Timestamp,
}

/// A message handed out by push or pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Which message.
    pub message_id: String,
    /// How many times, from 1.
    pub attempt: u32,
    /// The HTTP status that a push was answered with. None as long as there is none, and for pull.
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

    /// The services, and their REST twin for administration.
    pub(crate) fn routes(&self) -> Router {
        grpc::routes(self).merge(rest::routes(self))
    }

    /// Makes every wait so many times shorter than documented: retries, pauses, ack deadlines, retention. What clients
    /// may set stays what it is, and so does the end of a wait that has begun.
    ///
    /// # Panics
    /// If `factor` is not a positive number.
    pub fn speed(&self, factor: f64) {
        assert!(factor > 0.0 && factor.is_finite(), "a speed is a positive number, not {factor}");
        self.change(|state| state.speed = factor);
    }

    /// The next acknowledgements get lost: their messages are delivered again, as at-least-once allows.
    pub fn lose_acks(&self, times: usize) {
        self.change(|state| state.lost_acks += times);
    }

    /// What was published to a topic, oldest first (the last 10 000).
    pub fn published(&self, topic: &str) -> Vec<Message> {
        let state = self.lock();
        let published = state.topics.get(topic).map(|topic| topic.published.iter().map(|message| (**message).clone()));
        published.map(Iterator::collect).unwrap_or_default()
    }

    /// What a subscription has not acknowledged, oldest first.
    pub fn messages(&self, subscription: &str) -> Vec<Message> {
        let state = self.lock();
        let messages = state.queues.get(subscription).map(|queue| queue.backlog.messages());
        messages.map(|messages| messages.map(|message| (**message).clone()).collect()).unwrap_or_default()
    }

    /// What a subscription delivered, oldest first (the last 10 000).
    pub fn deliveries(&self, subscription: &str) -> Vec<Delivery> {
        let state = self.lock();
        let deliveries = state.queues.get(subscription).map(|queue| queue.deliveries.iter());
        deliveries.map(|all| all.map(|(_, delivery)| delivery.clone()).collect()).unwrap_or_default()
    }

    /// How many pushes a subscription may have under way.
    pub fn push_window(&self, subscription: &str) -> Option<usize> {
        self.lock().queues.get(subscription).map(|queue| queue.flow.window())
    }

    /// The settings of a subscription.
    pub fn subscription(&self, name: &str) -> Option<resource::Subscription> {
        self.lock().queues.get(name).map(|queue| queue.settings.clone())
    }

    /// Waits until that is so. Looks after every change; give it a time limit.
    pub async fn until(&self, is_so: impl Fn(&Self) -> bool) {
        let mut changes = self.0.changes.subscribe();
        loop {
            changes.borrow_and_update();
            if is_so(self) || changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Does something to the state, and tells who waits.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let done = change(&mut self.lock());
        self.0.changes.send_replace(());
        done
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Now, in milliseconds as the service writes it.
#[expect(clippy::disallowed_methods, reason = "the emulator is the clock of its clients")]
fn now() -> Now {
    let time = Timestamp::now();
    let time = Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time);
    Now { time, instant: Instant::now() }
}
