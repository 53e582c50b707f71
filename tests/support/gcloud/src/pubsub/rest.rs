//! The REST service: administration, publish and pull.

use std::collections::BTreeMap;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Query, State},
    http::Method,
    routing::{any, get},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tonic::Status;

use super::{PubSub, data, mask, push, resource};
use crate::status::Refusal;

const MAX_REQUEST_BYTES: usize = 32 << 20;
/// The fields that an update may name.
const OPEN_IN_TOPIC: &[&str] = &["labels", "messageRetentionDuration"];
const OPEN_IN_SUBSCRIPTION: &[&str] = &[
    "pushConfig",
    "ackDeadlineSeconds",
    "retainAckedMessages",
    "messageRetentionDuration",
    "labels",
    "enableExactlyOnceDelivery",
    "expirationPolicy",
    "deadLetterPolicy",
    "retryPolicy",
];

type RestResult = Result<Json<Value>, Refusal>;
/// The query parameters of a request.
type Parameters = Query<BTreeMap<String, String>>;

pub fn routes(pubsub: &PubSub) -> Router {
    Router::new()
        .route("/v1/projects/{project}/topics", get(list_topics))
        .route("/v1/projects/{project}/topics/{topic}", any(topic))
        .route("/v1/projects/{project}/topics/{topic}/subscriptions", get(list_topic_subscriptions))
        .route("/v1/projects/{project}/subscriptions", get(list_subscriptions))
        .route("/v1/projects/{project}/subscriptions/{subscription}", any(subscription))
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .with_state(pubsub.clone())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Update {
    #[serde(alias = "topic")]
    subscription: Value,
    #[serde(default)]
    update_mask: String,
}

async fn topic(
    State(pubsub): State<PubSub>,
    Path((project, id)): Path<(String, String)>,
    parameters: Parameters,
    method: Method,
    body: Bytes,
) -> RestResult {
    let (id, verb) = id.split_once(':').unwrap_or((&id, ""));
    let name = format!("projects/{project}/topics/{id}");
    let topic = match (method.as_str(), verb) {
        ("PUT", "") => {
            let settings = resource::Topic { name, ..from(&body)? };
            pubsub.change(|state| state.create_topic(settings))?
        }
        ("GET", "") => pubsub.lock().topic(&name)?.settings.clone(),
        ("PATCH", "") => {
            let Update { subscription: update, update_mask } = from(&body)?;
            pubsub.change(|state| {
                let updated = mask::apply(&state.topic(&name)?.settings, &update, &update_mask, OPEN_IN_TOPIC)?;
                state.update_topic(updated)
            })?
        }
        ("DELETE", "") => {
            pubsub.change(|state| state.delete_topic(&name))?;
            return Ok(Json(json!({})));
        }
        ("POST", "publish") => {
            let data::Publish { messages } = from(&body)?;
            let messages = messages.into_iter().map(Into::into).collect();
            let ids = pubsub.change(|state| state.publish(&name, messages, super::now()))?;
            return Ok(Json(json!({ "messageIds": ids })));
        }
        (method, verb) => return undone(method, verb),
    };
    Ok(Json(resource_json(&topic, &parameters)))
}

async fn subscription(
    State(pubsub): State<PubSub>,
    Path((project, id)): Path<(String, String)>,
    parameters: Parameters,
    method: Method,
    body: Bytes,
) -> RestResult {
    let (id, verb) = id.split_once(':').unwrap_or((&id, ""));
    let name = format!("projects/{project}/subscriptions/{id}");
    let subscription = match (method.as_str(), verb) {
        ("PUT", "") => create_subscription(&pubsub, resource::Subscription { name, ..from(&body)? })?,
        ("GET", "") => pubsub.lock().queue(&name)?.settings.clone(),
        ("PATCH", "") => {
            let Update { subscription: update, update_mask } = from(&body)?;
            pubsub.change(|state| {
                let now = &state.queue(&name)?.settings;
                let updated = mask::apply(now, &update, &update_mask, OPEN_IN_SUBSCRIPTION)?;
                state.update_subscription(updated)
            })?
        }
        ("DELETE", "") => {
            pubsub.change(|state| state.delete_subscription(&name))?;
            return Ok(Json(json!({})));
        }
        ("POST", verb) => return act(&pubsub, &name, verb, &body).await,
        (method, verb) => return undone(method, verb),
    };
    Ok(Json(resource_json(&subscription, &parameters)))
}

fn create_subscription(pubsub: &PubSub, settings: resource::Subscription) -> Result<resource::Subscription, Status> {
    let (settings, number) = pubsub.change(|state| state.create_subscription(settings))?;
    tokio::spawn(push::serve(pubsub.clone(), settings.name.clone(), number));
    Ok(settings)
}

/// The custom methods of a subscription (`:pull` and others).
async fn act(pubsub: &PubSub, name: &str, verb: &str, body: &[u8]) -> RestResult {
    match verb {
        "modifyPushConfig" => {
            let data::ModifyPushConfig { push_config } = from(body)?;
            pubsub.change(|state| {
                let settings = state.queue(name)?.settings.clone();
                state.update_subscription(resource::Subscription { push_config, ..settings })
            })?;
        }
        "seek" => {
            let data::Seek { time, snapshot } = from(body)?;
            if snapshot.is_some() {
                return Err(Status::unimplemented("the emulator has no snapshots").into());
            }
            let time = time.ok_or_else(|| Status::invalid_argument("a seek has a time or a snapshot"))?;
            let time = time.parse().map_err(|_| Status::invalid_argument(format!("{time:?} is not a time")))?;
            pubsub.seek(name, time)?;
        }
        "pull" => {
            let data::Pull { max_messages, return_immediately } = from(body)?;
            let pulled = pubsub.pull(name, max_messages, return_immediately).await?;
            return Ok(Json(data::pulled(&pulled)));
        }
        "acknowledge" => {
            let data::Acknowledge { ack_ids } = from(body)?;
            pubsub.acknowledge(name, &ack_ids)?;
        }
        "modifyAckDeadline" => {
            let data::ModifyAckDeadline { ack_ids, ack_deadline_seconds } = from(body)?;
            pubsub.modify_ack_deadline(name, &ack_ids, ack_deadline_seconds)?;
        }
        verb => return undone("POST", verb),
    }
    Ok(Json(json!({})))
}

async fn list_topics(State(pubsub): State<PubSub>, Path(project): Path<String>, parameters: Parameters) -> RestResult {
    let state = pubsub.lock();
    let prefix = format!("projects/{project}/topics/");
    let topics = state.topics.iter().filter(|(name, _)| name.starts_with(&prefix));
    let topics = topics.map(|(name, topic)| (name.clone(), resource_json(&topic.settings, &parameters)));
    Ok(page("topics", topics, &parameters))
}

async fn list_subscriptions(
    State(pubsub): State<PubSub>,
    Path(project): Path<String>,
    parameters: Parameters,
) -> RestResult {
    let state = pubsub.lock();
    let prefix = format!("projects/{project}/subscriptions/");
    let queues = state.queues.iter().filter(|(name, _)| name.starts_with(&prefix));
    let queues = queues.map(|(name, queue)| (name.clone(), resource_json(&queue.settings, &parameters)));
    Ok(page("subscriptions", queues, &parameters))
}

async fn list_topic_subscriptions(
    State(pubsub): State<PubSub>,
    Path((project, topic)): Path<(String, String)>,
    parameters: Parameters,
) -> RestResult {
    let topic = format!("projects/{project}/topics/{topic}");
    let state = pubsub.lock();
    state.topic(&topic)?;
    let queues = state.queues.iter().filter(|(_, queue)| queue.settings.topic == topic);
    Ok(page("subscriptions", queues.map(|(name, _)| (name.clone(), json!(name))), &parameters))
}

/// A page of resources sorted by name. The token is the last name of the previous page.
fn page(key: &str, items: impl Iterator<Item = (String, Value)>, parameters: &Parameters) -> Json<Value> {
    let after = parameters.get("pageToken").map_or("", String::as_str);
    let size = parameters.get("pageSize").and_then(|size| size.parse().ok()).filter(|size| *size > 0);
    let mut items = items.filter(|(name, _)| name.as_str() > after).peekable();
    let page: Vec<_> = items.by_ref().take(size.unwrap_or(100)).collect();
    let mut body = json!({});
    if let (Some((last, _)), Some(_)) = (page.last(), items.peek()) {
        body["nextPageToken"] = json!(last);
    }
    body[key] = page.into_iter().map(|(_, item)| item).collect();
    Json(body)
}

/// Spells enums as numbers if the client requests it with `$alt=json;enum-encoding=int`.
fn resource_json<T: serde::Serialize>(resource: &T, parameters: &Parameters) -> Value {
    let mut value = json!(resource);
    if parameters.get("$alt").is_some_and(|alt| alt.contains("enum-encoding=int")) {
        value["state"] = json!(1);
    }
    value
}

fn from<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Status> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| Status::invalid_argument(format!("Invalid JSON payload: {error}")))
}

fn undone(method: &str, verb: &str) -> RestResult {
    Err(Status::unimplemented(format!("the emulator does not do {method} {verb}")).into())
}
