//! An emulator with Google's clients, and an endpoint that records its pushes.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    routing::post,
};
use gcloud_emulator::{Emulator, PubSub};
use gcloud_sdk::google::pubsub::v1::subscriber_client::SubscriberClient;
use google_cloud_auth::credentials::anonymous::Builder as Anonymous;
use google_cloud_gax::{error::rpc::Code, retry_policy::RetryPolicyExt as _};
use google_cloud_pubsub::{
    client::{BasePublisher, SubscriptionAdmin, TopicAdmin},
    model::{DeadLetterPolicy, Message, PushConfig, Subscription},
    retry_policy::RetryableErrors,
};
use serde_json::Value;
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};
use tonic::transport::Channel;

pub const TOPIC: &str = "projects/p/topics/jobs";
pub const DEAD: &str = "projects/p/topics/dead";
pub const SUBSCRIPTION: &str = "projects/p/subscriptions/work";
pub const DEAD_SUBSCRIPTION: &str = "projects/p/subscriptions/dead-pull";

/// The emulator and its clients.
pub struct Cloud {
    pub emulator: Emulator,
    pub topics: TopicAdmin,
    pub subscriptions: SubscriptionAdmin,
    pub publisher: BasePublisher,
    pub subscriber: SubscriberClient<Channel>,
}

impl Cloud {
    /// Starts an emulator with two topics.
    pub async fn start() -> Self {
        let emulator = Emulator::start().await.unwrap();
        let (url, anonymous) = (emulator.url(), || Anonymous::new().build());
        let retry = || RetryableErrors.with_attempt_limit(1);
        let topics = TopicAdmin::builder().with_endpoint(&url).with_credentials(anonymous()).with_retry_policy(retry());
        let topics = topics.build().await.unwrap();
        let subscriptions =
            SubscriptionAdmin::builder().with_endpoint(&url).with_credentials(anonymous()).with_retry_policy(retry());
        let subscriptions = subscriptions.build().await.unwrap();
        let publisher =
            BasePublisher::builder().with_endpoint(&url).with_credentials(anonymous()).with_retry_policy(retry());
        let publisher = publisher.build().await.unwrap();
        let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
        for topic in [TOPIC, DEAD] {
            topics.create_topic().set_name(topic).send().await.unwrap();
        }
        Self { emulator, topics, subscriptions, publisher, subscriber: SubscriberClient::new(channel) }
    }

    pub fn pubsub(&self) -> &PubSub {
        self.emulator.pubsub()
    }

    pub async fn subscribe(&self, settings: Subscription) -> Subscription {
        self.try_subscribe(settings).await.unwrap()
    }

    pub async fn try_subscribe(&self, settings: Subscription) -> google_cloud_pubsub::Result<Subscription> {
        self.subscriptions.create_subscription().with_request(settings).send().await
    }

    /// Publishes one message, alone.
    pub async fn publish(&self, message: Message) -> Result<String, Option<Code>> {
        let publisher = self.publisher.publisher(TOPIC).set_message_count_threshold(1).build();
        publisher.publish(message).await.map_err(|error| match &error {
            google_cloud_pubsub::error::PublishError::Rpc(error) => error.status().map(|status| status.code),
            _ => None,
        })
    }

    /// Waits until the condition holds.
    pub async fn until(&self, condition: impl Fn(&PubSub) -> bool) {
        within(self.pubsub().until(condition)).await;
    }
}

/// The settings of a subscription to the jobs topic.
pub fn to_jobs() -> Subscription {
    Subscription::new().set_name(SUBSCRIPTION).set_topic(TOPIC)
}

pub fn pushed_to(endpoint: &Endpoint) -> Subscription {
    to_jobs().set_push_config(PushConfig::new().set_push_endpoint(&endpoint.url))
}

pub fn dead_letters(attempts: i32) -> DeadLetterPolicy {
    DeadLetterPolicy::new().set_dead_letter_topic(DEAD).set_max_delivery_attempts(attempts)
}

pub fn text(text: &str) -> Message {
    Message::new().set_data(text.as_bytes().to_vec())
}

/// Fails the test after 30 seconds.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), future).await.expect("it did not happen in time")
}

/// A received push.
#[derive(Debug, Clone)]
pub struct Pushed {
    pub headers: HeaderMap,
    pub body: Value,
}

impl Pushed {
    pub fn bearer(&self) -> Option<&str> {
        self.headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
    }
}

/// A push endpoint.
pub struct Endpoint {
    pub url: String,
    receiver: Arc<Receiver>,
}

struct Receiver {
    pushes: Mutex<Vec<Pushed>>,
    /// The next responses; 204 when the list is empty.
    answers: Mutex<VecDeque<Option<u16>>>,
    /// Pushes without a response wait here.
    held: Semaphore,
}

impl Endpoint {
    /// Responds with these statuses, then with 204. `None`: no response until [`Self::let_go`].
    pub async fn start(answers: impl IntoIterator<Item = Option<u16>>) -> Self {
        let (pushes, answers) = (Mutex::default(), Mutex::new(answers.into_iter().collect()));
        let receiver = Arc::new(Receiver { pushes, answers, held: Semaphore::new(0) });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/push", listener.local_addr().unwrap());
        let routes = Router::new().route("/push", post(take)).with_state(Arc::clone(&receiver));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { url, receiver }
    }

    /// Responds to the waiting pushes.
    pub fn let_go(&self) {
        self.receiver.held.close();
    }

    pub fn pushes(&self) -> Vec<Pushed> {
        self.receiver.pushes.lock().unwrap().clone()
    }
}

async fn take(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, Json(body): Json<Value>) -> StatusCode {
    receiver.pushes.lock().unwrap().push(Pushed { headers, body });
    let answer = receiver.answers.lock().unwrap().pop_front();
    if answer == Some(None) {
        let _ = receiver.held.acquire().await;
    }
    StatusCode::from_u16(answer.flatten().unwrap_or(204)).unwrap()
}
