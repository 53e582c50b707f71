//! Pub/Sub on the emulator, and what the client does beyond the contract.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use gcloud_emulator::{Emulator, Fault};
use google_cloud_auth::credentials::anonymous;
use google_cloud_pubsub::{client::SubscriptionAdmin, model::PushConfig};
use mediaforge::{
    config::PubSubConfig,
    domain::{clock::SystemRandom, ids::JobId, kind::JobKind, message::DEAD_LETTER_TOPIC},
    provision::{self, PushTarget},
    queue::{self, ErrorKind, JobQueue},
};
use tonic::Code;

use super::{
    Backend, Consumer, PushBackend, Pushing,
    cases::{dispatch, publish},
    dead_letters::dead_letter,
    push,
};
use crate::support::soon;

/// Time runs this much faster: retries after 20 ms to 1.2 s, an ack deadline of 1.2 s.
const SPEED: f64 = 500.0;
const PROJECT: &str = "forge-test";
const KINDS: [JobKind; 2] = [JobKind::Illustration, JobKind::Brand];

pub struct Cloud {
    emulator: Arc<Emulator>,
    queue: Arc<dyn JobQueue>,
}

fn config(endpoint: &str) -> PubSubConfig {
    PubSubConfig { endpoint: Some(endpoint.parse().expect("a URL")), push_url: None, push_service_account: None }
}

fn subscription(kind: JobKind) -> String {
    format!("projects/{PROJECT}/subscriptions/{}", kind.subscription())
}

impl Cloud {
    /// Creates or repairs every topic and subscription, with pushes to that worker.
    async fn provision(&self, worker: &url::Url) {
        let push = PushTarget {
            url: worker.clone(),
            service_account: format!("push@{PROJECT}.iam.gserviceaccount.com"),
            audience: "mediaforge-worker".to_owned(),
        };
        let provisioner = provision::open(PROJECT, &config(&self.emulator.url()), push).await.expect("a client");
        for planned in provisioner.plan().await.expect("a plan") {
            provisioner.apply(&planned).await.expect("provisioned");
        }
    }
}

/// Stops the pushes by turning the subscriptions into pull subscriptions.
struct PushSubscriptions(Arc<Emulator>);

impl PushSubscriptions {
    async fn pause(&self) {
        let admin = SubscriptionAdmin::builder().with_endpoint(self.0.url());
        let admin = admin.with_credentials(anonymous::Builder::new().build()).build().await.expect("a client");
        for kind in KINDS {
            let modify = admin.modify_push_config().set_subscription(subscription(kind));
            modify.set_push_config(PushConfig::new()).send().await.expect("paused");
        }
    }
}

#[async_trait]
impl Pushing for PushSubscriptions {
    async fn stop(self: Box<Self>) {
        self.pause().await;
        let settled = self.0.pubsub().until(|pubsub| {
            let mut deliveries = KINDS.into_iter().flat_map(|kind| pubsub.deliveries(&subscription(kind)));
            deliveries.all(|delivery| delivery.answer.is_some())
        });
        soon("an answer to every push", settled).await;
    }

    async fn kill(self: Box<Self>) {
        self.pause().await;
    }
}

#[async_trait]
impl Backend for Cloud {
    async fn open() -> Self {
        let emulator = Arc::new(Emulator::start().await.expect("an emulator"));
        emulator.pubsub().speed(SPEED);
        let queue = queue::open_pubsub(PROJECT, &config(&emulator.url()));
        let cloud = Self { emulator, queue };
        cloud.provision(&"http://127.0.0.1:9".parse().expect("a URL")).await;
        PushSubscriptions(Arc::clone(&cloud.emulator)).pause().await;
        cloud
    }

    fn queue(&self) -> Arc<dyn JobQueue> {
        Arc::clone(&self.queue)
    }

    async fn consume(&self) -> Box<dyn Consumer> {
        push::consume(self).await
    }

    async fn reopen(self) -> Self {
        let queue = queue::open_pubsub(PROJECT, &config(&self.emulator.url()));
        Self { emulator: self.emulator, queue }
    }
}

#[async_trait]
impl PushBackend for Cloud {
    const PROJECT: &'static str = PROJECT;

    async fn push_to(&self, worker: &url::Url) -> Box<dyn Pushing> {
        self.provision(worker).await;
        Box::new(PushSubscriptions(Arc::clone(&self.emulator)))
    }
}

fn topic(kind: JobKind) -> String {
    format!("projects/{PROJECT}/topics/{}", kind.topic())
}

#[tokio::test]
async fn a_publish_is_tried_three_times_and_no_more() {
    let cloud = Cloud::open().await;
    let faults = cloud.emulator.faults();
    faults.inject("Publisher/Publish", Fault::Refuse(Code::Unavailable), 2);
    publish(&cloud.queue).await;
    assert_eq!(cloud.emulator.pubsub().published(&topic(JobKind::Illustration)).len(), 1);
    faults.inject("Publisher/Publish", Fault::Refuse(Code::Unavailable), 4);
    let error = cloud.queue.publish(&dispatch()).await.expect_err("three failures");
    assert_eq!((error.kind, faults.pending()), (ErrorKind::Unavailable, 1), "{error}");
}

#[tokio::test]
async fn a_publish_without_an_answer_times_out() {
    let cloud = Cloud::open().await;
    cloud.emulator.faults().inject("Publisher/Publish", Fault::Hang(Duration::from_hours(1)), 3);
    let error = soon("an end", cloud.queue.publish(&dispatch())).await.expect_err("no answer");
    assert_eq!(error.kind, ErrorKind::Timeout, "{error}");
}

#[tokio::test]
async fn a_dead_letter_published_twice_is_listed_once() {
    let cloud = Cloud::open().await;
    let id = JobId::random(JobKind::Illustration, &SystemRandom);
    cloud.emulator.faults().inject("Publisher/Publish", Fault::LoseReply(Code::Unavailable), 1);
    cloud.queue.record_dead_letter(&dead_letter(&id, "a")).await.expect("a dead letter");
    let copies = cloud.emulator.pubsub().published(&format!("projects/{PROJECT}/topics/{DEAD_LETTER_TOPIC}"));
    assert_eq!(copies.len(), 2, "Pub/Sub cannot detect the repetition");
    assert_eq!(cloud.queue.dead_letters(10).await.expect("dead letters").len(), 1);
    assert_eq!(cloud.queue.discard_dead_letters(&["a".to_owned()]).await.expect("discarded"), 1);
    assert_eq!(cloud.queue.dead_letters(10).await.expect("dead letters"), []);
}

#[tokio::test]
async fn a_failed_listing_releases_the_messages_it_held() {
    let cloud = Cloud::open().await;
    let id = JobId::random(JobKind::Illustration, &SystemRandom);
    for n in 0..150 {
        cloud.queue.record_dead_letter(&dead_letter(&id, &n.to_string())).await.expect("a dead letter");
    }
    // From here on, a message that is held stays hidden for a minute.
    cloud.emulator.pubsub().speed(1.0);
    cloud.emulator.faults().inject_after("Subscriber/Pull", 1, Fault::Refuse(Code::Unavailable), 1);
    let error = cloud.queue.dead_letters(1_000).await.expect_err("the second pull fails");
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    assert_eq!(cloud.queue.dead_letters(1_000).await.expect("dead letters").len(), 150);
}

#[tokio::test]
async fn an_error_names_what_is_missing_and_the_next_step() {
    let emulator = Emulator::start().await.expect("an emulator");
    let queue = queue::open_pubsub(PROJECT, &config(&emulator.url()));
    let missing = |name: &str| format!("projects/{PROJECT}/{name} does not exist; `mediaforge provision` creates it");
    let error = queue.ping().await.expect_err("no topics");
    assert_eq!(error.kind, ErrorKind::Broken);
    assert!(error.to_string().contains("does not exist; `mediaforge provision` creates it"), "{error}");
    let error = queue.publish(&dispatch()).await.expect_err("no topic");
    assert!(error.kind == ErrorKind::Broken, "{error}");
    assert!(error.to_string().contains(&missing("topics/image-generation-jobs")), "{error}");
    let error = queue.dead_letters(1).await.expect_err("no subscription");
    assert!(error.to_string().contains(&missing("subscriptions/job-dlq-sub")), "{error}");
    let denied = Fault::Refuse(Code::PermissionDenied);
    emulator.faults().inject("Publisher/Publish", denied, 1);
    let error = queue.publish(&dispatch()).await.expect_err("denied");
    assert!(error.to_string().contains("grant roles/pubsub.publisher"), "{error}");
    emulator.faults().inject("Subscriber/Pull", denied, 1);
    let error = queue.dead_letters(1).await.expect_err("denied");
    assert!(error.to_string().contains("grant roles/pubsub.subscriber"), "{error}");
    for topic in ["job-dlq", "brand-training-jobs", "image-generation-jobs"] {
        emulator.faults().inject(topic, denied, 1);
    }
    let error = queue.ping().await.expect_err("denied");
    assert!(error.to_string().contains("grant roles/pubsub.viewer"), "{error}");
}

#[tokio::test]
async fn opening_does_not_connect_and_a_server_that_starts_later_is_used() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("an address");
    drop(free);
    let queue = queue::open_pubsub(PROJECT, &config(&format!("http://{address}")));
    let error = queue.publish(&dispatch()).await.expect_err("the address refuses connections");
    assert!(error.is_transient(), "{error}");
    let error = queue.dead_letters(1).await.expect_err("the address refuses connections");
    assert!(error.is_transient(), "{error}");
    let emulator = Arc::new(Emulator::start_at(address).await.expect("an emulator"));
    let cloud = Cloud { emulator, queue };
    cloud.provision(&"http://127.0.0.1:9".parse().expect("a URL")).await;
    publish(&cloud.queue).await;
    assert_eq!(cloud.queue.dead_letters(1).await.expect("dead letters"), []);
}
