//! `/brands`: one, many, cancel, delete.

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
        params::BrandId,
        present::{BaseUrl, Brand},
        problem::Problem,
    },
};

/// A page of brands, newest first.
#[derive(ToSchema)]
#[schema(as = BrandPage, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what `shared::list` sends")]
pub(in crate::gateway) struct BrandPage<'a> {
    data: Vec<Brand<'a>>,
    /// The first one's id; absent on an empty page.
    #[schema(nullable = false)]
    first_id: Option<&'a str>,
    /// The last one's id: the `after` of the next page.
    #[schema(nullable = false)]
    last_id: Option<&'a str>,
    /// Whether there is a next page.
    has_more: bool,
}

/// One brand
///
/// As it stands now: the caller's own, or their team's. Somebody else's is not found.
#[utoipa::path(
    get,
    operation_id = "getBrand",
    path = "/brands/{id}",
    tag = "brands",
    params(
        ("id" = String, Path, description = "The brand's id.", example = "brd_4kQ0b1xYc7ZpT2mN9sVd"),
        ("userId" = Option<String>, Query, description = "The caller; `local` when absent."),
    ),
    responses(
        (status = 200, description = "The brand.", body = Brand),
        (status = 404, description = "There is no such brand of the caller or their team."),
        (status = 422, description = "The user id is invalid."),
        (status = 503, description = "A backend cannot be reached."),
    )
)]
pub(in crate::gateway) async fn get(
    State(gateway): State<GatewayState>,
    Caller(user): Caller,
    base: BaseUrl,
    BrandId(id): BrandId,
) -> Result<Response, Problem> {
    shared::get(gateway, &user, base, &id).await
}

/// The caller's brands
///
/// Their own and their team's, newest first. Follow `Link: <…>; rel="next"`, or pass `lastId` as `after`, while `hasMore`.
#[utoipa::path(
    get,
    operation_id = "listBrands",
    path = "/brands",
    tag = "brands",
    params(
        ("status" = Option<String>, Query, description = "Only those in one of these states, separated by commas: \
            queued, training, ready, failed, cancelled."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100, description = "How many, 20 when absent."),
        ("after" = Option<String>, Query, description = "The last brand of the page before."),
        ("userId" = Option<String>, Query, description = "The caller; `local` when absent."),
    ),
    responses(
        (status = 200, description = "A page.", body = BrandPage, headers(
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
    let owner = gateway.queries().brand_owner(&user).await?;
    shared::list(gateway, &user, owner, JobKind::Brand, base, &uri).await
}

/// Stop a brand
///
/// Repeating it changes nothing, and neither does stopping what is finished. Its credits are given back. Members of the
/// brand's team may do so too.
#[utoipa::path(
    post,
    operation_id = "cancelBrand",
    path = "/brands/{id}/cancel",
    tag = "brands",
    params(
        ("id" = String, Path, description = "The brand's id.", example = "brd_4kQ0b1xYc7ZpT2mN9sVd"),
        ("userId" = Option<String>, Query, description = "The caller; `local` when absent."),
    ),
    responses(
        (status = 200, description = "It is finished: cancelled, or ready or failed before.", body = Brand),
        (status = 202, description = "It is running and being stopped: `cancelRequested` is true, and its events \
            tell when it has stopped.", body = Brand),
        (status = 404, description = "There is no such brand of the caller or their team."),
        (status = 422, description = "The user id is invalid."),
        (status = 503, description = "A backend cannot be reached."),
    )
)]
pub(in crate::gateway) async fn cancel(
    State(gateway): State<GatewayState>,
    Caller(user): Caller,
    base: BaseUrl,
    BrandId(id): BrandId,
) -> Result<Response, Problem> {
    shared::cancel(gateway, &user, base, &id).await
}

/// Delete a brand
///
/// With its pictures, for good; only what is finished. What it cost stays in the account's books, and pictures that were
/// drawn in it stay as they are. Members of the brand's team may do so too.
#[utoipa::path(
    delete,
    operation_id = "deleteBrand",
    path = "/brands/{id}",
    tag = "brands",
    params(
        ("id" = String, Path, description = "The brand's id.", example = "brd_4kQ0b1xYc7ZpT2mN9sVd"),
        ("userId" = Option<String>, Query, description = "The caller; `local` when absent."),
    ),
    responses(
        (status = 204, description = "It is gone."),
        (status = 404, description = "There is no such brand of the caller or their team."),
        (status = 409, description = "It is not finished: cancel it first."),
        (status = 422, description = "The user id is invalid."),
        (status = 503, description = "A backend cannot be reached."),
    )
)]
pub(in crate::gateway) async fn delete(
    State(gateway): State<GatewayState>,
    Caller(user): Caller,
    BrandId(id): BrandId,
) -> Result<StatusCode, Problem> {
    shared::delete(&gateway, &user, &id).await
}
