//! Dead letters, read with single pulls. The official client can only stream, and a stream also holds messages that it has
//! not shown yet.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::Duration,
};

use gcloud_sdk::{
    GoogleApi, GoogleAuthMiddleware, RequestTimeouts,
    google::pubsub::v1::{
        AcknowledgeRequest, ModifyAckDeadlineRequest, PubsubMessage, PullRequest, ReceivedMessage, SeekRequest,
        seek_request::Target, subscriber_client::SubscriberClient,
    },
    prost_types,
};
use sha2::{Digest as _, Sha256};
use tokio::{sync::OnceCell, time::Instant};

use crate::{
    domain::{
        Timestamp,
        clock::{Clock as _, SystemClock},
        message::DEAD_LETTER_SUBSCRIPTION,
    },
    error::{BackendError, ErrorKind},
    google::pubsub::{PubSubProject, explained_status},
    queue::{Result, StoredDeadLetter, dead_letter},
};

type Client = SubscriberClient<GoogleAuthMiddleware>;

/// The time limit of a call, and of the connection before it.
const CALL: Duration = Duration::from_secs(10);
/// The time limit of a search. Shorter than the ack deadline, so that the service does not deliver a held message again.
const SEARCH: Duration = Duration::from_secs(30);
/// Messages in one pull. A dead letter usually has a few hundred bytes, an unreadable one up to 10 MB.
const PULL: i32 = 100;
/// Acknowledgements in one request, which is limited to 512 KiB.
const ACKS: usize = 1_000;
/// A pull may return nothing although there are messages. This many empty pulls in a row mean that there are none.
const EMPTY_PULLS: u32 = 2;

/// The subscription of dead letters for operators.
pub(super) struct DeadLetters {
    project: PubSubProject,
    subscription: String,
    client: OnceCell<GoogleApi<Client>>,
}

/// What to do with a message of a search.
enum SearchStep {
    /// Keep the message.
    Keep,
    /// Acknowledge the message.
    Remove,
    /// Keep the message and end the search.
    Stop,
}

impl DeadLetters {
    pub(super) fn new(project: PubSubProject) -> Self {
        let subscription = project.subscription(DEAD_LETTER_SUBSCRIPTION);
        Self { project, subscription, client: OnceCell::new() }
    }

    /// Up to `limit` dead letters, each key once, oldest first.
    pub(super) async fn peek(&self, limit: usize) -> Result<Vec<StoredDeadLetter>> {
        let mut found = HashMap::<String, StoredDeadLetter>::new();
        if limit > 0 {
            let look = |message: &PubsubMessage| {
                let dead_letter = read(message);
                // A pull may return more than `limit`. Further copies of a known key still count.
                if found.len() == limit && !found.contains_key(&dead_letter.key) {
                    return SearchStep::Stop;
                }
                let copies = found.entry(dead_letter.key.clone()).or_insert_with(|| dead_letter.clone());
                copies.published_at = copies.published_at.min(dead_letter.published_at);
                if found.len() == limit { SearchStep::Stop } else { SearchStep::Keep }
            };
            self.search("queue.dead_letters", look).await?;
        }
        let mut found: Vec<_> = found.into_values().collect();
        found.sort_by(|a, b| (a.published_at, &a.key).cmp(&(b.published_at, &b.key)));
        Ok(found)
    }

    /// Removes the dead letters with these keys and returns how many of the keys existed.
    pub(super) async fn discard(&self, keys: &[String]) -> Result<usize> {
        let (keys, mut removed) = (keys.iter().collect::<BTreeSet<_>>(), BTreeSet::new());
        if !keys.is_empty() {
            let look = |message: &PubsubMessage| {
                let key = key(message);
                if !keys.contains(&key) {
                    return SearchStep::Keep;
                }
                removed.insert(key);
                SearchStep::Remove
            };
            self.search("queue.discard", look).await?;
        }
        Ok(removed.len())
    }

    /// Seeks to now, which acknowledges everything published before. The service may take a moment to apply it.
    pub(super) async fn purge(&self) -> Result<()> {
        let mut client = self.client().await?;
        let now = SystemClock.now();
        let now = prost_types::Timestamp { seconds: now.as_second(), nanos: now.subsec_nanosecond() };
        let seek = SeekRequest { subscription: self.subscription.clone(), target: Some(Target::Time(now)) };
        client.seek(seek).await.map(drop).map_err(|status| self.failed("queue.purge", status))
    }

    /// Passes every message to `look` and releases those that it keeps, so that other readers can read them.
    async fn search(&self, op: &'static str, mut look: impl FnMut(&PubsubMessage) -> SearchStep + Send) -> Result<()> {
        let mut client = self.client().await?;
        let mut held = Vec::new();
        let found = self.look_through(op, &mut client, &mut held, &mut look).await;
        // Also after a failure: otherwise held messages stay hidden from every reader until their deadline.
        let released = self.release(op, &mut client, held).await;
        found.and(released)
    }

    async fn look_through(
        &self,
        op: &'static str,
        client: &mut Client,
        held: &mut Vec<String>,
        look: &mut (impl FnMut(&PubsubMessage) -> SearchStep + Send),
    ) -> Result<()> {
        let (until, mut seen, mut empty) = (Instant::now() + SEARCH, HashSet::new(), 0);
        while empty < EMPTY_PULLS && Instant::now() < until {
            let messages = self.pull(op, client).await?;
            empty = if messages.is_empty() { empty + 1 } else { 0 };
            // A message that comes again was released meanwhile. If a pull returns only such messages, the search is over.
            let mut is_over = !messages.is_empty();
            let (mut remove, mut is_stopped) = (Vec::new(), false);
            for ReceivedMessage { ack_id, message, .. } in messages {
                let Some(message) = message else { continue };
                is_over &= !seen.insert(message.message_id.clone());
                match look(&message) {
                    SearchStep::Remove => remove.push(ack_id),
                    SearchStep::Keep => held.push(ack_id),
                    SearchStep::Stop => {
                        held.push(ack_id);
                        is_stopped = true;
                    }
                }
            }
            self.acknowledge(op, client, remove).await?;
            if is_over || is_stopped {
                break;
            }
        }
        Ok(())
    }

    #[expect(deprecated, reason = "a read of an empty queue must return at once instead of waiting for a dead letter")]
    async fn pull(&self, op: &'static str, client: &mut Client) -> Result<Vec<ReceivedMessage>> {
        let subscription = self.subscription.clone();
        let pull = PullRequest { subscription, return_immediately: true, max_messages: PULL };
        let pulled = client.pull(pull).await.map_err(|status| self.failed(op, status))?;
        Ok(pulled.into_inner().received_messages)
    }

    async fn acknowledge(&self, op: &'static str, client: &mut Client, ack_ids: Vec<String>) -> Result<()> {
        if ack_ids.is_empty() {
            return Ok(());
        }
        let acknowledge = AcknowledgeRequest { subscription: self.subscription.clone(), ack_ids };
        client.acknowledge(acknowledge).await.map(drop).map_err(|status| self.failed(op, status))
    }

    async fn release(&self, op: &'static str, client: &mut Client, held: Vec<String>) -> Result<()> {
        for ack_ids in held.chunks(ACKS) {
            let (subscription, ack_ids) = (self.subscription.clone(), ack_ids.to_vec());
            let now = ModifyAckDeadlineRequest { subscription, ack_ids, ack_deadline_seconds: 0 };
            client.modify_ack_deadline(now).await.map_err(|status| self.failed(op, status))?;
        }
        Ok(())
    }

    /// The client. The first call connects; after a failed connection the next call tries again.
    async fn client(&self) -> Result<Client> {
        let client = self.client.get_or_try_init(|| async {
            let credentials = self.project.credentials()?;
            let client = GoogleApi::from_function_with_credentials(
                SubscriberClient::new,
                self.project.address(),
                None,
                credentials,
            );
            let failed = |kind| BackendError::new(kind, "queue.connect");
            let client = tokio::time::timeout(CALL, client).await;
            let client =
                client.map_err(|_| failed(ErrorKind::Timeout).because(format!("no connection in {CALL:?}")))?;
            let client = client.map_err(|error| failed(ErrorKind::Unavailable).because(error))?;
            Ok(client.with_request_timeouts(RequestTimeouts::new().with_total(CALL)))
        });
        Ok(client.await?.get().max_decoding_message_size(usize::MAX))
    }

    fn failed(&self, op: &'static str, status: tonic::Status) -> BackendError {
        explained_status(op, &format!("subscription {}", self.subscription), "roles/pubsub.subscriber", status)
    }
}

fn read(message: &PubsubMessage) -> StoredDeadLetter {
    let at = message.publish_time.and_then(|at| Timestamp::new(at.seconds, at.nanos).ok()).unwrap_or_default();
    let attributes: BTreeMap<_, _> = message.attributes.clone().into_iter().collect();
    StoredDeadLetter::new(key(message), at, message.data.clone(), attributes)
}

/// The key of a dead letter. A message that Pub/Sub forwarded has no key. The service may forward it twice under different
/// ids, so the key is made of its subscription, publish time and data.
fn key(message: &PubsubMessage) -> String {
    let attribute = |name: &str| message.attributes.get(name);
    if let Some(key) = attribute(dead_letter::KEY) {
        return key.clone();
    }
    let source = ("CloudPubSubDeadLetterSourceSubscription", "CloudPubSubDeadLetterSourceTopicPublishTime");
    match (attribute(source.0), attribute(source.1)) {
        (Some(subscription), Some(time)) => {
            let digest = Sha256::digest(&message.data);
            let digest = digest.first_chunk().copied().map_or(0, u64::from_be_bytes);
            format!("{subscription}:{time}:{digest:016x}")
        }
        _ => message.message_id.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str, data: &str, attributes: &[(&str, &str)]) -> PubsubMessage {
        let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let data = data.as_bytes().to_vec();
        PubsubMessage { data, attributes, message_id: id.to_owned(), ..PubsubMessage::default() }
    }

    #[test]
    fn a_message_forwarded_twice_is_one_dead_letter() {
        let from = [
            ("CloudPubSubDeadLetterSourceSubscription", "image-generation-workers"),
            ("CloudPubSubDeadLetterSourceTopicPublishTime", "2026-08-24T10:35:14.812+00:00"),
        ];
        let first = key(&message("1", "a", &from));
        assert_eq!(key(&message("2", "a", &from)), first);
        assert_ne!(key(&message("3", "b", &from)), first, "two messages published at one time are two dead letters");
    }

    #[test]
    fn a_recorded_dead_letter_has_its_own_key_and_any_other_message_its_id() {
        assert_eq!(key(&message("1", "", &[("deadLetterKey", "ill_1:1"), ("x", "y")])), "ill_1:1");
        assert_eq!(key(&message("7", "", &[("x", "y")])), "7");
    }
}
