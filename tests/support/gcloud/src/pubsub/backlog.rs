//! The messages of one subscription that are not acknowledged: which are ready, which are out, which come again when.

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
    /// As an ack id, which nobody but the service reads.
    pub fn to_ack_id(self) -> String {
        format!("{}-{}", self.entry, self.delivery)
    }

    pub fn from_ack_id(id: &str) -> Option<Self> {
        let (entry, delivery) = id.split_once('-')?;
        Some(Self { entry: entry.parse().ok()?, delivery: delivery.parse().ok()? })
    }
}

/// A message that was handed out.
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
    /// Kept for a seek back.
    Acked,
}

impl Backlog {
    pub fn add(&mut self, message: Arc<Message>, now: Instant) {
        self.last_entry += 1;
        let entry = Entry { message, arrived: now, failures: 0, held: Held::Ready { from: now } };
        self.entries.insert(self.last_entry, entry);
    }

    /// Hands out the first message that is ready.
    pub fn take(&mut self, now: Instant, deadline: Duration) -> Option<Taken> {
        let is_ready = |entry: &Entry| matches!(entry.held, Held::Ready { from } if from <= now);
        let (&id, entry) = self.entries.iter_mut().find(|(_, entry)| is_ready(entry))?;
        self.last_delivery += 1;
        entry.held = Held::Out { delivery: self.last_delivery, until: now + deadline };
        let ticket = Ticket { entry: id, delivery: self.last_delivery };
        Some(Taken { ticket, message: Arc::clone(&entry.message), attempt: entry.failures + 1 })
    }

    /// It is done with. False when that delivery is over already.
    pub fn acknowledge(&mut self, ticket: Ticket, retain: bool) -> bool {
        let Some(entry) = self.out(ticket) else { return false };
        entry.held = Held::Acked;
        if !retain {
            self.entries.remove(&ticket.entry);
        }
        true
    }

    /// It failed. Says how often by now, or nothing when that delivery is over already.
    pub fn fail(&mut self, ticket: Ticket) -> Option<u32> {
        let entry = self.out(ticket)?;
        entry.failures += 1;
        Some(entry.failures)
    }

    /// A failed one comes again, not before `from`.
    pub fn retry(&mut self, ticket: Ticket, from: Instant) {
        if let Some(entry) = self.out(ticket) {
            entry.held = Held::Ready { from };
        }
    }

    /// Takes a failed one out for good.
    pub fn remove(&mut self, ticket: Ticket) -> Option<Arc<Message>> {
        self.entries.remove(&ticket.entry).map(|entry| entry.message)
    }

    /// Moves the deadline of a delivery. False when it is over already.
    pub fn extend(&mut self, ticket: Ticket, until: Instant) -> bool {
        let Some(entry) = self.out(ticket) else { return false };
        entry.held = Held::Out { delivery: ticket.delivery, until };
        true
    }

    /// The deliveries whose deadline is over.
    pub fn overdue(&self, now: Instant) -> Vec<Ticket> {
        let overdue = self.entries.iter().filter_map(|(&id, entry)| match entry.held {
            Held::Out { delivery, until } if until <= now => Some(Ticket { entry: id, delivery }),
            _ => None,
        });
        overdue.collect()
    }

    /// Drops what has been here for longer than that.
    pub fn forget(&mut self, now: Instant, retention: Duration) -> bool {
        let before = self.entries.len();
        self.entries.retain(|_, entry| now.duration_since(entry.arrived) < retention);
        self.entries.len() < before
    }

    /// What was published before counts as acknowledged, the rest as not.
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

    /// How many are handed out.
    pub fn outstanding(&self) -> usize {
        self.entries.values().filter(|entry| matches!(entry.held, Held::Out { .. })).count()
    }

    /// What is not acknowledged, oldest first.
    pub fn messages(&self) -> impl Iterator<Item = &Arc<Message>> {
        self.entries.values().filter(|entry| !matches!(entry.held, Held::Acked)).map(|entry| &entry.message)
    }

    /// When something here is to happen next: a deadline over, a message too old, and a message ready for who hands
    /// out what is ready.
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
