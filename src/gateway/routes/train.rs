//! `POST /train-brand`: creates a brand job.

use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::submit;
use crate::{
    domain::{brand::TrainRequest, credits::Credits, trace::TraceContext},
    gateway::{
        GatewayState,
        auth::Credentials,
        body, idempotency,
        image_check::ImageCheckView,
        openapi::{SubmitHeaders, UserIdParam},
        params::QueryParams,
        prefer::Prefer,
        present::{BaseUrl, BrandView},
        problem::{InvalidField, Problem},
    },
    jobs::Submitter,
};

/// A request for a training. Unknown fields are refused, so that a misspelt field is not ignored.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = TrainRequest, example = json!({
    "userId": "local", "brandName": "Acme", "brandColors": ["#ff6600"],
    "trainingImages": ["upl_4kQ0b1xYc7ZpT2mN9sV1", "upl_4kQ0b1xYc7ZpT2mN9sV2", "upl_4kQ0b1xYc7ZpT2mN9sV3",
        "upl_4kQ0b1xYc7ZpT2mN9sV4", "upl_4kQ0b1xYc7ZpT2mN9sV5"]
}))]
pub(in crate::gateway) struct TrainBody {
    user_id: Option<String>,
    /// The name of the brand for people.
    #[schema(required = true, nullable = false, min_length = 1)]
    brand_name: Option<String>,
    /// Colours that the style must contain, as `#rrggbb`.
    brand_colors: Option<Vec<String>>,
    /// The uploadIds of the training images. An archive counts as all images in it.
    #[schema(required = true, nullable = false)]
    training_images: Option<Vec<String>>,
}

/// The training is stored and its credits are held.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::gateway) struct TrainingAccepted<'a> {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    #[schema(example = "brd_4kQ0b1xYc7ZpT2mN9sVd")]
    brand_id: &'a str,
    /// Always `queued`, the state at acceptance, also for a repeated request.
    #[schema(example = "queued")]
    status: &'static str,
    /// How long a training usually takes, in words.
    #[schema(example = "15-30 minutes")]
    estimated_time: &'a str,
}

/// The result of a dry run. Nothing was changed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TrainingCheck {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    /// The check of every training image, in the order of the request; images of an archive are sorted by name.
    verdicts: Vec<ImageCheckView>,
    /// The price of the training in credits. The balance is not checked.
    #[schema(value_type = u64, example = 25)]
    price: Credits,
    /// Whether all images can be used: without `dryRun`, the training would be accepted.
    accepted: bool,
}

/// The response to `dryRun=true`, or to `Prefer: wait=N`.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the response")]
enum TrainResponse<'a> {
    /// With `dryRun=true`.
    Check(TrainingCheck),
    /// With `Prefer: wait=N`.
    Finished(Box<BrandView<'a>>),
}

/// Train a brand
///
/// All images are checked before credits are held. If an image cannot be used, the response is 422 with `verdicts` for all
/// images. With `dryRun=true`, the response contains the verdicts and the price, and nothing is stored. An accepted
/// training keeps copies of its images. Watch it with `GET /brands/{id}/events`. Its credits are held until it is ready, and
/// released if it fails or is cancelled. Idempotency keys work as for `POST /generate`.
#[utoipa::path(
    post,
    operation_id = "trainBrand",
    path = "/train-brand",
    tag = "brands",
    params(
        UserIdParam,
        SubmitHeaders,
        ("dryRun" = Option<bool>, Query, description = "With `true`, only check the request."),
    ),
    request_body = TrainBody,
    responses(
        (status = 202, description = "Accepted: the training is stored.", body = TrainingAccepted, headers(
            ("Location" = String, description = "The path of the brand."),
            ("Idempotency-Replayed" = Option<String>, description = "`true` if the key has been used for the same \
                request before: this is the brand of the first request."),
            ("Preference-Applied" = Option<String>, description = "The preferences that were honoured."),
        )),
        (status = 200, description = "With `dryRun=true`, the result of the check. With `Prefer: wait=N`, the finished \
            brand.", body = TrainResponse),
        (status = 400, description = "The body is not valid JSON, or has a wrong type, an unknown or a repeated field, \
            or the Idempotency-Key is invalid."),
        (status = 402, description = "The account does not have enough credits. Nothing was stored."),
        (status = 409, description = "The brand with this Idempotency-Key was deleted."),
        (status = 422, description = "Fields are invalid (`errors` lists all of them), images cannot be used \
            (`verdicts` has the check of every image), or the Idempotency-Key was used for another request."),
    )
)]
pub(in crate::gateway) async fn train(
    State(gateway): State<GatewayState>,
    credentials: Credentials,
    base: BaseUrl,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let idempotency_key = idempotency::key(&parts.headers)?;
    let prefer = Prefer::of(&parts.headers);
    let body: TrainBody = body::json(&gateway, &parts.headers, body).await?;
    let TrainBody { user_id, brand_name, brand_colors, training_images } = body;
    let request = TrainRequest { brand_name, brand_colors, training_images };
    let (user, dry_run) = match (credentials.user(user_id.as_deref())?, dry_run(QueryParams::of(&parts.uri))) {
        (Ok(user), Ok(dry_run)) => (user, dry_run),
        (user, dry_run) => {
            let fields = request.validate(&gateway.submission().settings().brand_limits).err().unwrap_or_default();
            let errors = [user.err(), dry_run.err()].into_iter().flatten();
            return Err(Problem::invalid(errors.chain(fields.into_iter().map(InvalidField::from)).collect()));
        }
    };
    credentials.admit(&gateway, &user, &parts.extensions)?;
    if dry_run {
        let examined = gateway.submission().check_dataset(&user, &request).await?;
        let (price, accepted) = (examined.price, examined.is_fit());
        let verdicts = examined.verdicts.into_iter().map(ImageCheckView::from).collect();
        return Ok(Json(TrainingCheck { success: true, verdicts, price, accepted }).into_response());
    }
    let trace = parts.extensions.get::<TraceContext>().cloned();
    let submitted = gateway.submission().submit_brand(&request, Submitter { user, idempotency_key, trace }).await?;
    let accepted = TrainingAccepted {
        success: true,
        brand_id: submitted.job.value.id.as_str(),
        status: "queued",
        estimated_time: &gateway.submission().settings().training_estimate,
    };
    submit::respond(gateway.clone(), base, prefer, &submitted, accepted, &parts.extensions).await
}

fn dry_run(params: QueryParams<'_>) -> Result<bool, InvalidField> {
    match params.one("dryRun")?.as_deref() {
        None | Some("false") => Ok(false),
        Some("true" | "") => Ok(true),
        Some(_) => Err(InvalidField::query("dryRun", "must be true or false")),
    }
}
