//! The contract of every job queue, and of those that push over HTTP.

mod broker;
mod cases;
mod dead_letters;
mod endpoint;
mod pubsub;
mod push;

use std::sync::Arc;

use async_trait::async_trait;
use mediaforge::queue::JobQueue;
use url::Url;

/// A delivered message. The worker has not replied as long as this is held.
struct Received {
    id: String,
    /// Number of this delivery, 1 for the first.
    attempt: u64,
    reply: Box<dyn FnOnce(Reply) + Send>,
}

/// The worker's reply to a delivery.
enum Reply {
    Acknowledged,
    Refused,
}

impl Received {
    fn acknowledge(self) {
        (self.reply)(Reply::Acknowledged);
    }

    fn refuse(self) {
        (self.reply)(Reply::Refused);
    }
}

/// The worker's side of a queue. Dropping it does not stop the deliveries.
#[async_trait]
trait Consumer: Send {
    /// Waits for the next delivery.
    async fn next(&mut self) -> Received;
    /// Starts no further delivery and waits until every reply is recorded.
    async fn stop(self: Box<Self>);
    /// Ends at once, also deliveries in progress.
    async fn kill(self: Box<Self>);
}

/// How a backend is opened. A new backend implements this and lists itself below.
#[async_trait]
trait Backend: Sized + Send + Sync {
    /// A new, empty queue that delivers a refused message again within milliseconds, and at most five times.
    async fn open() -> Self;
    /// The publishing side.
    fn queue(&self) -> Arc<dyn JobQueue>;
    /// Starts to deliver messages for illustrations.
    async fn consume(&self) -> Box<dyn Consumer>;
    /// The same queue after everything has been closed.
    async fn reopen(self) -> Self;
}

/// A queue that pushes Pub/Sub's envelope over HTTP.
#[async_trait]
trait PushBackend: Backend {
    /// The project of its topics and subscriptions.
    const PROJECT: &'static str;
    /// Starts to push to a worker.
    async fn push_to(&self, worker: &Url) -> Box<dyn Pushing>;
}

/// Pushes in progress. Dropping this does not stop them.
#[async_trait]
trait Pushing: Send {
    /// Starts no further push and waits until every answer is recorded.
    async fn stop(self: Box<Self>);
    /// Ends at once, also pushes in progress.
    async fn kill(self: Box<Self>);
}

/// Makes a test of each case for one backend.
macro_rules! cases {
    ($name:ident, $backend:ty { $($file:ident::$case:ident)+ }) => {
        mod $name {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::$file::$case::<$backend>().await;
                }
            )+
        }
    };
}

/// The contract of every queue.
macro_rules! queue_cases {
    ($name:ident, $backend:ty) => {
        cases! { $name, $backend {
            cases::a_refused_message_is_delivered_again_with_a_growing_count
            cases::a_message_without_a_reply_is_delivered_again_after_the_deadline
            cases::the_last_refusal_makes_a_dead_letter
            cases::an_acknowledgement_survives_a_reopen
            cases::an_unacknowledged_message_is_delivered_again_after_a_reopen
            cases::a_message_for_later_is_delivered_in_the_end
            cases::a_backlog_is_delivered_completely
            cases::a_healthy_queue_answers
            dead_letters::dead_letters_with_one_key_are_one
            dead_letters::listing_dead_letters_does_not_remove_them
            dead_letters::a_discarded_dead_letter_is_gone_with_its_copies
            dead_letters::a_purge_removes_the_dead_letters_recorded_before_it
        } }
    };
}

/// The contract of a queue that pushes.
macro_rules! push_cases {
    ($name:ident, $backend:ty) => {
        cases! { $name, $backend {
            push::the_envelope_is_the_one_of_pubsub
            push::attributes_are_absent_when_there_are_none
            push::only_the_listed_statuses_acknowledge
            push::each_kind_is_pushed_to_its_endpoint
            push::a_forwarded_message_names_its_source
        } }
    };
}

queue_cases! { embedded, super::broker::Local }
queue_cases! { gcloud, super::pubsub::Cloud }
push_cases! { embedded_push, super::broker::Local }
push_cases! { gcloud_push, super::pubsub::Cloud }
