//! Server-sent events of one job, or of all jobs of the caller.

use std::{collections::BTreeSet, time::Duration};

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse as _, Response},
};
use futures::{FutureExt as _, StreamExt as _, stream};

use crate::{
    domain::{
        Timestamp,
        ids::UserId,
        job::{Job, Status},
        kind::JobKind,
    },
    error::BackendError,
    gateway::{
        GatewayState,
        auth::EventsCaller,
        openapi::{LastEventIdHeader, LastEventIdParam, UserIdParam},
        params::JobPath,
        present::{BaseUrl, Presenter},
        problem::Problem,
        resource::JobResource,
        sse::{self, EventIds, JobEvents},
        streams::StreamPermit,
    },
    store::{JobFilter, Owner, PageRequest, Versioned},
};

/// How many finished jobs of each kind a resumed stream of all jobs reports at most.
const MAX_MISSED: usize = 100;
/// The clocks of two gateways may differ, and a client may reconnect to the other one.
const CLOCK_SKEW: Duration = Duration::from_mins(1);

/// The events of one job. `routes/jobs/openapi.rs` describes this route.
pub(super) async fn job_events<R: JobResource>(
    State(gateway): State<GatewayState>,
    EventsCaller(user): EventsCaller,
    base: BaseUrl,
    JobPath { id, .. }: JobPath<R>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let not_found = || Problem::job_not_found(R::KIND);
    let permit = StreamPermit::acquire(&gateway, &user)?;
    let mut changes = gateway.queries().watch_job(&user, &id).await?.ok_or_else(not_found)?;
    // Read the first state before the response begins, so that a failing store becomes a problem document instead of an
    // empty stream.
    let now = changes.next().await.ok_or_else(not_found)??;
    let last = sse::last_event_id(&headers, &uri);
    let is_finished = now.value.status().is_final();
    if is_finished && last == Some(now.version.0) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let presenter = Presenter::new(gateway.clone(), base);
    let events = if !is_finished && last.is_some_and(|last| last >= now.version.0) {
        let mut events = JobEvents::new(gateway, presenter, EventIds::Version, None, changes, permit);
        events.assume_sent(&now);
        events
    } else {
        JobEvents::new(gateway, presenter, EventIds::Version, Some(now), changes, permit)
    };
    Ok(events.into_response())
}

/// Watch all illustrations and brands of the caller
///
/// An endless stream: the current state of every unfinished job first, then every change of any job. `data` is an
/// illustration or a brand: the former has an `illustrationId`, the latter a `brandId`. Brands that other members of the
/// caller's team train are not included: watch those one by one. The `id` of an event is a point in time. A client that
/// reconnects with `Last-Event-ID` also receives the jobs that have finished since, from its newest 100 of each kind. A
/// job may be sent twice; its `version` shows this.
#[utoipa::path(
    get,
    operation_id = "watchAll",
    path = "/events",
    tag = "events",
    params(UserIdParam, LastEventIdParam, LastEventIdHeader),
    responses(
        (status = 200, description = "The events.", body = String, content_type = "text/event-stream",
            example = "retry: 2000\n\nevent: job.queued\nid: 1\ndata: {\"illustrationId\":\"ill_4kQ0b1xYc7ZpT2mN9sVd\",\"status\":\"queued\",\"version\":1}\n\n"),
    )
)]
pub(in crate::gateway) async fn all_events(
    State(gateway): State<GatewayState>,
    EventsCaller(user): EventsCaller,
    base: BaseUrl,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let permit = StreamPermit::acquire(&gateway, &user)?;
    let mut changes = gateway.queries().watch_user(&user);
    // Poll once before reading the list, so that a job that finishes in between is in the stream or in the list.
    let first = changes.next().now_or_never().flatten().transpose()?;
    let missed = match sse::last_event_id(&headers, &uri) {
        Some(last) => finished_since(&gateway, user, last).await?,
        None => Vec::new(),
    };
    let changes = stream::iter(first.map(Ok)).chain(changes).boxed();
    let presenter = Presenter::new(gateway.clone(), base);
    Ok(JobEvents::new(gateway, presenter, EventIds::Time, missed, changes, permit).into_response())
}

/// The jobs that have finished since the time in an event id (milliseconds since 1970), the earliest first.
async fn finished_since(
    gateway: &GatewayState,
    user: UserId,
    event_id: u64,
) -> Result<Vec<Versioned<Job>>, BackendError> {
    let since = i64::try_from(event_id).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let since = since.unwrap_or(Timestamp::MAX).checked_sub(CLOCK_SKEW).unwrap_or(Timestamp::MIN);
    let statuses: BTreeSet<_> = Status::ALL.into_iter().filter(|status| status.is_final()).collect();
    let page = PageRequest { limit: MAX_MISSED, after: None };
    let mut finished = Vec::new();
    for kind in JobKind::ALL {
        let filter = JobFilter { owner: Owner::User(user.clone()), kind, statuses: statuses.clone() };
        finished.extend(gateway.queries().list(&filter, &page).await?.items);
    }
    finished.retain(|job| job.value.finished_at().is_some_and(|at| at >= since));
    finished.sort_by_key(|job| job.value.finished_at());
    Ok(finished)
}
