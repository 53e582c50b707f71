//! The embedded queue, and what its broker does beyond the contract: it delays messages, limits the pushes in progress, and
//! stops with its process.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use mediaforge::{
    config::EmbeddedQueueConfig,
    domain::{
        clock::{Clock as _, SystemClock, SystemRandom, after},
        ids::JobId,
        job::Dispatch,
        kind::JobKind,
        message::JobMessage,
    },
    embedded::{DATABASE, Embedded},
    queue::{self, Broker, JobQueue},
};
use tempfile::TempDir;
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Backend, Consumer, PushBackend, Pushing,
    cases::{dispatch_at, publish},
    endpoint::Endpoint,
    push,
};

pub struct Local {
    directory: TempDir,
    embedded: Embedded,
}

struct RunningBroker {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

impl RunningBroker {
    async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("no panic");
    }

    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

#[async_trait]
impl Pushing for RunningBroker {
    async fn stop(self: Box<Self>) {
        RunningBroker::stop(*self).await;
    }

    async fn kill(self: Box<Self>) {
        RunningBroker::kill(*self).await;
    }
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

impl Local {
    fn broker(&self, worker: &url::Url, max_in_flight: usize) -> RunningBroker {
        let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
        let broker = Broker::new(&self.embedded, &config(), worker, max_in_flight, clock, random).expect("a client");
        let stop = CancellationToken::new();
        RunningBroker { task: tokio::spawn(broker.run(stop.clone())), stop }
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

    async fn consume(&self) -> Box<dyn Consumer> {
        push::consume(self).await
    }

    async fn reopen(self) -> Self {
        let Self { directory, embedded } = self;
        drop(embedded);
        let embedded = Embedded::open(directory.path(), &[]).expect("a database");
        Self { directory, embedded }
    }
}

#[async_trait]
impl PushBackend for Local {
    const PROJECT: &'static str = "local";

    async fn push_to(&self, worker: &url::Url) -> Box<dyn Pushing> {
        Box::new(self.broker(worker, 4))
    }
}

#[tokio::test]
async fn the_broker_pauses_while_the_database_cannot_record_replies() {
    let backend = Local::open().await;
    let mut worker = Endpoint::open().await;
    let broker = backend.broker(&worker.url, 1);
    let id = JobId::random(JobKind::Illustration, &SystemRandom);
    let dispatch = Dispatch { message: JobMessage::new(id, None), not_before: SystemClock.now() };
    backend.queue().publish(&dispatch).await.expect("a publish");
    let mut push = worker.next().await;
    std::fs::remove_file(backend.directory.path().join(DATABASE)).expect("deleted");
    backend.embedded.write("test", |_| Ok(())).await.expect_err("the database file is gone");
    for pause in [100, 200, 400].map(Duration::from_millis) {
        let answered = Instant::now();
        push.answer(503);
        push = worker.next().await;
        assert!(answered.elapsed() >= pause, "{:?}", answered.elapsed());
        assert_eq!(push.attempt(), 1, "a refusal that cannot be recorded is not counted");
    }
    broker.kill().await;
}

#[tokio::test]
async fn the_envelope_equals_pubsub_s_byte_for_byte_and_a_header_carries_the_trace() {
    let backend = Local::open().await;
    let mut worker = Endpoint::open().await;
    let (id, message) = publish(&backend.queue()).await;
    let broker = backend.broker(&worker.url, 1);
    let push = worker.next().await;
    let trace = message.trace.as_ref().expect("a trace").to_string();
    let time = push.json()["message"]["publishTime"].as_str().expect("publishTime").to_owned();
    assert_eq!(time.len(), "2021-02-26T19:13:55.749Z".len(), "{time}");
    let data = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, message.data());
    let expected = format!(
        "{{\"deliveryAttempt\":1,\"message\":{{\"attributes\":{{\"googclient_traceparent\":\"{trace}\",\
         \"traceparent\":\"{trace}\"}},\"data\":\"{data}\",\"messageId\":\"{id}\",\"message_id\":\"{id}\",\
         \"publishTime\":\"{time}\",\"publish_time\":\"{time}\"}},\
         \"subscription\":\"projects/local/subscriptions/image-generation-workers\"}}"
    );
    assert_eq!(String::from_utf8_lossy(&push.body), expected);
    assert_eq!(push.headers["traceparent"], trace.as_str());
    push.answer(200);
    broker.stop().await;
}

#[tokio::test]
async fn without_a_trace_there_is_no_trace_header() {
    let backend = Local::open().await;
    let mut worker = Endpoint::open().await;
    let id = JobId::random(JobKind::Illustration, &SystemRandom);
    let dispatch = Dispatch { message: JobMessage::new(id, None), not_before: SystemClock.now() };
    backend.queue().publish(&dispatch).await.expect("a publish");
    let broker = backend.broker(&worker.url, 1);
    let push = worker.next().await;
    assert!(!push.headers.contains_key("traceparent"));
    push.answer(200);
    broker.stop().await;
}

#[tokio::test]
async fn the_wait_after_a_refusal_doubles() {
    let backend = Local::open().await;
    let mut worker = Endpoint::open().await;
    let broker = backend.broker(&worker.url, 1);
    publish(&backend.queue()).await;
    for _ in 0..2 {
        worker.next().await.answer(500);
    }
    let push = worker.next().await;
    let answered = Instant::now();
    push.answer(500);
    let push = worker.next().await;
    // min_backoff (20 ms) doubled twice.
    assert!(answered.elapsed() >= Duration::from_millis(80), "{:?}", answered.elapsed());
    push.answer(200);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_not_delivered_before_its_time() {
    let backend = Local::open().await;
    let mut worker = Endpoint::open().await;
    let broker = backend.broker(&worker.url, 4);
    let not_before = after(SystemClock.now(), Duration::from_millis(300));
    let later = backend.queue().publish(&dispatch_at(not_before)).await.expect("a publish");
    let (now, _) = publish(&backend.queue()).await;
    let first = worker.next().await;
    assert_eq!(first.id(), now);
    first.answer(200);
    let second = worker.next().await;
    assert!(SystemClock.now() >= not_before);
    assert_eq!(second.id(), later.0);
    second.answer(200);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_number_of_pushes_in_progress_is_limited() {
    let backend = Local::open().await;
    let mut worker = Endpoint::open().await;
    for _ in 0..12 {
        publish(&backend.queue()).await;
    }
    let broker = backend.broker(&worker.url, 3);
    let mut waiting = Vec::new();
    for _ in 0..12 {
        waiting.push(worker.next().await);
        // The third must come while two are unanswered; a fourth must not.
        if waiting.len() == 3 {
            waiting.remove(0).answer(200);
        }
    }
    for push in waiting {
        push.answer(200);
    }
    broker.stop().await;
    assert_eq!(worker.most(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_worker_costs_no_delivery_attempt() {
    let backend = Local::open().await;
    let (id, _) = publish(&backend.queue()).await;
    // An address that refuses connections.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("an address");
    drop(free);
    let broker = backend.broker(&format!("http://{address}").parse().expect("a URL"), 1);
    // More connection attempts than a message has deliveries: the pauses between them are 100, 200, 400 and 800 ms.
    tokio::time::sleep(Duration::from_millis(1_600)).await;
    let mut worker = Endpoint::at(address).await;
    let push = worker.next().await;
    assert_eq!((push.id(), push.attempt()), (id, 1));
    push.answer(200);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_in_progress_finishes_before_the_broker_stops() {
    let backend = Local::open().await;
    let mut worker = Endpoint::open().await;
    let broker = backend.broker(&worker.url, 1);
    publish(&backend.queue()).await;
    let push = worker.next().await;
    broker.stop.cancel();
    push.answer(200);
    broker.task.await.expect("no panic");
    let broker = backend.broker(&worker.url, 1);
    let (next, _) = publish(&backend.queue()).await;
    let push = worker.next().await;
    assert_eq!(push.id(), next, "the acknowledgement of the first push is recorded");
    push.answer(200);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_while_stopping_costs_no_delivery_attempt() {
    let backend = Local::open().await;
    let mut worker = Endpoint::open().await;
    let (id, _) = publish(&backend.queue()).await;
    // More often than a message may be delivered.
    for _ in 0..6 {
        let broker = backend.broker(&worker.url, 1);
        let push = worker.next().await;
        assert_eq!((push.id(), push.attempt()), (id.clone(), 1));
        broker.stop.cancel();
        push.answer(503);
        broker.stop().await;
    }
    assert_eq!(backend.queue().dead_letters(1).await.expect("dead letters"), []);
}
