//! What both kinds of job do alike: pages of them, cancel, delete, and the answer to a submit.

use std::{collections::BTreeSet, time::Duration};

use axum::{
    Json,
    http::{Extensions, HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use futures::{StreamExt as _, future::try_join_all};
use serde::Serialize;
use url::form_urlencoded;

use crate::{
    domain::{
        ids::{JobId, UserId},
        job::{Job, Status},
        kind::JobKind,
    },
    gateway::{
        GatewayState,
        admission::Admitted,
        idempotency,
        params::Params,
        prefer::{PREFER, PREFERENCE_APPLIED, Prefer},
        present::{BaseUrl, JobView, Presenter, statuses},
        problem::{Code, Problem, WrongField},
        streams::StreamPermit,
    },
    jobs::{DeleteResult, Submitted},
    store::{JobFilter, Owner, PageRequest, Versioned},
};

const DEFAULT_LIMIT: usize = 20;
const MAX_LIMIT: usize = 100;

/// A page as it is sent; the routes describe it with the type of its rows.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a> {
    data: Vec<JobView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_id: Option<&'a str>,
    has_more: bool,
}

/// The page of the owner's jobs of one kind that the query asks for, newest first.
pub(super) async fn list(
    gateway: GatewayState,
    user: &UserId,
    owner: Owner,
    kind: JobKind,
    base: BaseUrl,
    uri: &Uri,
) -> Result<Response, Problem> {
    let Query { statuses, page } = Query::parse(Params::of(uri), kind).map_err(Problem::invalid)?;
    if let Some(after) = &page.after {
        // A store answers an unknown cursor with an empty page, which a client would take for the end of the list.
        if after.kind() != kind || gateway.queries().get(user, after).await?.is_none() {
            let noun = kind.noun();
            let wrong = WrongField::query("after", format!("no such {noun}; begin again with the first page"));
            return Err(Problem::invalid(vec![wrong]));
        }
    }
    let found = gateway.queries().list(&JobFilter { owner, kind, statuses }, &page).await?;
    let presenter = Presenter::new(gateway, base);
    let data = try_join_all(found.items.iter().map(|job| presenter.job(job))).await?;
    let first_id = found.items.first().map(|job| job.value.id.as_str());
    let last_id = found.items.last().map(|job| job.value.id.as_str());
    let next = last_id.filter(|_| found.has_more).and_then(|last| next_link(uri, last));
    let mut response = Json(Page { data, first_id, last_id, has_more: found.has_more }).into_response();
    if let Some(next) = next {
        response.headers_mut().insert(header::LINK, next);
    }
    Ok(response)
}

/// The user's job.
pub(super) async fn get(gateway: GatewayState, user: &UserId, base: BaseUrl, id: &JobId) -> Result<Response, Problem> {
    let job = gateway.queries().get(user, id).await?.ok_or_else(|| Problem::no_such(id.kind()))?;
    Ok(Json(Presenter::new(gateway, base).job(&job).await?).into_response())
}

/// Stops the user's job.
pub(super) async fn cancel(
    gateway: GatewayState,
    user: &UserId,
    base: BaseUrl,
    id: &JobId,
) -> Result<Response, Problem> {
    let job = gateway.control().cancel(user, id).await?.ok_or_else(|| Problem::no_such(id.kind()))?;
    let status = if job.value.status().is_final() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(Presenter::new(gateway, base).job(&job).await?)).into_response())
}

/// Deletes the user's finished job.
pub(super) async fn delete(gateway: &GatewayState, user: &UserId, id: &JobId) -> Result<StatusCode, Problem> {
    match gateway.control().delete(user, id).await? {
        DeleteResult::Deleted => Ok(StatusCode::NO_CONTENT),
        DeleteResult::Missing => Err(Problem::no_such(id.kind())),
        DeleteResult::NotFinished => {
            Err(Problem::new(Code::JobNotFinished, "cancel it or wait for its end, then delete it"))
        }
    }
}

/// The answer to a submit: 202 with `accepted`, or the finished job within the wait that the client prefers.
pub(super) async fn accepted(
    gateway: GatewayState,
    base: BaseUrl,
    prefer: Prefer,
    submitted: &Submitted,
    accepted: impl Serialize,
    request: &Extensions,
) -> Result<Response, Problem> {
    let Submitted { job, replayed } = submitted;
    // Waiting is a preference: with too many open already it is not honoured, and the job is accepted all the same.
    let waits = prefer.wait().map(|wait| Ok((wait, StreamPermit::take(&gateway, &job.value.user)?)));
    let (prefer, finished) = match waits {
        Some(Ok((wait, _place))) => {
            Admitted::give_way(request);
            (prefer, finished(&gateway, job, wait).await)
        }
        Some(Err::<_, Problem>(_)) => (Prefer::default(), None),
        None => (prefer, None),
    };
    let mut response = match &finished {
        Some(job) => Json(Presenter::new(gateway, base).job(job).await?).into_response(),
        None => (StatusCode::ACCEPTED, Json(accepted)).into_response(),
    };
    let headers = response.headers_mut();
    if let Ok(location) = HeaderValue::try_from(format!("/{}/{}", job.value.kind().collection(), job.value.id)) {
        headers.insert(header::LOCATION, location);
    }
    describe(headers, prefer, *replayed);
    Ok(response)
}

fn describe(headers: &mut HeaderMap, prefer: Prefer, replayed: bool) {
    headers.append(header::VARY, HeaderValue::from(PREFER));
    if replayed {
        headers.insert(idempotency::IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    if let Some(applied) = prefer.applied() {
        headers.insert(PREFERENCE_APPLIED, applied);
    }
}

/// The job once it is finished; `None` when it is not by then, the gateway is about to stop, or the store cannot tell:
/// the job is accepted all the same, and the client learns the rest from its path.
async fn finished(gateway: &GatewayState, job: &Versioned<Job>, wait: Duration) -> Option<Versioned<Job>> {
    let last = async {
        let mut changes = gateway.queries().watch_job(&job.value.user, &job.value.id).await.ok()??;
        while let Some(change) = changes.next().await {
            match change {
                Ok(job) if job.value.status().is_final() => return Some(job),
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(op = error.op, %error, "watching for the end of the job failed");
                    return None;
                }
            }
        }
        None
    };
    tokio::select! {
        () = gateway.drain().cancelled() => None,
        ended = tokio::time::timeout(wait, last) => ended.ok().flatten(),
    }
}

/// The parameters of a list.
struct Query {
    statuses: BTreeSet<Status>,
    page: PageRequest,
}

impl Query {
    fn parse(params: Params<'_>, kind: JobKind) -> Result<Self, Vec<WrongField>> {
        // A form sends the fields that were left blank too.
        let given = |name| params.one(name).map(|text| text.filter(|text| !text.is_empty()));
        let status = given("status").and_then(|text| text.map_or(Ok(BTreeSet::new()), |text| wanted(&text, kind)));
        let limit = given("limit").and_then(|text| text.map_or(Ok(DEFAULT_LIMIT), |text| bounded(&text)));
        let after = given("after").and_then(|text| text.map(|text| cursor(&text)).transpose());
        match (status, limit, after) {
            (Ok(statuses), Ok(limit), Ok(after)) => Ok(Self { statuses, page: PageRequest { limit, after } }),
            (status, limit, after) => Err([status.err(), limit.err(), after.err()].into_iter().flatten().collect()),
        }
    }
}

fn wanted(text: &str, kind: JobKind) -> Result<BTreeSet<Status>, WrongField> {
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    words
        .map(|word| {
            Status::from_shown(word, kind).ok_or_else(|| {
                let words = statuses(kind).join(", ");
                WrongField::query("status", format!("unknown status; one or more of: {words}"))
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
    HeaderValue::try_from(format!("<{}?{query}>; rel=\"next\"", uri.path())).ok()
}
