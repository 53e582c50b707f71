//! `POST /train-brand`: pictures become a style.

use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::shared;
use crate::{
    domain::{brand::TrainRequest, credits::Credits, trace::TraceContext},
    gateway::{
        GatewayState,
        auth::Credentials,
        body, idempotency,
        params::Params,
        prefer::Prefer,
        present::{BaseUrl, Brand, VerdictView},
        problem::{Problem, WrongField},
    },
    jobs::SubmitBrand,
};

/// What to train. Unknown fields are refused, so that a misspelt one is not silently ignored.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = TrainRequest, example = json!({
    "userId": "local", "brandName": "Acme", "brandColors": ["#ff6600"],
    "trainingImages": ["upl_4kQ0b1xYc7ZpT2mN9sV1", "upl_4kQ0b1xYc7ZpT2mN9sV2", "upl_4kQ0b1xYc7ZpT2mN9sV3",
        "upl_4kQ0b1xYc7ZpT2mN9sV4", "upl_4kQ0b1xYc7ZpT2mN9sV5"]
}))]
pub(in crate::gateway) struct TrainBody {
    /// Who asks. Absent: `?userId=`, else `local`.
    user_id: Option<String>,
    /// What people call the brand.
    #[schema(required = true, nullable = false, min_length = 1)]
    brand_name: Option<String>,
    /// Colours it must have, `#rrggbb`.
    brand_colors: Option<Vec<String>>,
    /// Uploads to learn from: pictures, and archives, which stand for the pictures in them.
    #[schema(required = true, nullable = false)]
    training_images: Option<Vec<String>>,
}

/// The training is durable and its credits are held.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TrainingAccepted)]
struct Accepted<'a> {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    #[schema(example = "brd_4kQ0b1xYc7ZpT2mN9sVd")]
    brand_id: &'a str,
    /// Always `queued`: what it was when it was accepted, also for a repeated request.
    #[schema(example = "queued")]
    status: &'static str,
    /// How long a training usually takes, in words.
    #[schema(example = "15-30 minutes")]
    estimated_time: &'a str,
}

/// What a training would come to. Nothing was changed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TrainingExamined)]
struct Examined {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    /// On every training image, in the order of the request; those of an archive by their names.
    verdicts: Vec<VerdictView>,
    /// What it would cost, in credits. Whether the account has them is not looked at.
    #[schema(value_type = u64, example = 25)]
    price: Credits,
    /// Whether every image is fit: without `dryRun` the training would be accepted.
    accepted: bool,
}

/// What `dryRun` or a preferred wait is answered.
#[derive(ToSchema)]
#[schema(as = TrainResponse)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what is sent")]
enum TrainResponse<'a> {
    /// With `dryRun=true`.
    Examined(Examined),
    /// With `Prefer: wait=N`.
    Finished(Box<Brand<'a>>),
}

/// Train a brand
///
/// Every image is looked at before anything is held: when one is unfit, the answer is 422 with a verdict on each. With
/// `dryRun=true` the answer is the verdicts and the price, and nothing happens. An accepted training keeps copies of its
/// images; watch it with `GET /brands/{id}/events`. Its credits are held until it is ready, and given back when it fails
/// or is cancelled. Idempotency keys work as for `POST /generate`.
#[utoipa::path(
    post,
    operation_id = "trainBrand",
    path = "/train-brand",
    tag = "brands",
    params(
        ("userId" = Option<String>, Query, description = "The caller, when the body names none."),
        ("dryRun" = Option<bool>, Query, description = "`true`: only look."),
        ("Idempotency-Key" = Option<String>, Header, description = "As for `POST /generate`."),
        ("Prefer" = Option<String>, Header, description = "As for `POST /generate`."),
    ),
    request_body = TrainBody,
    responses(
        (status = 202, description = "Accepted: the training is durable.", body = Accepted, headers(
            ("Location" = String, description = "The brand's path."),
            ("Idempotency-Replayed" = Option<String>, description = "`true` when the key had been used for the same \
                request before: this is the first one's brand."),
            ("Preference-Applied" = Option<String>, description = "The preferences that were honoured."),
        )),
        (status = 200, description = "With `dryRun=true`: what it would come to. With `Prefer: wait=N`: the finished \
            brand.", body = TrainResponse),
        (status = 400, description = "Not JSON, a wrong type, an unknown or repeated field, or an unusable \
            Idempotency-Key."),
        (status = 402, description = "The account cannot pay; nothing was written."),
        (status = 408, description = "The body did not arrive in time."),
        (status = 409, description = "The brand made with this Idempotency-Key was deleted."),
        (status = 413, description = "The body is too large."),
        (status = 415, description = "The body is not JSON by its Content-Type."),
        (status = 422, description = "Fields are invalid or images unfit (all of them are listed, images with \
            `verdicts`), or the Idempotency-Key was used for another request."),
        (status = 503, description = "A backend cannot be reached; nothing is half-written."),
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
    let (user, dry_run) = match (credentials.user(user_id.as_deref())?, dry_run(Params::of(&parts.uri))) {
        (Ok(user), Ok(dry_run)) => (user, dry_run),
        (user, dry_run) => {
            let fields = request.validate(&gateway.submission().settings().brand_limits).err().unwrap_or_default();
            let wrong = [user.err(), dry_run.err()].into_iter().flatten();
            return Err(Problem::invalid(wrong.chain(fields.into_iter().map(WrongField::from)).collect()));
        }
    };
    credentials.admit(&gateway, &user, &parts.extensions)?;
    if dry_run {
        let examined = gateway.submission().check_dataset(&user, &request).await?;
        let (price, accepted) = (examined.price, examined.is_fit());
        let verdicts = examined.verdicts.into_iter().map(VerdictView::from).collect();
        return Ok(Json(Examined { success: true, verdicts, price, accepted }).into_response());
    }
    let trace = parts.extensions.get::<TraceContext>().cloned();
    let submitted = gateway.submission().submit_brand(SubmitBrand { user, request, idempotency_key, trace }).await?;
    let answer = Accepted {
        success: true,
        brand_id: submitted.job.value.id.as_str(),
        status: "queued",
        estimated_time: &gateway.submission().settings().training_estimate,
    };
    shared::accepted(gateway.clone(), base, prefer, &submitted, answer, &parts.extensions).await
}

fn dry_run(params: Params<'_>) -> Result<bool, WrongField> {
    match params.one("dryRun")?.as_deref() {
        None | Some("false") => Ok(false),
        Some("true" | "") => Ok(true),
        Some(_) => Err(WrongField::query("dryRun", "must be true or false")),
    }
}
