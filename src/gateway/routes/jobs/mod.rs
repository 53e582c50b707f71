//! The routes of jobs, written once for both kinds: `/illustrations` and `/brands`.

mod list;
mod openapi;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;

use self::openapi::Wording;
use super::{events, stream_tokens};
use crate::{
    domain::kind::JobKind,
    gateway::{
        GatewayState,
        auth::Caller,
        params::JobPath,
        present::{BaseUrl, BrandView, IllustrationView, Presenter},
        problem::{Code, Problem},
    },
    jobs::Deletion,
};

/// A kind of job as the API presents it. The implementing type is the view that clients receive.
pub(in crate::gateway) trait JobResource: ToSchema + Send + Sync + 'static {
    const KIND: JobKind;
    /// The words of this kind in the API description.
    const WORDING: Wording;
}

impl JobResource for IllustrationView<'static> {
    const KIND: JobKind = JobKind::Illustration;
    const WORDING: Wording = Wording {
        a_noun: "an illustration",
        owned: "the caller's illustrations",
        not_found: "The caller has no such illustration.",
        finished: "completed",
        sharing: "",
        deletion: "",
        example_id: "ill_4kQ0b1xYc7ZpT2mN9sVd",
        example_event: "event: job.queued\nid: 1\ndata: {\"illustrationId\":\"ill_4kQ0b1xYc7ZpT2mN9sVd\",\
            \"status\":\"queued\",\"version\":1}\n\n",
        events: "",
    };
}

impl JobResource for BrandView<'static> {
    const KIND: JobKind = JobKind::Brand;
    const WORDING: Wording = Wording {
        a_noun: "a brand",
        owned: "the brands of the caller and of the caller's team",
        not_found: "Neither the caller nor the caller's team has such a brand.",
        finished: "ready",
        sharing: " Every member of the brand's team may do this.",
        deletion: " Illustrations in the style of the brand are kept.",
        example_id: "brd_4kQ0b1xYc7ZpT2mN9sVd",
        example_event: "event: job.processing\nid: 2\ndata: {\"brandId\":\"brd_4kQ0b1xYc7ZpT2mN9sVd\",\
            \"status\":\"training\",\"version\":2}\n\n",
        events: " The event names are the same for both kinds of job: `job.processing` means that the `status` is \
            `training`, and `job.completed` that it is `ready`.",
    };
}

/// The routes of one kind of job, with their description.
pub(in crate::gateway) fn router<R: JobResource>() -> OpenApiRouter<GatewayState> {
    let all = format!("/{}", R::KIND.collection());
    let one = format!("{all}/{{id}}");
    OpenApiRouter::with_openapi(openapi::describe::<R>(&all, &one))
        .route(&all, get(list::list::<R>))
        .route(&one, get(show::<R>).delete(delete::<R>))
        .route(&format!("{one}/cancel"), post(cancel::<R>))
        .route(&format!("{one}/events"), get(events::job_events::<R>))
        .route(&format!("{one}/stream-token"), post(stream_tokens::for_job::<R>))
}

async fn show<R: JobResource>(
    State(gateway): State<GatewayState>,
    Caller(user): Caller,
    base: BaseUrl,
    JobPath { id, .. }: JobPath<R>,
) -> Result<Response, Problem> {
    let job = gateway.jobs().get(&user, &id).await?.ok_or_else(|| Problem::job_not_found(R::KIND))?;
    Ok(Json(Presenter::new(gateway, base).job(&job).await?).into_response())
}

async fn cancel<R: JobResource>(
    State(gateway): State<GatewayState>,
    Caller(user): Caller,
    base: BaseUrl,
    JobPath { id, .. }: JobPath<R>,
) -> Result<Response, Problem> {
    let job = gateway.jobs().cancel(&user, &id).await?.ok_or_else(|| Problem::job_not_found(R::KIND))?;
    let status = if job.value.status().is_final() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(Presenter::new(gateway, base).job(&job).await?)).into_response())
}

async fn delete<R: JobResource>(
    State(gateway): State<GatewayState>,
    Caller(user): Caller,
    JobPath { id, .. }: JobPath<R>,
) -> Result<StatusCode, Problem> {
    match gateway.jobs().delete(&user, &id).await? {
        Deletion::Deleted => Ok(StatusCode::NO_CONTENT),
        Deletion::Missing => Err(Problem::job_not_found(R::KIND)),
        Deletion::NotFinished => {
            Err(Problem::new(Code::JobNotFinished, "cancel it or wait for its end, then delete it"))
        }
    }
}
