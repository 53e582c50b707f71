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
use utoipa_axum::router::OpenApiRouter;

use super::{events, stream_tokens};
use crate::{
    gateway::{
        GatewayState,
        auth::Caller,
        params::JobPath,
        present::{BaseUrl, Presenter},
        problem::{Code, Problem},
        resource::JobResource,
    },
    jobs::DeleteResult,
};

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
    let job = gateway.queries().get(&user, &id).await?.ok_or_else(|| Problem::job_not_found(R::KIND))?;
    Ok(Json(Presenter::new(gateway, base).job(&job).await?).into_response())
}

async fn cancel<R: JobResource>(
    State(gateway): State<GatewayState>,
    Caller(user): Caller,
    base: BaseUrl,
    JobPath { id, .. }: JobPath<R>,
) -> Result<Response, Problem> {
    let job = gateway.control().cancel(&user, &id).await?.ok_or_else(|| Problem::job_not_found(R::KIND))?;
    let status = if job.value.status().is_final() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(Presenter::new(gateway, base).job(&job).await?)).into_response())
}

async fn delete<R: JobResource>(
    State(gateway): State<GatewayState>,
    Caller(user): Caller,
    JobPath { id, .. }: JobPath<R>,
) -> Result<StatusCode, Problem> {
    match gateway.control().delete(&user, &id).await? {
        DeleteResult::Deleted => Ok(StatusCode::NO_CONTENT),
        DeleteResult::Missing => Err(Problem::job_not_found(R::KIND)),
        DeleteResult::NotFinished => {
            Err(Problem::new(Code::JobNotFinished, "cancel it or wait for its end, then delete it"))
        }
    }
}
