//! Server-sent events of one job, or of all of the caller's.

use std::time::Duration;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse as _, Response},
};
use futures::{FutureExt as _, StreamExt as _, stream};

use crate::{
    domain::{
        Timestamp,
        ids::{JobId, UserId},
        job::{Job, Status},
        kind::JobKind,
    },
    error::BackendError,
    gateway::{
        GatewayState,
        auth::Watcher,
        params::{BrandId, IllustrationId},
        present::{BaseUrl, Presenter},
        problem::Problem,
        sse::{self, Ids, JobEvents},
        streams::StreamPermit,
    },
    store::{JobFilter, Owner, PageRequest, Versioned},
};

/// Of how many jobs of a kind a resumed stream tells that they ended meanwhile.
const LOOK_BACK: usize = 100;
/// Clocks of two gateways may differ, and a client may come back to the other one.
const CLOCK_SKEW: Duration = Duration::from_mins(1);

/// Watch an illustration
///
/// Its state now, then every change, until it is finished: `job.queued`, `job.processing`, `job.progress`,
/// `job.completed`, `job.failed`, `job.cancelled`. `data` is the illustration, `id` its version. A client that comes
/// back with `Last-Event-ID` is told what it does not know yet; once it knows the end, the answer is 204, which stops
/// `EventSource`.
#[utoipa::path(
    get,
    operation_id = "watchIllustration",
    path = "/illustrations/{id}/events",
    tag = "events",
    params(
        ("id" = String, Path, description = "The illustration's id.", example = "ill_4kQ0b1xYc7ZpT2mN9sVd"),
        ("userId" = Option<String>, Query, description = "The caller; `local` when absent."),
        ("last_event_id" = Option<u64>, Query, description = "As the header."),
        ("Last-Event-ID" = Option<u64>, Header, description = "The last event the client has seen."),
    ),
    responses(
        (status = 200, description = "The events.", body = String, content_type = "text/event-stream",
            example = "retry: 2000\n\nevent: job.queued\nid: 1\ndata: {\"illustrationId\":\"ill_4kQ0b1xYc7ZpT2mN9sVd\",\"status\":\"queued\",\"version\":1}\n\n"),
        (status = 204, description = "It is finished, and the client has seen its end."),
        (status = 404, description = "The caller has no such illustration."),
        (status = 422, description = "The user id is invalid."),
        (status = 503, description = "A backend cannot be reached."),
    )
)]
pub(in crate::gateway) async fn of_one(
    State(gateway): State<GatewayState>,
    Watcher(user): Watcher,
    base: BaseUrl,
    IllustrationId(id): IllustrationId,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    follow(gateway, &user, base, &id, &headers, &uri).await
}

/// Watch a brand
///
/// Its state now, then every change, until it is finished: the same events as of an illustration, so `job.processing`
/// while its `status` is `training`, and `job.completed` when it is `ready`. `data` is the brand, `id` its version.
#[utoipa::path(
    get,
    operation_id = "watchBrand",
    path = "/brands/{id}/events",
    tag = "events",
    params(
        ("id" = String, Path, description = "The brand's id.", example = "brd_4kQ0b1xYc7ZpT2mN9sVd"),
        ("userId" = Option<String>, Query, description = "The caller; `local` when absent."),
        ("last_event_id" = Option<u64>, Query, description = "As the header."),
        ("Last-Event-ID" = Option<u64>, Header, description = "The last event the client has seen."),
    ),
    responses(
        (status = 200, description = "The events.", body = String, content_type = "text/event-stream",
            example = "retry: 2000\n\nevent: job.processing\nid: 2\ndata: {\"brandId\":\"brd_4kQ0b1xYc7ZpT2mN9sVd\",\"status\":\"training\",\"version\":2}\n\n"),
        (status = 204, description = "It is finished, and the client has seen its end."),
        (status = 404, description = "There is no such brand of the caller or their team."),
        (status = 422, description = "The user id is invalid."),
        (status = 503, description = "A backend cannot be reached."),
    )
)]
pub(in crate::gateway) async fn of_brand(
    State(gateway): State<GatewayState>,
    Watcher(user): Watcher,
    base: BaseUrl,
    BrandId(id): BrandId,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    follow(gateway, &user, base, &id, &headers, &uri).await
}

async fn follow(
    gateway: GatewayState,
    user: &UserId,
    base: BaseUrl,
    id: &JobId,
    headers: &HeaderMap,
    uri: &Uri,
) -> Result<Response, Problem> {
    let missing = || Problem::no_such(id.kind());
    let permit = StreamPermit::take(&gateway, user)?;
    let mut changes = gateway.queries().watch_job(user, id).await?.ok_or_else(missing)?;
    // Read before the answer begins, so that a failing store is a problem document and not an empty stream.
    let now = changes.next().await.ok_or_else(missing)??;
    let last = sse::last_event_id(headers, uri);
    let finished = now.value.status().is_final();
    if finished && last == Some(now.version.0) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let presenter = Presenter::new(gateway.clone(), base);
    let events = if !finished && last.is_some_and(|last| last >= now.version.0) {
        let mut events = JobEvents::new(gateway, presenter, Ids::Version, None, changes, permit);
        events.already_told(&now);
        events
    } else {
        JobEvents::new(gateway, presenter, Ids::Version, Some(now), changes, permit)
    };
    Ok(events.into_response())
}

/// Watch all of the caller's illustrations and brands
///
/// `data` is an illustration or a brand: the one has an `illustrationId`, the other a `brandId`. Brands of the caller's
/// team that somebody else trains are watched one by one. Every unfinished job as it stands, then every change of any, without an end. The `id` of an event is a moment; a
/// client that comes back with `Last-Event-ID` is also told of those among its 100 newest of either kind that ended since. It may be
/// told twice: `version` tells.
#[utoipa::path(
    get,
    operation_id = "watchAll",
    path = "/events",
    tag = "events",
    params(
        ("userId" = Option<String>, Query, description = "The caller; `local` when absent."),
        ("last_event_id" = Option<u64>, Query, description = "As the header."),
        ("Last-Event-ID" = Option<u64>, Header, description = "The last event the client has seen."),
    ),
    responses(
        (status = 200, description = "The events.", body = String, content_type = "text/event-stream",
            example = "retry: 2000\n\nevent: job.queued\nid: 1\ndata: {\"illustrationId\":\"ill_4kQ0b1xYc7ZpT2mN9sVd\",\"status\":\"queued\",\"version\":1}\n\n"),
        (status = 422, description = "The user id is invalid."),
        (status = 503, description = "A backend cannot be reached."),
    )
)]
pub(in crate::gateway) async fn of_all(
    State(gateway): State<GatewayState>,
    Watcher(user): Watcher,
    base: BaseUrl,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let permit = StreamPermit::take(&gateway, &user)?;
    let mut changes = gateway.queries().watch_user(&user);
    // Asked once before the list is read: what ends in between is then in the one or in the other.
    let first = changes.next().now_or_never().flatten().transpose()?;
    let missed = match sse::last_event_id(&headers, &uri) {
        Some(last) => ended_since(&gateway, user, last).await?,
        None => Vec::new(),
    };
    let changes = stream::iter(first.map(Ok)).chain(changes).boxed();
    let presenter = Presenter::new(gateway.clone(), base);
    Ok(JobEvents::new(gateway, presenter, Ids::Time, missed, changes, permit).into_response())
}

/// What ended since the moment an event's id names, the earliest first.
async fn ended_since(gateway: &GatewayState, user: UserId, id: u64) -> Result<Vec<Versioned<Job>>, BackendError> {
    let since = i64::try_from(id).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::MAX);
    let since = since.checked_sub(CLOCK_SKEW).unwrap_or(Timestamp::MIN);
    let statuses: std::collections::BTreeSet<_> = Status::ALL.into_iter().filter(|status| status.is_final()).collect();
    let mut filter = JobFilter { owner: Owner::User(user), kind: JobKind::Illustration, statuses };
    let page = PageRequest { limit: LOOK_BACK, after: None };
    let mut ended = gateway.queries().list(&filter, &page).await?.items;
    filter.kind = JobKind::Brand;
    ended.extend(gateway.queries().list(&filter, &page).await?.items);
    ended.retain(|job| job.value.finished_at().is_some_and(|at| at >= since));
    ended.sort_by_key(|job| job.value.finished_at());
    Ok(ended)
}
