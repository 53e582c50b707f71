//! The queue: delivers mostly at least once, but also late, early, twice, out of order, and sometimes not at all.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::{
    body::Body,
    http::{Request, header},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use mediaforge::{
    domain::{clock::until, job::Dispatch, kind::JobKind, message::DeadLetter},
    error::{BackendError, ErrorKind},
    queue::{JobQueue, MessageId, Result, StoredDeadLetter},
};
use tokio::time::{sleep, timeout};
use tower::ServiceExt as _;

use crate::{
    plan::Fault,
    process::{Fate, Process},
    world::World,
};

/// How often a message is delivered at most, as in a Pub/Sub subscription.
const MOST_DELIVERIES: u32 = 5;

/// The dead letters, by key.
#[derive(Default)]
pub struct DeadLetters {
    pub recorded: BTreeMap<String, u64>,
    messages: u64,
}

pub struct SimQueue(pub Arc<Process>);

#[async_trait]
impl JobQueue for SimQueue {
    fn delays(&self) -> bool {
        true
    }

    async fn publish(&self, dispatch: &Dispatch) -> Result<MessageId> {
        let world = &self.0.world;
        let fate = if world.strikes(Fault::PublishFails) {
            Fate::Refused(ErrorKind::Unavailable)
        } else if world.strikes(Fault::PublishReplyLost) {
            Fate::ReplyLost
        } else {
            Fate::Fine
        };
        let (dispatch, id) = (dispatch.clone(), dispatch.message.job_id.clone());
        let publish = move |by: &Process| Ok(accept(&by.world, &dispatch));
        self.0.call("queue.publish", id.as_str(), fate, publish).await
    }

    async fn record_dead_letter(&self, dead_letter: &DeadLetter) -> Result<MessageId> {
        let world = &self.0.world;
        let fate = if world.strikes(Fault::LetterFails) {
            Fate::Refused(ErrorKind::Unavailable)
        } else if world.strikes(Fault::LetterReplyLost) {
            Fate::ReplyLost
        } else {
            Fate::Fine
        };
        let key = dead_letter.key.clone();
        let record = move |by: &Process| {
            by.world.dead_letters.lock().expect("a lock").recorded.entry(key.clone()).or_insert(1);
            by.world.count("dead letter recorded");
            Ok(MessageId(key))
        };
        self.0.call("queue.dead_letter", &dead_letter.key, fate, record).await
    }

    async fn dead_letters(&self, _limit: usize) -> Result<Vec<StoredDeadLetter>> {
        Err(not_simulated("queue.dead_letters"))
    }

    async fn discard_dead_letters(&self, _keys: &[String]) -> Result<usize> {
        Err(not_simulated("queue.discard"))
    }

    async fn purge_dead_letters(&self) -> Result<()> {
        Err(not_simulated("queue.purge"))
    }

    async fn ping(&self) -> Result<()> {
        self.0.call("queue.ping", "", Fate::Fine, |_| Ok(())).await
    }
}

fn not_simulated(op: &'static str) -> BackendError {
    BackendError::new(ErrorKind::Internal, op).because("the simulated queue has no operators")
}

/// A message in flight.
struct Message {
    id: u64,
    kind: JobKind,
    about: String,
    data: Vec<u8>,
    attributes: BTreeMap<String, String>,
}

fn accept(world: &Arc<World>, dispatch: &Dispatch) -> MessageId {
    let id = {
        let mut dead_letters = world.dead_letters.lock().expect("a lock");
        dead_letters.messages += 1;
        dead_letters.messages
    };
    let name = MessageId(id.to_string());
    if world.strikes(Fault::MessageDropped) {
        return name;
    }
    let mut data = dispatch.message.data();
    if world.strikes(Fault::MessageGarbled) {
        data.truncate(data.len() / 2);
    }
    let wait =
        if world.strikes(Fault::MessageEarly) { Duration::ZERO } else { until(world.now(), dispatch.not_before) };
    let copies =
        1 + u32::from(world.strikes(Fault::MessageDuplicated)) + u32::from(world.strikes(Fault::MessageDuplicated));
    for _ in 0..copies {
        let late = if world.strikes(Fault::MessageDelayed) {
            world.dice.millis(1_000, 60_000)
        } else {
            world.dice.millis(1, 200)
        };
        let message = Message {
            id,
            kind: dispatch.message.kind,
            about: dispatch.message.job_id.to_string(),
            data: data.clone(),
            attributes: dispatch.message.attributes(),
        };
        tokio::spawn(deliver(Arc::clone(world), message, wait + late));
    }
    name
}

/// Pushes a message until it is acknowledged.
async fn deliver(world: Arc<World>, message: Message, first: Duration) {
    let mut wait = first;
    for delivery in 1..=MOST_DELIVERIES {
        sleep(wait).await;
        let acknowledged = push(&world, &message, delivery).await;
        if acknowledged && !world.strikes(Fault::AckLost) {
            return;
        }
        wait = world.dice.millis(500, 10_000) * delivery;
    }
    world.count("message given up by the queue");
}

/// Pushes once and returns whether the worker acknowledged.
async fn push(world: &Arc<World>, message: &Message, delivery: u32) -> bool {
    let Some(worker) = world.some_worker() else { return false };
    let name = &worker.process.name;
    world.event(name, "gets", &message.about, || format!("message {}, delivery {delivery}", message.id));
    world.count(if delivery > 1 { "message delivered again" } else { "message delivered" });
    let body = serde_json::json!({
        "deliveryAttempt": delivery,
        "subscription": message.kind.subscription(),
        "message": {
            "data": STANDARD.encode(&message.data),
            "messageId": message.id.to_string(),
            "message_id": message.id.to_string(),
            "attributes": message.attributes,
        }
    });
    let request = Request::post(message.kind.endpoint()).header(header::CONTENT_TYPE, "application/json");
    let request = request.body(Body::from(body.to_string())).expect("a request");
    let answer = async {
        worker.process.runs().await;
        let Some(router) = worker.router.clone() else { return false };
        router.oneshot(request).await.expect("a router does not fail").status().is_success()
    };
    let within = world.plan.worker.attempt.timeout * 2 + world.plan.worker.slot_wait;
    let acknowledged = tokio::select! {
        biased;
        () = worker.process.died.cancelled() => false,
        answer = timeout(within, answer) => answer.unwrap_or(false),
    };
    world.event(name, if acknowledged { "acknowledges" } else { "refuses" }, &message.about, || message.id.to_string());
    acknowledged
}
