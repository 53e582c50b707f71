//! Addresses that an `EventSource` can open, which sends no headers.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use url::form_urlencoded;
use utoipa::ToSchema;

use crate::{
    domain::{
        Timestamp,
        ids::{JobId, UserId},
    },
    gateway::{
        GatewayState,
        auth::Caller,
        params::{BrandId, IllustrationId},
        present::BaseUrl,
        problem::Problem,
    },
};

/// Where events can be watched without headers.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = StreamToken)]
pub(in crate::gateway) struct StreamToken {
    /// What an `EventSource` opens.
    #[schema(example = "http://127.0.0.1:8080/illustrations/ill_4kQ0b1xYc7ZpT2mN9sVd/events?userId=local")]
    url: String,
    /// The token in it, which opens these events alone; absent where callers do not sign in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    token: Option<String>,
    /// It opens no more streams from then on; those that are open go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    expires_at: Option<Timestamp>,
}

/// An address to watch an illustration at
///
/// For `EventSource`, which sends no `Authorization`: it opens this illustration's events, and nothing else, for a few
/// minutes. A stream that is open goes on; to open it again after that, ask for a new address and add `last_event_id`.
#[utoipa::path(
    post,
    operation_id = "tokenForIllustrationEvents",
    path = "/illustrations/{id}/stream-token",
    tag = "events",
    params(
        ("id" = String, Path, description = "The illustration's id.", example = "ill_4kQ0b1xYc7ZpT2mN9sVd"),
        ("userId" = Option<String>, Query, description = "The caller; `local` when absent."),
    ),
    responses(
        (status = 200, description = "The address.", body = StreamToken),
        (status = 404, description = "The caller has no such illustration."),
        (status = 422, description = "The user id is invalid."),
        (status = 503, description = "A backend cannot be reached."),
    )
)]
pub(in crate::gateway) async fn of_one(
    State(gateway): State<GatewayState>,
    Caller(user): Caller,
    base: BaseUrl,
    IllustrationId(id): IllustrationId,
) -> Result<Response, Problem> {
    of_job(&gateway, &user, &base, &id).await
}

/// An address to watch a brand at
///
/// The same for a brand of the caller or their team.
#[utoipa::path(
    post,
    operation_id = "tokenForBrandEvents",
    path = "/brands/{id}/stream-token",
    tag = "events",
    params(
        ("id" = String, Path, description = "The brand's id.", example = "brd_4kQ0b1xYc7ZpT2mN9sVd"),
        ("userId" = Option<String>, Query, description = "The caller; `local` when absent."),
    ),
    responses(
        (status = 200, description = "The address.", body = StreamToken),
        (status = 404, description = "There is no such brand of the caller or their team."),
        (status = 422, description = "The user id is invalid."),
        (status = 503, description = "A backend cannot be reached."),
    )
)]
pub(in crate::gateway) async fn of_brand(
    State(gateway): State<GatewayState>,
    Caller(user): Caller,
    base: BaseUrl,
    BrandId(id): BrandId,
) -> Result<Response, Problem> {
    of_job(&gateway, &user, &base, &id).await
}

/// An address to watch all of the caller's jobs at
///
/// The same for `GET /events`.
#[utoipa::path(
    post,
    operation_id = "tokenForAllEvents",
    path = "/events/stream-token",
    tag = "events",
    params(("userId" = Option<String>, Query, description = "The caller; `local` when absent.")),
    responses(
        (status = 200, description = "The address.", body = StreamToken),
        (status = 422, description = "The user id is invalid."),
    )
)]
pub(in crate::gateway) async fn of_all(
    State(gateway): State<GatewayState>,
    Caller(user): Caller,
    base: BaseUrl,
) -> Response {
    ticket(&gateway, &user, &base, "/events")
}

async fn of_job(gateway: &GatewayState, user: &UserId, base: &BaseUrl, id: &JobId) -> Result<Response, Problem> {
    gateway.queries().get(user, id).await?.ok_or_else(|| Problem::no_such(id.kind()))?;
    Ok(ticket(gateway, user, base, &format!("/{}/{id}/events", id.kind().collection())))
}

fn ticket(gateway: &GatewayState, user: &UserId, base: &BaseUrl, path: &str) -> Response {
    let ticket = gateway.events_ticket(user, path);
    let (name, value) = match &ticket {
        Some(ticket) => ("token", ticket.token.as_str()),
        None => ("userId", user.as_str()),
    };
    let query = form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish();
    let url = base.link(&format!("{path}?{query}"));
    let (token, expires_at) = ticket.map(|ticket| (ticket.token, ticket.expires_at)).unzip();
    Json(StreamToken { url, token, expires_at }).into_response()
}
