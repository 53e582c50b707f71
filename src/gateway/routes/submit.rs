//! The response to a submit: 202 at once, or the finished job if the client prefers to wait.

use std::time::Duration;

use axum::{
    Json,
    http::{Extensions, HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures::StreamExt as _;
use serde::Serialize;

use crate::{
    domain::job::Job,
    gateway::{
        GatewayState,
        admission::Admission,
        idempotency,
        prefer::{PREFER, PREFERENCE_APPLIED, Prefer},
        present::{BaseUrl, Presenter},
        problem::Problem,
        streams::StreamPermit,
    },
    jobs::Submitted,
    store::Versioned,
};

/// 202 with `accepted`, or 200 with the job if it finishes within the wait that the client prefers.
pub(super) async fn respond(
    gateway: GatewayState,
    base: BaseUrl,
    prefer: Prefer,
    submitted: &Submitted,
    accepted: impl Serialize,
    request: &Extensions,
) -> Result<Response, Problem> {
    let Submitted { job, replayed } = submitted;
    // Waiting is only a preference: if too many streams are open, the job is still accepted, without a wait.
    let wait = prefer.wait().map(|wait| Ok((wait, StreamPermit::acquire(&gateway, &job.value.user)?)));
    let (applied, finished) = match wait {
        Some(Ok((wait, _permit))) => {
            Admission::release_permit(request);
            (prefer, wait_until_finished(&gateway, job, wait).await)
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
    add_headers(headers, applied, *replayed);
    Ok(response)
}

fn add_headers(headers: &mut HeaderMap, applied: Prefer, replayed: bool) {
    headers.append(header::VARY, HeaderValue::from(PREFER));
    if replayed {
        headers.insert(idempotency::IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    if let Some(applied) = applied.applied() {
        headers.insert(PREFERENCE_APPLIED, applied);
    }
}

/// The finished job; `None` if it does not finish in time, the gateway shuts down, or the store fails. The job is
/// accepted in any case, and the client can read its result later.
async fn wait_until_finished(gateway: &GatewayState, job: &Versioned<Job>, wait: Duration) -> Option<Versioned<Job>> {
    let finished = async {
        let mut changes = gateway.queries().watch_job(&job.value.user, &job.value.id).await.ok()??;
        while let Some(change) = changes.next().await {
            match change {
                Ok(job) if job.value.status().is_final() => return Some(job),
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(op = error.op, %error, "waiting for the end of the job failed");
                    return None;
                }
            }
        }
        None
    };
    tokio::select! {
        () = gateway.drain().cancelled() => None,
        finished = tokio::time::timeout(wait, finished) => finished.ok().flatten(),
    }
}
