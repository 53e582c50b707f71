//! `/illustrations`: one, many, cancel, delete.

use std::collections::BTreeSet;

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use url::form_urlencoded;
use utoipa::ToSchema;

use crate::{
    domain::{
        ids::JobId,
        job::{JobKind, Status},
    },
    gateway::{
        GatewayState,
        auth::Caller,
        params::{IllustrationId, Params},
        present::{BaseUrl, Illustration, Presenter, statuses},
        problem::{Code, Problem, WrongField},
    },
    jobs::Deletion,
    store::{JobFilter, Owner, PageRequest},
};

const DEFAULT_LIMIT: usize = 20;
const MAX_LIMIT: usize = 100;

/// A page of illustrations, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = IllustrationPage)]
pub(in crate::gateway) struct IllustrationPage<'a> {
    data: Vec<Illustration<'a>>,
    /// The first one's id; absent on an empty page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    first_id: Option<&'a str>,
    /// The last one's id: the `after` of the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
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
    let job = gateway.jobs().get(&user, &id).await?.ok_or_else(Problem::no_such_job)?;
    let presenter = Presenter::new(gateway, base);
    Ok(Json(presenter.illustration(&job).await?).into_response())
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
    let Query { statuses, page } = Query::parse(Params::of(&uri)).map_err(Problem::invalid)?;
    if let Some(after) = &page.after {
        // A store answers an unknown cursor with an empty page, which a client would take for the end of the list.
        if gateway.jobs().get(&user, after).await?.is_none() {
            let wrong = WrongField::query("after", "no such illustration; begin again with the first page");
            return Err(Problem::invalid(vec![wrong]));
        }
    }
    let filter = JobFilter { owner: Owner::User(user), kind: JobKind::Illustration, statuses };
    let found = gateway.jobs().list(&filter, &page).await?;
    let presenter = Presenter::new(gateway, base);
    let mut data = Vec::with_capacity(found.items.len());
    for job in &found.items {
        data.push(presenter.illustration(job).await?);
    }
    let first_id = found.items.first().map(|job| job.value.id.as_str());
    let last_id = found.items.last().map(|job| job.value.id.as_str());
    let next = last_id.filter(|_| found.has_more).and_then(|last| next_link(&uri, last));
    let page = IllustrationPage { data, first_id, last_id, has_more: found.has_more };
    let mut response = Json(page).into_response();
    if let Some(next) = next {
        response.headers_mut().insert(header::LINK, next);
    }
    Ok(response)
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
    let job = gateway.jobs().cancel(&user, &id).await?.ok_or_else(Problem::no_such_job)?;
    let status = if job.value.status().is_final() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let presenter = Presenter::new(gateway, base);
    Ok((status, Json(presenter.illustration(&job).await?)).into_response())
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
    match gateway.jobs().delete(&user, &id).await? {
        Deletion::Deleted => Ok(StatusCode::NO_CONTENT),
        Deletion::Missing => Err(Problem::no_such_job()),
        Deletion::NotFinished => {
            Err(Problem::new(Code::JobNotFinished, "cancel it or wait for its end, then delete it"))
        }
    }
}

/// The parameters of a list.
struct Query {
    statuses: BTreeSet<Status>,
    page: PageRequest,
}

impl Query {
    fn parse(params: Params<'_>) -> Result<Self, Vec<WrongField>> {
        let status = params.one("status").and_then(|text| text.map_or(Ok(BTreeSet::new()), |text| wanted(&text)));
        let limit = params.one("limit").and_then(|text| text.map_or(Ok(DEFAULT_LIMIT), |text| bounded(&text)));
        let after = params.one("after").and_then(|text| text.map(|text| cursor(&text)).transpose());
        match (status, limit, after) {
            (Ok(statuses), Ok(limit), Ok(after)) => Ok(Self { statuses, page: PageRequest { limit, after } }),
            (status, limit, after) => Err([status.err(), limit.err(), after.err()].into_iter().flatten().collect()),
        }
    }
}

fn wanted(text: &str) -> Result<BTreeSet<Status>, WrongField> {
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    words
        .map(|word| {
            Status::from_shown(word, JobKind::Illustration).ok_or_else(|| {
                WrongField::query("status", format!("unknown status; one or more of: {}", statuses().join(", ")))
            })
        })
        .collect()
}

fn bounded(text: &str) -> Result<usize, WrongField> {
    let limit = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
    limit.ok_or_else(|| WrongField::query("limit", format!("must be a whole number from 1 to {MAX_LIMIT}")))
}

fn cursor(text: &str) -> Result<JobId, WrongField> {
    text.parse().map_err(|error| WrongField::query("after", format!("{error}")))
}

/// The same list, further down.
fn next_link(uri: &Uri, last: &str) -> Option<HeaderValue> {
    let others = Params::of(uri).pairs().filter(|(name, _)| name != "after");
    let query =
        form_urlencoded::Serializer::new(String::new()).extend_pairs(others).append_pair("after", last).finish();
    HeaderValue::try_from(format!("</illustrations?{query}>; rel=\"next\"")).ok()
}
