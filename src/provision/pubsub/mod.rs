//! Looks at the topics and subscriptions of a project, creates what is missing and repairs what differs.

mod desired;
mod drift;

use futures::future::try_join_all;
use google_cloud_gax::error::{Error, rpc::Code};
use google_cloud_pubsub::{
    client::{SubscriptionAdmin, TopicAdmin},
    model::Subscription,
};
use google_cloud_wkt::FieldMask;

use self::drift::drift;
use super::{Action, Drift, PlannedResource, ProvisionError, PushTarget, ResourceKind};
use crate::{
    domain::message::TOPICS,
    error::BackendError,
    google::{
        self,
        pubsub::{PubSubProject, code},
    },
};

/// The role that permits every call.
const ROLE: &str = "roles/pubsub.editor";

type Result<T> = std::result::Result<T, ProvisionError>;

/// Plans and makes changes to the Pub/Sub of a project.
#[derive(Debug)]
pub struct Provisioner {
    project: PubSubProject,
    push: PushTarget,
    topics: TopicAdmin,
    subscriptions: SubscriptionAdmin,
}

impl Provisioner {
    /// Does not connect yet.
    pub(super) async fn open(project: PubSubProject, push: PushTarget) -> std::result::Result<Self, BackendError> {
        let (topics, subscriptions) = (project.topic_admin().await?, project.subscription_admin().await?);
        Ok(Self { project, push, topics, subscriptions })
    }

    /// The id of the project.
    pub fn project(&self) -> &str {
        self.project.id()
    }

    /// Where subscriptions push to.
    pub fn push_target(&self) -> &PushTarget {
        &self.push
    }

    /// Compares every topic and subscription with its desired state and changes nothing. Topics come first, because
    /// subscriptions need them.
    pub async fn plan(&self) -> Result<Vec<PlannedResource>> {
        let topics = try_join_all(TOPICS.map(|name| self.plan_topic(name))).await?;
        let desired = desired::subscriptions(&self.project, &self.push);
        let subscriptions = try_join_all(desired.iter().map(|want| self.plan_subscription(want))).await?;
        Ok(topics.into_iter().chain(subscriptions).collect())
    }

    async fn plan_topic(&self, name: &str) -> Result<PlannedResource> {
        let found = optional(self.topics.get_topic().set_topic(self.project.topic(name)).send().await);
        let found = found.map_err(|error| self.failed("look at", ResourceKind::Topic, name, error))?;
        let action = if found.is_some() { Action::Nothing } else { Action::Create };
        Ok(PlannedResource { kind: ResourceKind::Topic, name: name.to_owned(), action, drift: Vec::new() })
    }

    async fn plan_subscription(&self, want: &Subscription) -> Result<PlannedResource> {
        let name = short_name(&want.name);
        let found = optional(self.subscriptions.get_subscription().set_subscription(&want.name).send().await);
        let found = found.map_err(|error| self.failed("look at", ResourceKind::Subscription, name, error))?;
        let drift = found.as_ref().map(|have| drift(have, want)).unwrap_or_default();
        let action = match &found {
            None => Action::Create,
            Some(_) if drift.is_empty() => Action::Nothing,
            Some(_) if drift.iter().any(|it| it.repairable) => Action::Update,
            Some(_) => Action::Blocked,
        };
        Ok(PlannedResource { kind: ResourceKind::Subscription, name: name.to_owned(), action, drift })
    }

    /// Makes the change that the plan names for one resource. Repairs a subscription that another process has created since
    /// then.
    pub async fn apply(&self, planned: &PlannedResource) -> Result<()> {
        match (planned.kind, planned.action) {
            (_, Action::Nothing | Action::Blocked) => Ok(()),
            (ResourceKind::Topic, _) => self.create_topic(&planned.name).await,
            (ResourceKind::Subscription, Action::Create) => self.create_subscription(&planned.name).await,
            (ResourceKind::Subscription, Action::Update) => self.update(&planned.name, &planned.drift).await,
        }
    }

    async fn create_topic(&self, name: &str) -> Result<()> {
        match self.topics.create_topic().set_name(self.project.topic(name)).send().await {
            // Possibly by this call: if its answer was lost, the repetition finds the topic.
            Err(error) if code(&error) == Some(Code::AlreadyExists) => Ok(()),
            created => created.map(drop).map_err(|error| self.failed("create", ResourceKind::Topic, name, error)),
        }
    }

    async fn create_subscription(&self, name: &str) -> Result<()> {
        let Some(want) = self.desired(name) else { return Ok(()) };
        match self.subscriptions.create_subscription().with_request(want.clone()).send().await {
            Err(error) if code(&error) == Some(Code::AlreadyExists) => {
                let now = self.plan_subscription(&want).await?;
                self.update(name, &now.drift).await
            }
            created => {
                created.map(drop).map_err(|error| self.failed("create", ResourceKind::Subscription, name, error))
            }
        }
    }

    async fn update(&self, name: &str, drift: &[Drift]) -> Result<()> {
        let mut mask: Vec<_> = drift.iter().filter_map(|it| it.mask).collect();
        mask.dedup();
        let Some(want) = self.desired(name).filter(|_| !mask.is_empty()) else { return Ok(()) };
        let update = self.subscriptions.update_subscription().set_subscription(want);
        let updated = update.set_update_mask(FieldMask::default().set_paths(mask)).send().await;
        updated.map(drop).map_err(|error| self.failed("update", ResourceKind::Subscription, name, error))
    }

    fn desired(&self, name: &str) -> Option<Subscription> {
        desired::subscriptions(&self.project, &self.push).into_iter().find(|want| short_name(&want.name) == name)
    }

    fn failed(&self, verb: &'static str, kind: ResourceKind, name: &str, error: Error) -> ProvisionError {
        let (what, op) = match kind {
            ResourceKind::Topic => (format!("topic {}", self.project.topic(name)), "provision.topic"),
            ResourceKind::Subscription => {
                (format!("subscription {}", self.project.subscription(name)), "provision.subscription")
            }
        };
        if code(&error) == Some(Code::PermissionDenied) {
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

/// `None` if the resource does not exist.
fn optional<T>(answer: std::result::Result<T, Error>) -> std::result::Result<Option<T>, Error> {
    match answer {
        Err(error) if code(&error) == Some(Code::NotFound) => Ok(None),
        answer => answer.map(Some),
    }
}

fn short_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}
