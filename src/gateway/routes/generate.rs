//! `POST /generate`: creates an illustration job.

use axum::{
    extract::{Request, State},
    response::Response,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::submit;
use crate::{
    domain::{request::GenerateRequest, trace::TraceContext},
    gateway::{
        GatewayState,
        auth::Credentials,
        body::{self, WholeNumber},
        idempotency,
        openapi::{SubmitHeaders, UserIdParam},
        prefer::Prefer,
        present::{BaseUrl, IllustrationView},
        problem::{InvalidField, Problem},
    },
    jobs::Submitter,
};

/// A request for images. Unknown fields are refused, so that a misspelt field is not ignored. `null` means absent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = GenerateRequest, example = json!({
    "userId": "local", "prompt": "a lighthouse at dawn", "styleId": "watercolor", "styleName": "Watercolor",
    "width": 1536, "height": 1024, "count": 1
}))]
pub(in crate::gateway) struct GenerateBody {
    user_id: Option<String>,
    /// What the images show.
    #[schema(required = true, nullable = false, min_length = 1)]
    prompt: Option<String>,
    /// A style of `GET /styles`; by default the first one. The id of a ready brand of the caller or the caller's team
    /// selects the style of that brand.
    style_id: Option<String>,
    /// The name of a style, which selects it if there is no `styleId`. The job stores the name from the catalogue.
    #[schema(max_length = 80)]
    style_name: Option<String>,
    /// Pixels.
    #[schema(value_type = Option<u32>, default = 1024)]
    width: Option<WholeNumber>,
    /// Pixels.
    #[schema(value_type = Option<u32>, default = 1024)]
    height: Option<WholeNumber>,
    /// The number of images.
    #[schema(value_type = Option<u32>, default = 1, minimum = 1)]
    count: Option<WholeNumber>,
    /// The same request with the same seed gives the same images, if the model supports this.
    #[schema(value_type = Option<u32>, maximum = 2_147_483_647)]
    seed: Option<WholeNumber>,
}

impl GenerateBody {
    /// The caller's id and the request.
    fn into_parts(self) -> (Option<String>, GenerateRequest) {
        let Self { user_id, prompt, style_id, style_name, width, height, count, seed } = self;
        let number = |number: Option<WholeNumber>| number.map(|WholeNumber(value)| value);
        let request = GenerateRequest {
            prompt,
            style_id,
            style_name,
            width: number(width),
            height: number(height),
            count: number(count),
            seed: number(seed),
        };
        (user_id, request)
    }
}

/// The job is stored and its credits are held.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::gateway) struct IllustrationAccepted<'a> {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    #[schema(example = "ill_4kQ0b1xYc7ZpT2mN9sVd")]
    illustration_id: &'a str,
    /// Always `queued`, the state at acceptance, also for a repeated request.
    #[schema(example = "queued")]
    status: &'static str,
}

/// Create an illustration
///
/// Responds as soon as the job is stored. Watch the job with `GET /illustrations/{id}/events`, or send `Prefer: wait=30`
/// to delay the response until it is finished. Send an `Idempotency-Key` to make repeating the request safe: the same key
/// and body return the first job.
#[utoipa::path(
    post,
    path = "/generate",
    tag = "illustrations",
    params(UserIdParam, SubmitHeaders),
    request_body = GenerateBody,
    responses(
        (status = 202, description = "Accepted: the job is stored.", body = IllustrationAccepted, headers(
            ("Location" = String, description = "The path of the illustration."),
            ("Idempotency-Replayed" = Option<String>, description = "`true` if the key has been used for the same \
                request before: this is the job of the first request."),
            ("Preference-Applied" = Option<String>, description = "The preferences that were honoured."),
        )),
        (status = 200, description = "The job has finished within the wait of `Prefer`: completed, failed or \
            cancelled.", body = IllustrationView, headers(
            ("Location" = String, description = "The path of the illustration."),
            ("Idempotency-Replayed" = Option<String>, description = "As for 202."),
            ("Preference-Applied" = String, description = "`wait=N`"),
        )),
        (status = 400, description = "The body is not valid JSON, or has a wrong type, an unknown or a repeated field, \
            or the Idempotency-Key is invalid."),
        (status = 402, description = "The account does not have enough credits. Nothing was stored."),
        (status = 404, description = "The style is a brand that neither the caller nor the caller's team has."),
        (status = 409, description = "The job with this Idempotency-Key was deleted."),
        (status = 422, description = "Fields are invalid (`errors` lists all of them), or the Idempotency-Key was used \
            for another request."),
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
    let (user_id, request) = body.into_parts();
    let user = match credentials.user(user_id.as_deref())? {
        Ok(user) => user,
        Err(user_error) => return Err(invalid_user(user_error, &request, &gateway)),
    };
    credentials.admit(&gateway, &user, &parts.extensions)?;
    let trace = parts.extensions.get::<TraceContext>().cloned();
    let caller = Submitter { user, idempotency_key, trace };
    let submitted = gateway.submission().submit_illustration(&request, caller).await?;
    let accepted =
        IllustrationAccepted { success: true, illustration_id: submitted.job.value.id.as_str(), status: "queued" };
    submit::respond(gateway, base, prefer, &submitted, accepted, &parts.extensions).await
}

/// Reports an invalid user id together with all other invalid fields.
fn invalid_user(user_error: InvalidField, request: &GenerateRequest, gateway: &GatewayState) -> Problem {
    let errors = gateway.submission().illustration_errors(request);
    Problem::invalid(std::iter::once(user_error).chain(errors.into_iter().map(InvalidField::from)).collect())
}
