//! Addresses that an `EventSource` can open, because it cannot send headers.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use url::form_urlencoded;
use utoipa::ToSchema;

use crate::{
    domain::{Timestamp, ids::UserId},
    gateway::{
        GatewayState, auth::Caller, openapi::UserIdParam, params::JobPath, present::BaseUrl, problem::Problem,
        resource::JobResource,
    },
};

/// An address of events that requires no headers.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::gateway) struct StreamToken {
    /// Pass this to `EventSource`.
    #[schema(example = "http://127.0.0.1:8080/illustrations/ill_4kQ0b1xYc7ZpT2mN9sVd/events?userId=local")]
    url: String,
    /// The token in the address. It gives access to these events only. Absent if callers do not sign in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    token: Option<String>,
    /// The token opens no new streams after this time; open streams stay open.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    expires_at: Option<Timestamp>,
}

/// The address of one job's events. `routes/jobs/openapi.rs` describes this route.
pub(super) async fn for_job<R: JobResource>(
    State(gateway): State<GatewayState>,
    Caller(user): Caller,
    base: BaseUrl,
    JobPath { id, .. }: JobPath<R>,
) -> Result<Response, Problem> {
    gateway.queries().get(&user, &id).await?.ok_or_else(|| Problem::job_not_found(R::KIND))?;
    Ok(respond(&gateway, &user, &base, &format!("/{}/{id}/events", R::KIND.collection())))
}

/// Create an event address for all jobs of the caller
///
/// Creates an address of `GET /events` for `EventSource`, which cannot send `Authorization`.
#[utoipa::path(
    post,
    operation_id = "tokenForAllEvents",
    path = "/events/stream-token",
    tag = "events",
    params(UserIdParam),
    responses((status = 200, description = "The address.", body = StreamToken))
)]
pub(in crate::gateway) async fn for_all(
    State(gateway): State<GatewayState>,
    Caller(user): Caller,
    base: BaseUrl,
) -> Response {
    respond(&gateway, &user, &base, "/events")
}

fn respond(gateway: &GatewayState, user: &UserId, base: &BaseUrl, path: &str) -> Response {
    let token = gateway.events_token(user, path);
    let (name, value) = match &token {
        Some(token) => ("token", token.token.as_str()),
        None => ("userId", user.as_str()),
    };
    let query = form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish();
    let url = base.link(&format!("{path}?{query}"));
    let (token, expires_at) = token.map(|token| (token.token, token.expires_at)).unzip();
    Json(StreamToken { url, token, expires_at }).into_response()
}
