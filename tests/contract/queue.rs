//! What every job queue and its push delivery must do.

mod broker;
mod cases;
mod dead_letters;
mod endpoint;
mod pubsub;

use std::sync::Arc;

use async_trait::async_trait;
use mediaforge::queue::JobQueue;

/// Pushes to a worker; dropping it leaves them running.
#[async_trait]
trait Delivery: Send {
    /// No push begins any more; what was answered before is settled.
    async fn stop(self: Box<Self>);
    /// Ends at once, with pushes under way.
    async fn kill(self: Box<Self>);
}

/// How a backend is opened: all that a backend adds.
#[async_trait]
trait Backend: Sized + Send + Sync {
    /// The project that its topics and subscriptions belong to.
    const PROJECT: &'static str;
    /// A fresh, empty queue that redelivers within milliseconds, five times.
    async fn open() -> Self;
    /// The publishing side.
    fn queue(&self) -> Arc<dyn JobQueue>;
    /// Starts pushing to a worker.
    async fn deliver(&self, worker: &url::Url) -> Box<dyn Delivery>;
    /// The same queue after everything has been closed.
    async fn reopen(self) -> Self;
}

/// Runs each case on each backend.
macro_rules! cases {
    ($($file:ident: $($case:ident),+;)+) => {
        cases! { @on embedded, super::broker::Local: $($($file::$case,)+)+ }
        cases! { @on gcloud, super::pubsub::Cloud: $($($file::$case,)+)+ }
    };
    (@on $name:ident, $backend:ty: $($file:ident::$case:ident,)+) => {
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

cases! {
    cases:
        the_envelope_is_what_pubsub_sends,
        attributes_are_absent_when_there_are_none,
        a_refused_message_comes_again_with_a_growing_count,
        only_the_listed_statuses_acknowledge,
        no_answer_within_the_deadline_is_a_refusal,
        the_last_refusal_makes_a_dead_letter,
        an_acknowledgement_survives_a_reopen,
        what_was_not_acknowledged_comes_again_after_a_reopen,
        a_message_for_later_is_delivered_in_the_end,
        each_kind_goes_to_its_endpoint,
        a_backlog_is_delivered_completely,
        a_healthy_queue_answers;
    dead_letters:
        dead_letters_with_one_key_are_one,
        looking_at_dead_letters_leaves_them,
        a_discarded_letter_is_gone_with_its_copies,
        a_purge_removes_what_is_recorded_and_nothing_later;
}
