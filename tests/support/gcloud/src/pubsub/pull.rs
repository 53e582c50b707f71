//! Pull, acknowledge and seek.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use super::{
    PubSub,
    backlog::{Taken, Ticket},
    limits,
};

/// How long a pull waits for a first message.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A pulled message.
#[derive(Debug)]
pub struct Pulled {
    pub taken: Taken,
    /// Sent only if the subscription has a dead-letter topic.
    pub attempt: Option<u32>,
}

impl PubSub {
    /// Up to `most` messages. Without a message it waits before it returns none, unless `immediately` is set.
    pub async fn pull(&self, subscription: &str, most: i32, is_immediate: bool) -> Result<Vec<Pulled>, Status> {
        let most = usize::try_from(most).ok().filter(|most| *most > 0);
        let most = most.ok_or_else(|| Status::invalid_argument("max_messages is at least 1"))?;
        let timeout = TIMEOUT.div_f64(self.lock().speed);
        let give_up = Instant::now() + if is_immediate { Duration::ZERO } else { timeout };
        let mut changes = self.0.changes.subscribe();
        loop {
            changes.borrow_and_update();
            let (pulled, next) = self.try_pull(subscription, most)?;
            if !pulled.is_empty() || Instant::now() >= give_up {
                return Ok(pulled);
            }
            // A message can become ready by itself when its backoff ends.
            let _ = timeout_at(next.map_or(give_up, |next| next.min(give_up)), changes.changed()).await;
        }
    }

    /// Also returns when to check again.
    fn try_pull(&self, subscription: &str, most: usize) -> Result<(Vec<Pulled>, Option<Instant>), Status> {
        let now = super::now();
        let mut state = self.lock();
        let speed = state.speed;
        let queue = state.queue(subscription)?;
        if queue.is_push() {
            return Err(Status::failed_precondition("a subscription that is pushed cannot be pulled"));
        }
        let taken = std::iter::from_fn(|| queue.take(now.instant, speed)).take(most).collect::<Vec<_>>();
        let pulled: Vec<_> = taken.into_iter().map(|taken| Pulled { attempt: queue.attempt(&taken), taken }).collect();
        let next = queue.backlog.next_event(queue.retention(speed), true);
        drop(state);
        if !pulled.is_empty() {
            self.0.changes.send_replace(());
        }
        Ok((pulled, next))
    }

    /// A delivery that is already over stays as it is: a second or late acknowledgement is not an error.
    pub fn acknowledge(&self, subscription: &str, ack_ids: &[String]) -> Result<(), Status> {
        let tickets = tickets(ack_ids)?;
        self.change(|state| {
            state.queue(subscription)?;
            for ticket in tickets {
                if state.lost_acks > 0 {
                    state.lost_acks -= 1;
                    state.queue(subscription)?.backlog.retry(ticket, Instant::now());
                } else {
                    state.queue(subscription)?.acknowledge(ticket);
                }
            }
            Ok(())
        })
    }

    /// Zero seconds is a negative acknowledgement.
    pub fn modify_ack_deadline(&self, subscription: &str, ack_ids: &[String], seconds: i32) -> Result<(), Status> {
        let tickets = tickets(ack_ids)?;
        limits::check_deadline(seconds, 0)?;
        let now = super::now();
        self.change(|state| {
            let speed = state.speed;
            state.queue(subscription)?;
            for ticket in tickets {
                if seconds == 0 {
                    state.fail(subscription, ticket, now);
                } else {
                    let longer = Duration::from_secs(seconds.unsigned_abs().into()).div_f64(speed);
                    state.queue(subscription)?.backlog.extend(ticket, now.instant + longer);
                }
            }
            Ok(())
        })
    }

    /// Messages published before this time become acknowledged; later ones become unacknowledged if they are still kept.
    pub fn seek(&self, subscription: &str, time: Timestamp) -> Result<(), Status> {
        let now = super::now();
        self.change(|state| {
            let queue = state.queue(subscription)?;
            queue.backlog.seek(time, now.instant, queue.settings.retain_acked_messages);
            Ok(())
        })
    }
}

fn tickets(ack_ids: &[String]) -> Result<Vec<Ticket>, Status> {
    if ack_ids.is_empty() {
        return Err(Status::invalid_argument("ack_ids has at least one"));
    }
    let ticket = |id: &String| {
        Ticket::from_ack_id(id).ok_or_else(|| Status::invalid_argument(format!("{id:?} is not an ack id")))
    };
    ack_ids.iter().map(ticket).collect()
}
