//! What every job queue and its push delivery must do.

mod cases;
mod endpoint;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use mediaforge::{
    config::EmbeddedQueueConfig,
    domain::{
        clock::{Clock as _, SystemClock, SystemRandom},
        ids::JobId,
        job::{Dispatch, JobKind},
        message::JobMessage,
    },
    embedded::{DATABASE, Embedded},
    queue::{self, Broker, JobQueue},
};
use tempfile::TempDir;
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

/// A dead letter as an operator finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Letter {
    data: Vec<u8>,
    attributes: BTreeMap<String, String>,
}

/// Pushes under way; dropping it leaves them running.
struct Delivery {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

impl Delivery {
    /// As a process that is told to stop.
    async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("no panic");
    }

    /// As a process that is killed.
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// How a backend is opened: all that a backend adds.
#[async_trait]
trait Backend: Sized + Send + Sync {
    /// A fresh, empty queue that redelivers within milliseconds, five times.
    async fn open() -> Self;
    /// The publishing side.
    fn queue(&self) -> Arc<dyn JobQueue>;
    /// Starts pushing to a worker.
    fn deliver(&self, worker: &url::Url, max_in_flight: usize) -> Delivery;
    /// What the operators' subscription of dead letters holds.
    async fn letters(&self) -> Vec<Letter>;
    /// The same queue after everything has been closed.
    async fn reopen(self) -> Self;
}

struct Local {
    directory: TempDir,
    embedded: Embedded,
}

fn config() -> EmbeddedQueueConfig {
    EmbeddedQueueConfig {
        push_url: None,
        max_in_flight: None,
        ack_deadline: Duration::from_millis(500),
        min_backoff: Duration::from_millis(20),
        max_backoff: Duration::from_millis(100),
        max_delivery_attempts: 5,
        retention: Duration::from_mins(10),
    }
}

#[async_trait]
impl Backend for Local {
    async fn open() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let embedded = Embedded::open(directory.path(), &[]).expect("a database");
        Self { directory, embedded }
    }

    fn queue(&self) -> Arc<dyn JobQueue> {
        queue::open_embedded(&self.embedded)
    }

    fn deliver(&self, worker: &url::Url, max_in_flight: usize) -> Delivery {
        let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
        let broker = Broker::new(&self.embedded, &config(), worker, max_in_flight, clock, random).expect("a client");
        let stop = CancellationToken::new();
        Delivery { task: tokio::spawn(broker.run(stop.clone())), stop }
    }

    async fn letters(&self) -> Vec<Letter> {
        let query = |db: &rusqlite::Connection| {
            let mut rows = db.prepare("SELECT data, attributes FROM dead_letters ORDER BY id")?;
            let letters = rows.query_map([], |row| {
                let attributes: Option<String> = row.get(1)?;
                let attributes = attributes.map(|text| serde_json::from_str(&text).expect("attributes"));
                Ok(Letter { data: row.get(0)?, attributes: attributes.unwrap_or_default() })
            })?;
            Ok(letters.collect::<Result<_, _>>()?)
        };
        self.embedded.read("test", query).await.expect("a query")
    }

    async fn reopen(self) -> Self {
        let Self { directory, embedded } = self;
        drop(embedded);
        let embedded = Embedded::open(directory.path(), &[]).expect("a database");
        Self { directory, embedded }
    }
}

#[tokio::test]
async fn a_database_that_takes_no_answers_is_not_pushed_against_without_a_pause() {
    let backend = Local::open().await;
    let mut worker = endpoint::Endpoint::open().await;
    let delivery = backend.deliver(&worker.url, 1);
    let id = JobId::random(JobKind::Illustration, &SystemRandom);
    let dispatch = Dispatch { message: JobMessage::new(id, None), not_before: SystemClock.now() };
    backend.queue().publish(&dispatch).await.expect("a publish");
    let mut push = worker.next().await;
    std::fs::remove_file(backend.directory.path().join(DATABASE)).expect("deleted");
    backend.embedded.write("test", |_| Ok(())).await.expect_err("nothing is written any more");
    for pause in [100, 200, 400].map(Duration::from_millis) {
        let answered = Instant::now();
        push.answer(503);
        push = worker.next().await;
        assert!(answered.elapsed() >= pause, "{:?}", answered.elapsed());
        assert_eq!(push.attempt(), 1, "what cannot be noted is not counted");
    }
    delivery.kill().await;
}

/// Runs each case on each backend.
macro_rules! cases {
    ($($case:ident),+ $(,)?) => {
        mod embedded {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::cases::$case::<super::Local>().await;
                }
            )+
        }
    };
}

cases! {
    the_envelope_is_what_pubsub_sends,
    attributes_are_absent_when_there_are_none,
    a_refused_message_comes_again_with_a_growing_count,
    only_the_listed_statuses_acknowledge,
    no_answer_within_the_deadline_is_a_refusal,
    the_last_refusal_makes_a_dead_letter,
    an_acknowledgement_survives_a_reopen,
    what_was_not_acknowledged_comes_again_after_a_reopen,
    a_message_is_not_delivered_before_its_time,
    no_more_pushes_than_allowed_are_under_way,
    a_worker_that_is_down_costs_no_delivery_attempt,
    each_kind_goes_to_its_endpoint,
    a_dead_letter_is_recorded_once_per_key,
    stopping_lets_the_push_under_way_finish,
    a_refusal_while_stopping_costs_no_delivery_attempt,
    a_backlog_is_delivered_completely,
    a_healthy_queue_answers,
}
