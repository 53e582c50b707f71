//! Makes the topics and subscriptions, and repairs those that are not as they should be.

use futures::future::try_join_all;
use google_cloud_gax::error::{Error, rpc::Code};
use google_cloud_pubsub::{
    client::{SubscriptionAdmin, TopicAdmin},
    model::Subscription,
};
use google_cloud_wkt::FieldMask;
use serde::Serialize;

use super::{Drift, ProvisionError, PubSubProject, Push, TOPICS, backoff, drift::drift, error, retry, wanted};
use crate::{config::PubSubConfig, error::BackendError, google};

/// What may make, look at and change topics and subscriptions.
const ROLE: &str = "roles/pubsub.editor";

type Result<T> = std::result::Result<T, ProvisionError>;

/// Looks at the topics and subscriptions of a project and makes them as they should be.
#[derive(Debug)]
pub struct Provision {
    project: PubSubProject,
    push: Push,
    topics: TopicAdmin,
    subscriptions: SubscriptionAdmin,
}

/// A topic or a subscription, and what is to be done about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Provisioned {
    /// Which of the two.
    pub kind: Kind,
    /// Its short name.
    pub name: String,
    /// What is to be done.
    pub action: Action,
    /// What is not as it should be.
    pub drift: Vec<Drift>,
}

/// What is provisioned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Where messages are published.
    Topic,
    /// From where they are pushed or pulled.
    Subscription,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Nothing: it is as it should be.
    Nothing,
    /// It is not there.
    Create,
    /// Something can be repaired.
    Update,
    /// Nothing that differs can be changed: a person must delete it.
    Blocked,
}

/// Opens the administration of a project's Pub/Sub. Nothing is connected before it is first used.
pub async fn open_provision(
    project: &str,
    config: &PubSubConfig,
    push: Push,
) -> std::result::Result<Provision, BackendError> {
    let project = PubSubProject::new(project, config);
    let credentials = google::credentials(project.endpoint.as_ref())?;
    let subscriptions = SubscriptionAdmin::builder().with_endpoint(project.base()).with_credentials(credentials);
    let subscriptions = subscriptions.with_retry_policy(retry()).with_backoff_policy(backoff()).build().await;
    let subscriptions = subscriptions.map_err(|error| error::unbuilt("provision.open", error))?;
    Ok(Provision { topics: project.topic_admin().await?, project, push, subscriptions })
}

impl Provision {
    /// The project.
    pub fn project(&self) -> &str {
        &self.project.project
    }

    /// How the workers are reached.
    pub fn push(&self) -> &Push {
        &self.push
    }

    /// Looks at everything and changes nothing. In the order in which it is to be done: topics first.
    pub async fn plan(&self) -> Result<Vec<Provisioned>> {
        let topics = try_join_all(TOPICS.map(|name| self.plan_topic(name))).await?;
        let wanted = wanted::subscriptions(&self.project, &self.push);
        let subscriptions = try_join_all(wanted.iter().map(|want| self.plan_subscription(want))).await?;
        Ok(topics.into_iter().chain(subscriptions).collect())
    }

    async fn plan_topic(&self, name: &str) -> Result<Provisioned> {
        let found = found(self.topics.get_topic().set_topic(self.project.topic(name)).send().await);
        let found = found.map_err(|error| self.failed("look at", Kind::Topic, name, error))?;
        let action = if found.is_some() { Action::Nothing } else { Action::Create };
        Ok(Provisioned { kind: Kind::Topic, name: name.to_owned(), action, drift: Vec::new() })
    }

    async fn plan_subscription(&self, want: &Subscription) -> Result<Provisioned> {
        let name = short(&want.name);
        let found = found(self.subscriptions.get_subscription().set_subscription(&want.name).send().await);
        let found = found.map_err(|error| self.failed("look at", Kind::Subscription, name, error))?;
        let drift = found.as_ref().map(|have| drift(have, want)).unwrap_or_default();
        let action = match &found {
            None => Action::Create,
            Some(_) if drift.is_empty() => Action::Nothing,
            Some(_) if drift.iter().any(|it| it.repairable) => Action::Update,
            Some(_) => Action::Blocked,
        };
        Ok(Provisioned { kind: Kind::Subscription, name: name.to_owned(), action, drift })
    }

    /// Does what the plan says about one of its lines. What somebody else has made meanwhile is made as it should be.
    pub async fn apply(&self, planned: &Provisioned) -> Result<()> {
        match (planned.kind, planned.action) {
            (_, Action::Nothing | Action::Blocked) => Ok(()),
            (Kind::Topic, _) => self.create_topic(&planned.name).await,
            (Kind::Subscription, Action::Create) => self.create_subscription(&planned.name).await,
            (Kind::Subscription, Action::Update) => self.update(&planned.name, &planned.drift).await,
        }
    }

    async fn create_topic(&self, name: &str) -> Result<()> {
        match self.topics.create_topic().set_name(self.project.topic(name)).send().await {
            // Also by this very call: its answer may have been lost, and a repetition finds it there.
            Err(error) if error::code(&error) == Some(Code::AlreadyExists) => Ok(()),
            created => created.map(drop).map_err(|error| self.failed("create", Kind::Topic, name, error)),
        }
    }

    async fn create_subscription(&self, name: &str) -> Result<()> {
        let Some(want) = self.wanted(name) else { return Ok(()) };
        match self.subscriptions.create_subscription().with_request(want.clone()).send().await {
            Err(error) if error::code(&error) == Some(Code::AlreadyExists) => {
                let now = self.plan_subscription(&want).await?;
                self.update(name, &now.drift).await
            }
            created => created.map(drop).map_err(|error| self.failed("create", Kind::Subscription, name, error)),
        }
    }

    async fn update(&self, name: &str, drift: &[Drift]) -> Result<()> {
        let mut mask: Vec<_> = drift.iter().filter_map(|it| it.mask).collect();
        mask.dedup();
        let Some(want) = self.wanted(name).filter(|_| !mask.is_empty()) else { return Ok(()) };
        let update = self.subscriptions.update_subscription().set_subscription(want);
        let updated = update.set_update_mask(FieldMask::default().set_paths(mask)).send().await;
        updated.map(drop).map_err(|error| self.failed("update", Kind::Subscription, name, error))
    }

    fn wanted(&self, name: &str) -> Option<Subscription> {
        wanted::subscriptions(&self.project, &self.push).into_iter().find(|want| short(&want.name) == name)
    }

    fn failed(&self, verb: &'static str, kind: Kind, name: &str, error: Error) -> ProvisionError {
        let (what, op) = match kind {
            Kind::Topic => (format!("topic {}", self.project.topic(name)), "provision.topic"),
            Kind::Subscription => {
                (format!("subscription {}", self.project.subscription(name)), "provision.subscription")
            }
        };
        if error::code(&error) == Some(Code::PermissionDenied) {
            return ProvisionError::Denied {
                what: format!("cannot {verb} {what}"),
                role: ROLE,
                source: Box::new(error),
            };
        }
        let failed = google::failed(op, error);
        let mut described = BackendError::new(failed.kind, op);
        described.retry_after = failed.retry_after;
        described.because(format!("cannot {verb} {what}: {failed}")).into()
    }
}

/// What was asked for, or nothing where it is not there.
fn found<T>(answer: std::result::Result<T, Error>) -> std::result::Result<Option<T>, Error> {
    match answer {
        Err(error) if error::code(&error) == Some(Code::NotFound) => Ok(None),
        answer => answer.map(Some),
    }
}

fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}
