//! A project's Pub/Sub: resource names, clients, and errors that tell an operator what to do.

use std::{borrow::Borrow, time::Duration};

use google_cloud_auth::credentials::Credentials;
use google_cloud_gax::{
    client_builder,
    error::{Error, rpc::Code},
    exponential_backoff::{ExponentialBackoff, ExponentialBackoffBuilder},
    retry_policy::{RetryPolicy, RetryPolicyExt as _},
};
use google_cloud_pubsub::{
    client::{SubscriptionAdmin, TopicAdmin},
    retry_policy::RetryableErrors,
};
use url::Url;

use crate::error::{BackendError, ErrorKind};

/// Limits of one call with its retries: the caller of a submit waits for a publish, and the sweeper publishes again what
/// was not published.
const TRIES: u32 = 3;
const TIME: Duration = Duration::from_secs(5);

/// The Pub/Sub of a project.
#[derive(Debug, Clone)]
pub struct PubSubProject {
    id: String,
    endpoint: Option<Url>,
}

impl PubSubProject {
    /// `endpoint` replaces Google's own address.
    pub fn new(id: &str, endpoint: Option<Url>) -> Self {
        Self { id: id.to_owned(), endpoint }
    }

    /// The project's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The address in the form that the clients take.
    pub fn address(&self) -> &str {
        self.endpoint.as_ref().map_or("https://pubsub.googleapis.com", super::base)
    }

    /// The full name of a topic.
    pub fn topic(&self, name: &str) -> String {
        format!("projects/{}/topics/{name}", self.id)
    }

    /// The full name of a subscription.
    pub fn subscription(&self, name: &str) -> String {
        format!("projects/{}/subscriptions/{name}", self.id)
    }

    /// The credentials of every client.
    pub fn credentials(&self) -> Result<Credentials, BackendError> {
        super::credentials(self.endpoint.as_ref())
    }

    /// A client that manages topics. Connects with its first call.
    pub async fn topic_admin(&self) -> Result<TopicAdmin, BackendError> {
        let client = TopicAdmin::builder().with_endpoint(self.address()).with_credentials(self.credentials()?);
        let client = client.with_retry_policy(retry()).with_backoff_policy(backoff()).build().await;
        client.map_err(|error| unbuilt("pubsub.open", error))
    }

    /// A client that manages subscriptions. Connects with its first call.
    pub async fn subscription_admin(&self) -> Result<SubscriptionAdmin, BackendError> {
        let client = SubscriptionAdmin::builder().with_endpoint(self.address()).with_credentials(self.credentials()?);
        let client = client.with_retry_policy(retry()).with_backoff_policy(backoff()).build().await;
        client.map_err(|error| unbuilt("pubsub.open", error))
    }
}

/// When a client repeats a call. Retry policies cannot be cloned.
pub fn retry() -> impl RetryPolicy + 'static {
    RetryableErrors.with_time_limit(TIME).with_attempt_limit(TRIES)
}

/// The pauses between the tries of a call.
pub fn backoff() -> ExponentialBackoff {
    // Clamped, so that a wrong constant cannot panic.
    ExponentialBackoffBuilder::new()
        .with_initial_delay(Duration::from_millis(100))
        .with_maximum_delay(Duration::from_secs(1))
        .clamp()
}

/// The error of a failed call. If a topic, a subscription or a permission is missing, it says what to do. `what` is the
/// resource and `role` the role that permits the call.
pub fn explained<E>(op: &'static str, what: &str, role: &str, error: E) -> BackendError
where
    E: Borrow<Error> + std::error::Error + Send + Sync + 'static,
{
    match code(error.borrow()) {
        Some(Code::NotFound) => broken(op, missing(what)),
        Some(Code::PermissionDenied) => broken(op, denied(what, role, &error)),
        _ => super::failed(op, error),
    }
}

/// [`explained`] for a call over tonic.
pub fn explained_status(op: &'static str, what: &str, role: &str, status: tonic::Status) -> BackendError {
    match status.code() {
        tonic::Code::NotFound => broken(op, missing(what)),
        tonic::Code::PermissionDenied => broken(op, denied(what, role, &status)),
        code => BackendError::new(super::kind_of_code(Code::from(i32::from(code))), op).because(status),
    }
}

/// The gRPC code of an error, also if the response has only an HTTP status.
pub fn code(error: &Error) -> Option<Code> {
    match (error.status(), error.http_status_code()) {
        (Some(status), _) => Some(status.code),
        (None, Some(404)) => Some(Code::NotFound),
        (None, Some(403)) => Some(Code::PermissionDenied),
        (None, Some(409)) => Some(Code::AlreadyExists),
        _ => None,
    }
}

/// The error of a client that cannot be built.
pub fn unbuilt(op: &'static str, error: client_builder::Error) -> BackendError {
    BackendError::new(ErrorKind::Broken, op).because(error)
}

fn missing(what: &str) -> String {
    format!("{what} does not exist; `mediaforge provision` creates it")
}

fn denied(what: &str, role: &str, error: &dyn std::error::Error) -> String {
    format!("{what}: permission denied; grant {role} to the service account of this process: {error}")
}

fn broken(op: &'static str, why: String) -> BackendError {
    BackendError::new(ErrorKind::Broken, op).because(why)
}
