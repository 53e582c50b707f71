//! `/illustrations`: one, many, cancel, delete.

use axum::{
    extract::State,
    http::{StatusCode, Uri},
    response::Response,
};
use utoipa::ToSchema;

use super::shared;
use crate::{
    domain::kind::JobKind,
    gateway::{
        GatewayState,
        auth::Caller,
        params::IllustrationId,
        present::{BaseUrl, Illustration},
        problem::Problem,
    },
    store::Owner,
};

/// A page of illustrations, newest first.
#[derive(ToSchema)]
#[schema(as = IllustrationPage, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what `shared::list` sends")]
pub(in crate::gateway) struct IllustrationPage<'a> {
    data: Vec<Illustration<'a>>,
    /// The first one's id; absent on an empty page.
    #[schema(nullable = false)]
    first_id: Option<&'a str>,
    /// The last one's id: the `after` of the next page.
    #[schema(nullable = false)]
    last_id: Option<&'a str>,
    /// Whether there is a next page.
    has_more: bool,
}

/// One illustration
///
/// As it stands now. Somebody else's is not found.
#[utoipa::path(
    get,
    operation_id = "getIllustration",
    path = "/illustrations/{id}",
    tag = "illustrations",
    params(
        ("id" = String, Path, description = "The illustration's id.", example = "ill_4kQ0b1xYc7ZpT2mN9sVd"),
        ("userId" = Option<String>, Query, description = "The caller; `local` when absent."),
    ),
    responses(
        (status = 200, description = "The illustration.", body = Illustration),
        (status = 404, description = "The caller has no such illustration."),
        (status = 422, description = "The user id is invalid."),
        (status = 503, description = "A backend cannot be reached."),
    )
)]
pub(in crate::gateway) async fn get(
    State(gateway): State<GatewayState>,
    Caller(user): Caller,
    base: BaseUrl,
    IllustrationId(id): IllustrationId,
) -> Result<Response, Problem> {
    shared::get(gateway, &user, base, &id).await
}

/// The caller's illustrations
///
/// Newest first. Follow `Link: <…>; rel="next"`, or pass `lastId` as `after`, while `hasMore`.
#[utoipa::path(
    get,
    operation_id = "listIllustrations",
    path = "/illustrations",
    tag = "illustrations",
    params(
        ("status" = Option<String>, Query, description = "Only those in one of these states, separated by commas: \
            queued, processing, completed, failed, cancelled."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100, description = "How many, 20 when absent."),
        ("after" = Option<String>, Query, description = "The last illustration of the page before."),
        ("userId" = Option<String>, Query, description = "The caller; `local` when absent."),
    ),
    responses(
        (status = 200, description = "A page.", body = IllustrationPage, headers(
            ("Link" = Option<String>, description = "The next page, if there is one: `<…>; rel=\"next\"`"),
        )),
        (status = 422, description = "Parameters are invalid; all of them are listed."),
        (status = 503, description = "A backend cannot be reached."),
    )
)]
pub(in crate::gateway) async fn list(
    State(gateway): State<GatewayState>,
    Caller(user): Caller,
    base: BaseUrl,
    uri: Uri,
) -> Result<Response, Problem> {
    let owner = Owner::User(user.clone());
    shared::list(gateway, &user, owner, JobKind::Illustration, base, &uri).await
}

/// Stop an illustration
///
/// Repeating it changes nothing, and neither does stopping what is finished. Its credits are given back.
#[utoipa::path(
    post,
    operation_id = "cancelIllustration",
    path = "/illustrations/{id}/cancel",
    tag = "illustrations",
    params(
        ("id" = String, Path, description = "The illustration's id.", example = "ill_4kQ0b1xYc7ZpT2mN9sVd"),
        ("userId" = Option<String>, Query, description = "The caller; `local` when absent."),
    ),
    responses(
        (status = 200, description = "It is finished: cancelled, or completed or failed before.", body = Illustration),
        (status = 202, description = "It is running and being stopped: `cancelRequested` is true, and its events \
            tell when it has stopped.", body = Illustration),
        (status = 404, description = "The caller has no such illustration."),
        (status = 422, description = "The user id is invalid."),
        (status = 503, description = "A backend cannot be reached."),
    )
)]
pub(in crate::gateway) async fn cancel(
    State(gateway): State<GatewayState>,
    Caller(user): Caller,
    base: BaseUrl,
    IllustrationId(id): IllustrationId,
) -> Result<Response, Problem> {
    shared::cancel(gateway, &user, base, &id).await
}

/// Delete an illustration
///
/// With its pictures, for good; only what is finished. What it cost stays in the account's books.
#[utoipa::path(
    delete,
    operation_id = "deleteIllustration",
    path = "/illustrations/{id}",
    tag = "illustrations",
    params(
        ("id" = String, Path, description = "The illustration's id.", example = "ill_4kQ0b1xYc7ZpT2mN9sVd"),
        ("userId" = Option<String>, Query, description = "The caller; `local` when absent."),
    ),
    responses(
        (status = 204, description = "It is gone."),
        (status = 404, description = "The caller has no such illustration."),
        (status = 409, description = "It is not finished: cancel it first."),
        (status = 422, description = "The user id is invalid."),
        (status = 503, description = "A backend cannot be reached."),
    )
)]
pub(in crate::gateway) async fn delete(
    State(gateway): State<GatewayState>,
    Caller(user): Caller,
    IllustrationId(id): IllustrationId,
) -> Result<StatusCode, Problem> {
    shared::delete(&gateway, &user, &id).await
}
