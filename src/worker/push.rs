//! The push endpoints: the only place that knows Pub/Sub's envelope. They hand each message to [`Worker::deliver`].

use axum::{
    extract::Request,
    http::{StatusCode, header},
};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::time::timeout;

use super::{Worker, envelope};
use crate::domain::{kind::JobKind, message::PushOutcome};

/// The size limit of a push in bytes. A Pub/Sub message of 10 MB becomes 13.4 MB of JSON, and Pub/Sub would deliver it
/// again and again if the reply were 413.
const PUSH_LIMIT: usize = 14 << 20;

/// Receives a push from the subscription of `kind`. The error is the status of a push that cannot be read.
pub(super) async fn receive(worker: Worker, request: Request, kind: JobKind) -> Result<PushOutcome, StatusCode> {
    let (parts, body) = request.into_parts();
    let length = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > PUSH_LIMIT as u64) {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    // The timeout frees the connection and the permit of a caller that sends its body too slowly.
    let body = match timeout(worker.settings.body_timeout, Limited::new(body, PUSH_LIMIT).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(StatusCode::PAYLOAD_TOO_LARGE),
        Ok(Err(_)) => return Err(StatusCode::BAD_REQUEST),
        Err(_) => return Err(StatusCode::REQUEST_TIMEOUT),
    };
    Ok(match envelope::parse(&body, kind) {
        Ok((message, delivery)) => worker.deliver(message, delivery).await,
        Err(dead_letter) => worker.record_dead_letter(*dead_letter).await,
    })
}
