//! Pages of jobs.

use std::collections::BTreeSet;

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, Uri, header},
    response::{IntoResponse as _, Response},
};
use futures::future::try_join_all;
use serde::Serialize;
use url::form_urlencoded;
use utoipa::ToSchema;

use crate::{
    domain::{ids::JobId, job::Status, kind::JobKind},
    gateway::{
        GatewayState,
        auth::Caller,
        params::QueryParams,
        present::{BaseUrl, Presenter, statuses},
        problem::{InvalidField, Problem},
        resource::JobResource,
    },
    store::{JobFilter, Owner, PageRequest},
};

pub(super) const DEFAULT_LIMIT: usize = 20;
pub(super) const MAX_LIMIT: usize = 100;

/// A page, newest first.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct JobPage<'a, T> {
    data: Vec<T>,
    /// The id of the first entry; absent on an empty page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    first_id: Option<&'a str>,
    /// The id of the last entry: pass it as `after` to read the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    last_id: Option<&'a str>,
    /// Whether there is a next page.
    has_more: bool,
}

/// The page of the caller's jobs that the query asks for.
pub(super) async fn list<R: JobResource>(
    State(gateway): State<GatewayState>,
    Caller(user): Caller,
    base: BaseUrl,
    uri: Uri,
) -> Result<Response, Problem> {
    let kind = R::KIND;
    let ListQuery { statuses, page } = ListQuery::parse(QueryParams::of(&uri), kind).map_err(Problem::invalid)?;
    if let Some(after) = &page.after {
        // For an unknown cursor, the store returns an empty page, which a client would take for the end of the list.
        if after.kind() != kind || gateway.queries().get(&user, after).await?.is_none() {
            let detail = format!("no such {}; begin again with the first page", kind.noun());
            return Err(Problem::invalid(vec![InvalidField::query("after", detail)]));
        }
    }
    let owner = match kind {
        JobKind::Illustration => Owner::User(user),
        JobKind::Brand => gateway.queries().brand_owner(&user).await?,
    };
    let jobs = gateway.queries().list(&JobFilter { owner, kind, statuses }, &page).await?;
    let presenter = Presenter::new(gateway, base);
    let data = try_join_all(jobs.items.iter().map(|job| presenter.job(job))).await?;
    let first_id = jobs.items.first().map(|job| job.value.id.as_str());
    let last_id = jobs.items.last().map(|job| job.value.id.as_str());
    let next = last_id.filter(|_| jobs.has_more).and_then(|last| next_link(&uri, last));
    let mut response = Json(JobPage { data, first_id, last_id, has_more: jobs.has_more }).into_response();
    if let Some(next) = next {
        response.headers_mut().insert(header::LINK, next);
    }
    Ok(response)
}

/// The parameters of a list.
struct ListQuery {
    statuses: BTreeSet<Status>,
    page: PageRequest,
}

impl ListQuery {
    fn parse(params: QueryParams<'_>, kind: JobKind) -> Result<Self, Vec<InvalidField>> {
        // An HTML form also sends the fields that were left blank.
        let given = |name| params.one(name).map(|text| text.filter(|text| !text.is_empty()));
        let status =
            given("status").and_then(|text| text.map_or(Ok(BTreeSet::new()), |text| parse_statuses(&text, kind)));
        let limit = given("limit").and_then(|text| text.map_or(Ok(DEFAULT_LIMIT), |text| parse_limit(&text)));
        let after = given("after").and_then(|text| text.map(|text| parse_cursor(&text)).transpose());
        match (status, limit, after) {
            (Ok(statuses), Ok(limit), Ok(after)) => Ok(Self { statuses, page: PageRequest { limit, after } }),
            (status, limit, after) => Err([status.err(), limit.err(), after.err()].into_iter().flatten().collect()),
        }
    }
}

fn parse_statuses(text: &str, kind: JobKind) -> Result<BTreeSet<Status>, InvalidField> {
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    words
        .map(|word| {
            Status::from_shown(word, kind).ok_or_else(|| {
                let valid = statuses(kind).join(", ");
                InvalidField::query("status", format!("unknown status; one or more of: {valid}"))
            })
        })
        .collect()
}

fn parse_limit(text: &str) -> Result<usize, InvalidField> {
    let limit = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
    limit.ok_or_else(|| InvalidField::query("limit", format!("must be a whole number from 1 to {MAX_LIMIT}")))
}

fn parse_cursor(text: &str) -> Result<JobId, InvalidField> {
    text.parse().map_err(|error| InvalidField::query("after", format!("{error}")))
}

/// `Link` to the next page of the same list (RFC 8288).
fn next_link(uri: &Uri, last: &str) -> Option<HeaderValue> {
    let others = QueryParams::of(uri).pairs().filter(|(name, _)| name != "after");
    let query =
        form_urlencoded::Serializer::new(String::new()).extend_pairs(others).append_pair("after", last).finish();
    HeaderValue::try_from(format!("<{}?{query}>; rel=\"next\"", uri.path())).ok()
}
