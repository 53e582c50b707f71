//! The unacknowledged messages of one subscription: ready, under delivery, or waiting for redelivery.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::Instant;

use super::Message;

/// One delivery of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    entry: u64,
    delivery: u64,
}

impl Ticket {
    /// As an ack id, which only the service reads.
    pub fn to_ack_id(self) -> String {
        format!("{}-{}", self.entry, self.delivery)
    }

    pub fn from_ack_id(id: &str) -> Option<Self> {
        let (entry, delivery) = id.split_once('-')?;
        Some(Self { entry: entry.parse().ok()?, delivery: delivery.parse().ok()? })
    }
}

/// A message under delivery.
#[derive(Debug, Clone)]
pub struct Taken {
    pub ticket: Ticket,
    pub message: Arc<Message>,
    /// From 1.
    pub attempt: u32,
}

#[derive(Debug, Default)]
pub struct Backlog {
    entries: BTreeMap<u64, Entry>,
    last_entry: u64,
    last_delivery: u64,
}

#[derive(Debug)]
struct Entry {
    message: Arc<Message>,
    arrived: Instant,
    /// Negative acknowledgements and expired deadlines.
    failures: u32,
    held: Held,
}

#[derive(Debug, Clone, Copy)]
enum Held {
    Ready {
        from: Instant,
    },
    Out {
        delivery: u64,
        until: Instant,
    },
    /// Acknowledged messages, kept for a seek to the past.
    Acked,
}

impl Backlog {
    pub fn add(&mut self, message: Arc<Message>, now: Instant) {
        self.last_entry += 1;
        let entry = Entry { message, arrived: now, failures: 0, held: Held::Ready { from: now } };
        self.entries.insert(self.last_entry, entry);
    }

    /// Starts the delivery of the first ready message.
    pub fn take(&mut self, now: Instant, deadline: Duration) -> Option<Taken> {
        let is_ready = |entry: &Entry| matches!(entry.held, Held::Ready { from } if from <= now);
        let (&id, entry) = self.entries.iter_mut().find(|(_, entry)| is_ready(entry))?;
        self.last_delivery += 1;
        entry.held = Held::Out { delivery: self.last_delivery, until: now + deadline };
        let ticket = Ticket { entry: id, delivery: self.last_delivery };
        Some(Taken { ticket, message: Arc::clone(&entry.message), attempt: entry.failures + 1 })
    }

    /// Acknowledges a delivery. Returns false if the delivery is already over.
    pub fn acknowledge(&mut self, ticket: Ticket, retain: bool) -> bool {
        let Some(entry) = self.out(ticket) else { return false };
        entry.held = Held::Acked;
        if !retain {
            self.entries.remove(&ticket.entry);
        }
        true
    }

    /// Fails a delivery. Returns the number of failures of the message, or `None` if the delivery is already over.
    pub fn fail(&mut self, ticket: Ticket) -> Option<u32> {
        let entry = self.out(ticket)?;
        entry.failures += 1;
        Some(entry.failures)
    }

    /// Redelivers a failed message, not before `from`.
    pub fn retry(&mut self, ticket: Ticket, from: Instant) {
        if let Some(entry) = self.out(ticket) {
            entry.held = Held::Ready { from };
        }
    }

    /// Removes a failed message.
    pub fn remove(&mut self, ticket: Ticket) -> Option<Arc<Message>> {
        self.entries.remove(&ticket.entry).map(|entry| entry.message)
    }

    /// Changes the deadline of a delivery. Returns false if the delivery is already over.
    pub fn extend(&mut self, ticket: Ticket, until: Instant) -> bool {
        let Some(entry) = self.out(ticket) else { return false };
        entry.held = Held::Out { delivery: ticket.delivery, until };
        true
    }

    /// The deliveries whose deadline has passed.
    pub fn overdue(&self, now: Instant) -> Vec<Ticket> {
        let overdue = self.entries.iter().filter_map(|(&id, entry)| match entry.held {
            Held::Out { delivery, until } if until <= now => Some(Ticket { entry: id, delivery }),
            _ => None,
        });
        overdue.collect()
    }

    /// Drops the messages that are older than the retention.
    pub fn forget(&mut self, now: Instant, retention: Duration) -> bool {
        let before = self.entries.len();
        self.entries.retain(|_, entry| now.duration_since(entry.arrived) < retention);
        self.entries.len() < before
    }

    /// Messages published before this moment count as acknowledged, later ones as not.
    pub fn seek(&mut self, time: Timestamp, now: Instant, retain: bool) {
        for entry in self.entries.values_mut() {
            if entry.message.publish_time < time {
                entry.held = Held::Acked;
            } else if matches!(entry.held, Held::Acked) {
                (entry.held, entry.failures) = (Held::Ready { from: now }, 0);
            }
        }
        if !retain {
            self.entries.retain(|_, entry| !matches!(entry.held, Held::Acked));
        }
    }

    /// The number of messages under delivery.
    pub fn outstanding(&self) -> usize {
        self.entries.values().filter(|entry| matches!(entry.held, Held::Out { .. })).count()
    }

    /// The unacknowledged messages, oldest first.
    pub fn messages(&self) -> impl Iterator<Item = &Arc<Message>> {
        self.entries.values().filter(|entry| !matches!(entry.held, Held::Acked)).map(|entry| &entry.message)
    }

    /// The next moment at which something happens: a deadline passes, a message becomes too old, or (for the pusher) a
    /// message becomes ready.
    pub fn next_event(&self, retention: Duration, hands_out: bool) -> Option<Instant> {
        let of = |entry: &Entry| {
            let forgotten = entry.arrived + retention;
            match entry.held {
                Held::Ready { from } if hands_out => from.min(forgotten),
                Held::Out { until, .. } => until.min(forgotten),
                Held::Ready { .. } | Held::Acked => forgotten,
            }
        };
        self.entries.values().map(of).min()
    }

    fn out(&mut self, ticket: Ticket) -> Option<&mut Entry> {
        let is_out = |held: Held| matches!(held, Held::Out { delivery, .. } if delivery == ticket.delivery);
        self.entries.get_mut(&ticket.entry).filter(|entry| is_out(entry.held))
    }
}
