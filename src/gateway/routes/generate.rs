//! `POST /generate`: a prompt becomes a job.

use std::time::Duration;

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    domain::{job::Job, request::GenerateRequest, trace::TraceContext},
    gateway::{
        GatewayState,
        auth::Credentials,
        body::{self, WholeNumber},
        idempotency,
        prefer::{PREFER, PREFERENCE_APPLIED, Prefer},
        present::{BaseUrl, Illustration, Presenter},
        problem::{Problem, WrongField},
    },
    jobs::{SubmitIllustration, Submitted},
    store::Versioned,
};

/// What to draw. Unknown fields are refused, so that a misspelt one is not silently ignored; `null` is as good as absent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = GenerateRequest, example = json!({
    "userId": "local", "prompt": "a lighthouse at dawn", "styleId": "watercolor", "styleName": "Watercolor",
    "width": 1536, "height": 1024, "count": 1
}))]
pub(in crate::gateway) struct GenerateBody {
    /// Who asks: 1 to 128 letters, digits and `_ . @ + -`. Absent: `?userId=`, else `local`.
    user_id: Option<String>,
    /// What to draw.
    #[schema(required = true, nullable = false, min_length = 1)]
    prompt: Option<String>,
    /// A style of `GET /styles`; its first when absent.
    style_id: Option<String>,
    /// The style's name: chooses the style when there is no `styleId`. The catalogue's name is what is stored.
    #[schema(max_length = 80)]
    style_name: Option<String>,
    /// Pixels.
    #[schema(value_type = Option<u32>, default = 1024)]
    width: Option<WholeNumber>,
    /// Pixels.
    #[schema(value_type = Option<u32>, default = 1024)]
    height: Option<WholeNumber>,
    /// Pictures.
    #[schema(value_type = Option<u32>, default = 1, minimum = 1)]
    count: Option<WholeNumber>,
    /// The same seed and request give the same picture, where the model can.
    #[schema(value_type = Option<u32>, maximum = 2_147_483_647)]
    seed: Option<WholeNumber>,
}

impl From<GenerateBody> for GenerateRequest {
    fn from(body: GenerateBody) -> Self {
        let GenerateBody { user_id, prompt, style_id, style_name, width, height, count, seed } = body;
        let number = |number: Option<WholeNumber>| number.map(|WholeNumber(value)| value);
        Self {
            user_id,
            prompt,
            style_id,
            style_name,
            width: number(width),
            height: number(height),
            count: number(count),
            seed: number(seed),
        }
    }
}

/// The job is durable and its credits are held.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Accepted)]
pub(in crate::gateway) struct Accepted<'a> {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    #[schema(example = "ill_4kQ0b1xYc7ZpT2mN9sVd")]
    illustration_id: &'a str,
    /// Always `queued`: what the job was when it was accepted, also for a repeated request.
    #[schema(example = "queued")]
    status: &'static str,
}

/// Ask for pictures
///
/// Answers as soon as the job is durable; watch it with `GET /illustrations/{id}/events`, or ask with `Prefer: wait=30`
/// to hold the answer until it is finished. Send an `Idempotency-Key` to be able to repeat the request safely: the same
/// key and body find the first job.
#[utoipa::path(
    post,
    path = "/generate",
    tag = "illustrations",
    params(
        ("userId" = Option<String>, Query, description = "The caller, when the body names none."),
        ("Idempotency-Key" = Option<String>, Header,
            description = "1 to 255 printable ASCII characters, best in double quotes, fresh for each new request: \
            `\"8e03978e-40d5-43e8-bc93-6894a57f9324\"`. Lives as long as its job."),
        ("Prefer" = Option<String>, Header, description = "`respond-async` (as by default) or `wait=N`: hold the \
            answer until the job is finished or N seconds (60 at most) have passed."),
    ),
    request_body = GenerateBody,
    responses(
        (status = 202, description = "Accepted: the job is durable.", body = Accepted, headers(
            ("Location" = String, description = "The illustration's path."),
            ("Idempotency-Replayed" = Option<String>, description = "`true` when the key had been used for the same \
                request before: this is the first one's job."),
            ("Preference-Applied" = Option<String>, description = "The preferences that were honoured."),
        )),
        (status = 200, description = "Finished within the wait that `Prefer` asked for: completed, failed or \
            cancelled.", body = Illustration, headers(
            ("Location" = String, description = "The illustration's path."),
            ("Idempotency-Replayed" = Option<String>, description = "As for 202."),
            ("Preference-Applied" = String, description = "`wait=N`"),
        )),
        (status = 400, description = "Not JSON, a wrong type, an unknown or repeated field, or an unusable \
            Idempotency-Key."),
        (status = 402, description = "The account cannot pay; nothing was written."),
        (status = 408, description = "The body did not arrive in time."),
        (status = 409, description = "The job made with this Idempotency-Key was deleted."),
        (status = 413, description = "The body is too large."),
        (status = 415, description = "The body is not JSON by its Content-Type."),
        (status = 422, description = "Fields are invalid (all of them are listed), or the Idempotency-Key was used \
            for another request."),
        (status = 503, description = "A backend cannot be reached; nothing is half-written."),
    )
)]
pub(in crate::gateway) async fn generate(
    State(gateway): State<GatewayState>,
    credentials: Credentials,
    base: BaseUrl,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let idempotency_key = idempotency::key(&parts.headers)?;
    let prefer = Prefer::of(&parts.headers);
    let body: GenerateBody = body::json(&parts.headers, body, gateway.0.body_limit).await?;
    let request = GenerateRequest::from(body);
    let user = match credentials.user(request.user_id.as_deref()) {
        Ok(user) => user,
        Err(wrong) => return Err(wrong_user(wrong, &request, &gateway)),
    };
    let trace = parts.extensions.get::<TraceContext>().cloned();
    let submit = SubmitIllustration { user, request, idempotency_key, trace };
    let Submitted { job, replayed } = gateway.jobs().submit_illustration(submit).await?;
    let finished = match prefer.wait() {
        Some(wait) => finished(&gateway, &job, wait).await,
        None => None,
    };
    let mut response = if let Some(job) = &finished {
        let presenter = Presenter::new(gateway.clone(), base);
        Json(presenter.illustration(job).await?).into_response()
    } else {
        let accepted = Accepted { success: true, illustration_id: job.value.id.as_str(), status: "queued" };
        (StatusCode::ACCEPTED, Json(accepted)).into_response()
    };
    let headers = response.headers_mut();
    if let Ok(location) = HeaderValue::try_from(format!("/illustrations/{}", job.value.id)) {
        headers.insert(header::LOCATION, location);
    }
    describe(headers, prefer, replayed);
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

/// A wrong user id is named together with whatever else is wrong.
fn wrong_user(wrong: WrongField, request: &GenerateRequest, gateway: &GatewayState) -> Problem {
    let rules = gateway.jobs().rules();
    let others = request.validate(&rules.limits, &rules.catalogue, None).err().unwrap_or_default();
    Problem::invalid(std::iter::once(wrong).chain(others.into_iter().map(WrongField::from)).collect())
}

/// The job once it is finished; `None` when it is not by then, the gateway is about to stop, or the store cannot tell:
/// the job is accepted all the same, and the client learns the rest from its path.
async fn finished(gateway: &GatewayState, job: &Versioned<Job>, wait: Duration) -> Option<Versioned<Job>> {
    let last = async {
        let mut changes = gateway.jobs().watch_job(&job.value.user, &job.value.id).await.ok()??;
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
