//! One task for each subscription: it pushes ready messages and ends deliveries that take too long.

use std::time::Duration;

use reqwest::header;
use serde_json::Value;
use tokio::{task::JoinSet, time::Instant};

use super::{
    PubSub,
    backlog::Ticket,
    envelope,
    queue::{Dead, Queue},
    resource::{OidcToken, PushConfig},
    state::{Now, State},
};

/// The next step of the task.
enum Step {
    Push(Box<Push>),
    /// Wait until this moment, or until a change.
    Wait(Option<Instant>),
    /// The subscription is gone.
    End,
}

struct Push {
    config: PushConfig,
    body: Value,
    timeout: Duration,
    ticket: Ticket,
}

/// Serves one subscription until it is deleted.
pub async fn serve(pubsub: PubSub, name: String, number: u64) {
    let mut changes = pubsub.0.changes.subscribe();
    let mut pushes = JoinSet::new();
    loop {
        changes.borrow_and_update();
        match pubsub.step(&name, number) {
            Step::Push(push) => {
                pushes.spawn(push.send(pubsub.clone(), name.clone(), number));
            }
            Step::Wait(until) => tokio::select! {
                told = changes.changed() => if told.is_err() { return },
                Some(_) = pushes.join_next() => {}
                () = tokio::time::sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {}
            },
            Step::End => return,
        }
    }
}

impl PubSub {
    fn step(&self, name: &str, number: u64) -> Step {
        let now = super::now();
        let mut state = self.lock();
        let (is_changed, step) = state.step(name, number, now);
        drop(state);
        if is_changed {
            self.0.changes.send_replace(());
        }
        step
    }

    /// Handles the response to a push, or its absence.
    fn settle(&self, name: &str, number: u64, ticket: Ticket, answer: Option<u16>) {
        let now = super::now();
        self.change(|state| state.settle(name, number, ticket, answer, now));
    }
}

impl State {
    /// Also returns whether anything changed.
    fn step(&mut self, name: &str, number: u64, now: Now) -> (bool, Step) {
        let is_changed = self.expire(name, now);
        let speed = self.speed;
        let Some(queue) = self.queues.get_mut(name).filter(|queue| queue.number == number) else {
            return (is_changed, Step::End);
        };
        let pause = queue.flow.pause(now.instant);
        let may_push = queue.is_push() && queue.backlog.outstanding() < queue.flow.window();
        if may_push
            && pause.is_none()
            && let Some(push) = queue.next_push(now.instant, speed)
        {
            return (true, Step::Push(Box::new(push)));
        }
        let next = queue.backlog.next_event(queue.retention(speed), may_push && pause.is_none());
        let next = next.into_iter().chain(pause.filter(|_| may_push)).min();
        (is_changed, Step::Wait(next))
    }

    /// Ends deliveries that take too long and drops messages that are too old. Returns whether there were any.
    pub fn expire(&mut self, name: &str, now: Now) -> bool {
        let speed = self.speed;
        let Some(queue) = self.queues.get_mut(name) else { return false };
        let is_any_old = queue.backlog.forget(now.instant, queue.retention(speed));
        let overdue = queue.backlog.overdue(now.instant);
        let is_any_overdue = !overdue.is_empty();
        for ticket in overdue {
            self.fail(name, ticket, now);
        }
        is_any_old || is_any_overdue
    }

    /// A delivery failed.
    pub fn fail(&mut self, name: &str, ticket: Ticket, now: Now) {
        let (speed, is_open) = (self.speed, self.is_dead_letter_topic_open(name));
        let Some(queue) = self.queues.get_mut(name) else { return };
        let (was_out, dead) = queue.fail(ticket, now, speed, is_open);
        if was_out && queue.is_push() {
            queue.flow.nacked(now.instant, speed);
        }
        let dead: Vec<Dead> = dead.into_iter().collect();
        self.record_dead_letter(dead, now);
    }

    fn settle(&mut self, name: &str, number: u64, ticket: Ticket, answer: Option<u16>, now: Now) {
        let Some(queue) = self.queues.get_mut(name).filter(|queue| queue.number == number) else { return };
        queue.answered(ticket, answer);
        let is_ack = answer.is_some_and(|answer| [102, 200, 201, 202, 204].contains(&answer));
        if is_ack && self.lost_acks > 0 {
            self.lost_acks -= 1;
            queue.backlog.retry(ticket, now.instant);
        } else if is_ack && queue.acknowledge(ticket) {
            queue.flow.acked();
        } else if !is_ack {
            self.fail(name, ticket, now);
        }
    }

    fn is_dead_letter_topic_open(&self, name: &str) -> bool {
        let policy = self.queues.get(name).and_then(|queue| queue.settings.dead_letter_policy.as_ref());
        policy.is_some_and(|policy| self.topics.contains_key(&policy.dead_letter_topic))
    }
}

impl Queue {
    fn next_push(&mut self, now: Instant, speed: f64) -> Option<Push> {
        let taken = self.take(now, speed)?;
        let body = envelope::of(&taken.message, self.attempt(&taken), &self.settings.name);
        let config = self.settings.push_config.clone();
        Some(Push { config, body, timeout: self.deadline(speed), ticket: taken.ticket })
    }
}

impl Push {
    async fn send(self, pubsub: PubSub, name: String, number: u64) {
        let mut request = pubsub.0.http.post(&self.config.push_endpoint).timeout(self.timeout).json(&self.body);
        if let Some(OidcToken { service_account_email: email, audience }) = &self.config.oidc_token {
            let audience = if audience.is_empty() { &self.config.push_endpoint } else { audience };
            let token = pubsub.0.identity.push_token(email, audience);
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let answer = request.header(header::USER_AGENT, "CloudPubSub-Google").send().await;
        if let Err(error) = &answer {
            tracing::debug!(%error, endpoint = self.config.push_endpoint, "a push had no answer");
        }
        let answer = answer.ok().map(|answer| answer.status().as_u16());
        pubsub.settle(&name, number, self.ticket, answer);
    }
}
