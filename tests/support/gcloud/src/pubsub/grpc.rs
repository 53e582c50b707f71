//! The gRPC services: publishing, and pulling.

use axum::Router;
use gcloud_sdk::google::pubsub::v1::{
    AcknowledgeRequest, ModifyAckDeadlineRequest, PublishRequest, PublishResponse, PubsubMessage, PullRequest,
    PullResponse, ReceivedMessage, SeekRequest, SeekResponse, seek_request::Target,
};
use jiff::Timestamp;
use tonic::{Request, Response, Status, async_trait, service::Routes};

use super::{Message, PubSub, pull::Pulled};
use crate::services::{
    publisher::publisher_server::{Publisher, PublisherServer},
    subscriber::subscriber_server::{Subscriber, SubscriberServer},
};

/// More than the service accepts, so that the service itself refuses larger requests.
const MAX_REQUEST_BYTES: usize = 32 << 20;

pub fn routes(pubsub: &PubSub) -> Router {
    let publisher = PublisherServer::new(pubsub.clone()).max_decoding_message_size(MAX_REQUEST_BYTES);
    let subscriber = SubscriberServer::new(pubsub.clone()).max_decoding_message_size(MAX_REQUEST_BYTES);
    let mut routes = Routes::builder();
    routes.add_service(publisher).add_service(subscriber);
    routes.routes().into_axum_router().reset_fallback()
}

#[async_trait]
impl Publisher for PubSub {
    async fn publish(&self, request: Request<PublishRequest>) -> Result<Response<PublishResponse>, Status> {
        let PublishRequest { topic, messages } = request.into_inner();
        let message_ids = self.change(|state| state.publish(&topic, messages, super::now()))?;
        Ok(Response::new(PublishResponse { message_ids }))
    }
}

#[async_trait]
impl Subscriber for PubSub {
    async fn pull(&self, request: Request<PullRequest>) -> Result<Response<PullResponse>, Status> {
        let request = request.into_inner();
        #[expect(deprecated, reason = "clients still send it")]
        let is_immediate = request.return_immediately;
        let pulled = self.pull(&request.subscription, request.max_messages, is_immediate).await?;
        Ok(Response::new(PullResponse { received_messages: pulled.iter().map(received).collect() }))
    }

    async fn acknowledge(&self, request: Request<AcknowledgeRequest>) -> Result<Response<()>, Status> {
        let request = request.into_inner();
        self.acknowledge(&request.subscription, &request.ack_ids).map(Response::new)
    }

    async fn modify_ack_deadline(&self, request: Request<ModifyAckDeadlineRequest>) -> Result<Response<()>, Status> {
        let request = request.into_inner();
        let changed = self.modify_ack_deadline(&request.subscription, &request.ack_ids, request.ack_deadline_seconds);
        changed.map(Response::new)
    }

    async fn seek(&self, request: Request<SeekRequest>) -> Result<Response<SeekResponse>, Status> {
        let SeekRequest { subscription, target } = request.into_inner();
        let time = match target {
            Some(Target::Time(time)) => Timestamp::new(time.seconds, time.nanos),
            Some(Target::Snapshot(_)) => return Err(Status::unimplemented("the emulator has no snapshots")),
            None => return Err(Status::invalid_argument("a seek has a time or a snapshot")),
        };
        self.seek(&subscription, time.map_err(|error| Status::invalid_argument(error.to_string()))?)?;
        Ok(Response::new(SeekResponse {}))
    }
}

fn received(pulled: &Pulled) -> ReceivedMessage {
    ReceivedMessage {
        ack_id: pulled.taken.ticket.to_ack_id(),
        message: Some(message(&pulled.taken.message)),
        delivery_attempt: pulled.attempt.map_or(0, u32::cast_signed),
    }
}

fn message(message: &Message) -> PubsubMessage {
    let (seconds, nanos) = (message.publish_time.as_second(), message.publish_time.subsec_nanosecond());
    PubsubMessage {
        data: message.data.clone(),
        attributes: message.attributes.clone().into_iter().collect(),
        message_id: message.id.clone(),
        publish_time: Some(prost_types::Timestamp { seconds, nanos }),
        ordering_key: message.ordering_key.clone(),
    }
}
