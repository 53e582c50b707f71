//! Dead_letters, read by single pulls: the official client can only stream, and a stream takes what it does not show.

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

/// How long a call, or the connection before it, may take.
const CALL: Duration = Duration::from_secs(10);
/// How long a search may take: less than the subscription's ack deadline, so that what is held is not delivered again.
const SEARCH: Duration = Duration::from_secs(30);
/// Messages of one pull: a dead letter has a few hundred bytes, and one that nobody could read up to 10 MB.
const PULL: i32 = 100;
/// Acknowledgements of one request, which may have 512 KiB.
const ACKS: usize = 1_000;
/// A pull may come back empty though there are messages; so many in a row mean that there are none.
const EMPTY_PULLS: u32 = 2;

/// The operators' subscription of dead dead_letters.
pub(super) struct DeadLetters {
    project: PubSubProject,
    subscription: String,
    client: OnceCell<GoogleApi<Client>>,
}

/// What a search does with a message.
enum SearchStep {
    /// It stays.
    Keep,
    /// It is acknowledged.
    Remove,
    /// It stays, and the search is over.
    Stop,
}

impl DeadLetters {
    pub(super) fn new(project: PubSubProject) -> Self {
        let subscription = project.subscription(DEAD_LETTER_SUBSCRIPTION);
        Self { project, subscription, client: OnceCell::new() }
    }

    /// Up to `limit` dead_letters, each key once, oldest first.
    pub(super) async fn peek(&self, limit: usize) -> Result<Vec<StoredDeadLetter>> {
        let mut found = HashMap::<String, StoredDeadLetter>::new();
        if limit > 0 {
            let look = |message: &PubsubMessage| {
                let dead_letter = read(message);
                // A pull may bring more than are wanted; of a key that is here already each copy counts.
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

    /// Removes the dead_letters of these keys; of how many keys there were some.
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

    /// Seeks to now, which acknowledges everything published before. The service may take a moment to act on it.
    pub(super) async fn purge(&self) -> Result<()> {
        let mut client = self.client().await?;
        let now = SystemClock.now();
        let now = prost_types::Timestamp { seconds: now.as_second(), nanos: now.subsec_nanosecond() };
        let seek = SeekRequest { subscription: self.subscription.clone(), target: Some(Target::Time(now)) };
        client.seek(seek).await.map(drop).map_err(|status| self.failed("queue.purge", status))
    }

    /// Shows every message to `look` and gives back what it keeps, so that the next reader finds it.
    async fn search(&self, op: &'static str, mut look: impl FnMut(&PubsubMessage) -> SearchStep + Send) -> Result<()> {
        let mut client = self.client().await?;
        let mut held = Vec::new();
        let found = self.look_through(op, &mut client, &mut held, &mut look).await;
        // Also after a failure: what is held would be hidden from everybody until its deadline.
        let returned = self.give_back(op, &mut client, held).await;
        found.and(returned)
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
            // What comes again is what somebody has given back meanwhile: when nothing else comes, this is the end.
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

    #[expect(
        deprecated,
        reason = "an empty queue must answer at once: who looks at it does not wait for a dead_letter"
    )]
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

    async fn give_back(&self, op: &'static str, client: &mut Client, held: Vec<String>) -> Result<()> {
        for ack_ids in held.chunks(ACKS) {
            let (subscription, ack_ids) = (self.subscription.clone(), ack_ids.to_vec());
            let now = ModifyAckDeadlineRequest { subscription, ack_ids, ack_deadline_seconds: 0 };
            client.modify_ack_deadline(now).await.map_err(|status| self.failed(op, status))?;
        }
        Ok(())
    }

    /// The client, connected by the first who needs it; a connection that failed is tried again by the next.
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

/// Which dead letter it is. One that Pub/Sub has forwarded has no key of ours; the service may forward a message twice, and
/// each time under a new id, so what it was says which dead letter it is.
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
        assert_ne!(key(&message("3", "b", &from)), first, "two messages of one moment are two dead_letters");
    }

    #[test]
    fn what_a_worker_recorded_has_its_own_key_and_a_stranger_s_message_its_id() {
        assert_eq!(key(&message("1", "", &[("deadLetterKey", "ill_1:1"), ("x", "y")])), "ill_1:1");
        assert_eq!(key(&message("7", "", &[("x", "y")])), "7");
    }
}
