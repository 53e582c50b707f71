//! `POST /generate`: a prompt becomes a job.

use axum::{
    extract::{Request, State},
    response::Response,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::shared;
use crate::{
    domain::{request::GenerateRequest, trace::TraceContext},
    gateway::{
        GatewayState,
        auth::Credentials,
        body::{self, WholeNumber},
        idempotency,
        prefer::Prefer,
        present::{BaseUrl, Illustration},
        problem::{Problem, WrongField},
    },
    jobs::SubmitIllustration,
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
    /// A style of `GET /styles`; its first when absent. The id of a ready brand of the caller or their team draws in
    /// that brand's colours.
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
            answer until the job is finished or N seconds (50 at most) have passed."),
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
        (status = 404, description = "The style is a brand that neither the caller nor their team has."),
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
    let body: GenerateBody = body::json(&gateway, &parts.headers, body).await?;
    let request = GenerateRequest::from(body);
    let user = match credentials.user(request.user_id.as_deref())? {
        Ok(user) => user,
        Err(wrong) => return Err(wrong_user(wrong, &request, &gateway)),
    };
    credentials.admit(&gateway, &user, &parts.extensions)?;
    let trace = parts.extensions.get::<TraceContext>().cloned();
    let submit = SubmitIllustration { user, request, idempotency_key, trace };
    let submitted = gateway.submission().submit_illustration(submit).await?;
    let answer = Accepted { success: true, illustration_id: submitted.job.value.id.as_str(), status: "queued" };
    shared::accepted(gateway, base, prefer, &submitted, answer, &parts.extensions).await
}

/// A wrong user id is named together with whatever else is wrong.
fn wrong_user(wrong: WrongField, request: &GenerateRequest, gateway: &GatewayState) -> Problem {
    let others = gateway.submission().illustration_errors(request);
    Problem::invalid(std::iter::once(wrong).chain(others.into_iter().map(WrongField::from)).collect())
}
