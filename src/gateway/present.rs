//! What clients see of a job: camelCase, RFC 3339, absent rather than null.

use std::{fmt::Write as _, str::FromStr as _, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{request::Parts, uri::Authority},
};
use serde::Serialize;
use utoipa::{
    ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, schema::Type},
};

use super::{GatewayState, problem::Problem};
use crate::{
    domain::{
        Timestamp,
        clock::millis_between,
        credits::Credits,
        job::{Job, JobError, JobKind, Output, Pictures, State, Status, Work},
    },
    error::{BackendError, ErrorKind},
    media::{MediaKey, MediaUrl},
    store::Versioned,
};

/// What links in answers begin with: the public address, or the one the client used; empty when neither is known, which
/// leaves links that are relative to the address of the request.
///
/// `X-Forwarded-*` is not looked at: anybody can send it. Behind a proxy, configure the public address.
#[derive(Debug, Clone)]
pub(super) struct BaseUrl(Arc<str>);

impl FromRequestParts<GatewayState> for BaseUrl {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, gateway: &GatewayState) -> Result<Self, Problem> {
        if let Some(public) = &gateway.0.public_url {
            return Ok(Self(Arc::clone(public)));
        }
        let mut hosts = parts.headers.get_all(axum::http::header::HOST).iter();
        let host = match (parts.uri.authority(), hosts.next(), hosts.next()) {
            (Some(authority), _, _) => Some(authority.as_str()),
            (None, Some(host), None) => host.to_str().ok(),
            _ => None,
        };
        let base = host.filter(|host| is_host(host)).map(|host| format!("http://{host}"));
        Ok(Self(base.unwrap_or_default().into()))
    }
}

fn is_host(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b);
    text.len() <= 255 && text.bytes().all(legal) && Authority::from_str(text).is_ok_and(|host| !host.host().is_empty())
}

/// Makes jobs presentable for one request or stream.
#[derive(Clone)]
pub(super) struct Presenter {
    gateway: GatewayState,
    base: BaseUrl,
}

/// An illustration, as it stands now.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Illustration, example = json!({
    "illustrationId": "ill_4kQ0b1xYc7ZpT2mN9sVd", "status": "completed", "userId": "local",
    "prompt": "a lighthouse at dawn", "styleId": "watercolor", "styleName": "Watercolor",
    "width": 1536, "height": 1024, "count": 1, "seed": 7,
    "imageUrl": "http://127.0.0.1:8080/media/illustrations/local/ill_4kQ0b1xYc7ZpT2mN9sVd/1-2-0.png",
    "imageUrls": ["http://127.0.0.1:8080/media/illustrations/local/ill_4kQ0b1xYc7ZpT2mN9sVd/1-2-0.png"],
    "thumbnailUrl": "http://127.0.0.1:8080/media/illustrations/local/ill_4kQ0b1xYc7ZpT2mN9sVd/1-2-0_thumb.webp",
    "attempt": 1, "creditsUsed": 1, "costUsd": 0.039, "modelUsed": "imagen-4.0-generate-001",
    "finalPrompt": "a lighthouse at dawn, soft watercolor washes",
    "createdAt": "2026-03-01T12:00:00Z", "startedAt": "2026-03-01T12:00:00.120Z",
    "completedAt": "2026-03-01T12:00:16.480Z", "queueMs": 120, "generationMs": 16360, "version": 6
}))]
pub(super) struct Illustration<'a> {
    #[serde(rename = "illustrationId")]
    id: &'a str,
    #[schema(schema_with = status_schema)]
    status: &'static str,
    user_id: &'a str,
    /// The team whose credits pay.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    team_id: Option<&'a str>,
    /// The person's words, verbatim.
    prompt: &'a str,
    style_id: &'a str,
    style_name: &'a str,
    /// Pixels.
    width: u32,
    /// Pixels.
    height: u32,
    /// Pictures asked for.
    count: u32,
    /// The seed that repeats the result: the one asked for, else the one the model used.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    seed: Option<u32>,
    /// The first picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    image_url: Option<String>,
    /// All pictures: fewer than `count` when the model withheld some.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    image_urls: Vec<String>,
    /// A small WebP of the first picture, 384 pixels at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    thumbnail_url: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<ErrorView<'a>>,
    /// Attempts started so far.
    attempt: u32,
    /// How far the running attempt is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    progress: Option<ProgressView>,
    /// Present and true while a running job is being stopped.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    cancel_requested: bool,
    /// Credits paid, once it is finished: for what was delivered, and nothing for the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>, nullable = false)]
    credits_used: Option<Credits>,
    /// What the provider charges, in US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    cost_usd: Option<f64>,
    /// The model that drew it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    model_used: Option<&'a str>,
    /// What the model was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    final_prompt: Option<&'a str>,
    created_at: Timestamp,
    /// When its first attempt started.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    started_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    completed_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    failed_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    cancelled_at: Option<Timestamp>,
    /// Milliseconds it waited for its first attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    queue_ms: Option<u64>,
    /// Milliseconds the successful attempt took.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    generation_ms: Option<u64>,
    /// Grows with every change; the `id` of this state's event.
    version: u64,
}

/// Why a job failed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobError)]
struct ErrorView<'a> {
    /// For programs.
    #[schema(example = "content_filtered")]
    code: &'static str,
    /// For people.
    #[schema(example = "the engine withheld every picture for its content")]
    message: &'a str,
}

/// How far an attempt is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Progress)]
struct ProgressView {
    /// From 0 to 1.
    #[schema(minimum = 0, maximum = 1, example = 0.4)]
    fraction: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    step: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    total_steps: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    eta_seconds: Option<u32>,
}

/// The words an illustration's status has, from the one place that knows them.
pub(super) fn statuses() -> [&'static str; Status::ALL.len()] {
    Status::ALL.map(|status| status.shown_as(JobKind::Illustration))
}

fn status_schema() -> RefOr<Schema> {
    let object = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(statuses()));
    RefOr::T(Schema::Object(object.build()))
}

impl Presenter {
    /// A presenter of links below `base`.
    pub fn new(gateway: GatewayState, base: BaseUrl) -> Self {
        Self { gateway, base }
    }

    /// The job as clients see it.
    pub async fn illustration<'a>(&self, job: &'a Versioned<Job>) -> Result<Illustration<'a>, BackendError> {
        let Versioned { version, value: job } = job;
        let Work::Illustration(spec) = &job.work else {
            return Err(BackendError::new(ErrorKind::Internal, "gateway.present").because("a brand is no illustration"));
        };
        let status = job.status();
        let finished = |wanted: Status| job.finished_at().filter(|_| status == wanted);
        let output = match &job.state {
            State::Succeeded { output: Output::Pictures(pictures), .. } => Some(pictures),
            _ => None,
        };
        let (image_urls, thumbnail_url) = match output {
            Some(output) => self.links(output).await?,
            None => (Vec::new(), None),
        };
        let (progress, cancel_requested) = match &job.state {
            State::Running { progress, cancel_by, .. } => (*progress, cancel_by.is_some()),
            _ => (None, false),
        };
        Ok(Illustration {
            id: job.id.as_str(),
            status: status.shown_as(job.kind()),
            user_id: job.user.as_str(),
            team_id: job.team.as_ref().map(crate::domain::ids::TeamId::as_str),
            prompt: &spec.prompt,
            style_id: &spec.style.id,
            style_name: &spec.style.name,
            width: spec.width,
            height: spec.height,
            count: spec.count,
            seed: spec.seed.or(output.and_then(|output| output.seed)),
            image_url: image_urls.first().cloned(),
            image_urls,
            thumbnail_url,
            error: match &job.state {
                State::Failed { error: JobError { code, message }, .. } => {
                    Some(ErrorView { code: code.as_str(), message })
                }
                _ => None,
            },
            attempt: job.attempt(),
            progress: progress.map(|progress| ProgressView {
                fraction: progress.fraction,
                step: progress.step,
                total_steps: progress.total_steps,
                eta_seconds: progress.eta_seconds,
            }),
            cancel_requested,
            credits_used: status.is_final().then(|| credits_used(job, output)),
            cost_usd: output.map(|output| dollars(output.cost_micro_usd)),
            model_used: output.map(|output| output.model.as_str()),
            final_prompt: output.map(|output| output.final_prompt.as_str()),
            created_at: job.created_at,
            started_at: job.started_at,
            completed_at: finished(Status::Succeeded),
            failed_at: finished(Status::Failed),
            cancelled_at: finished(Status::Cancelled),
            queue_ms: job.started_at.map(|started| millis_between(job.created_at, started)),
            generation_ms: output.map(|output| output.generation_ms),
            version: version.0,
        })
    }

    async fn links(&self, output: &Pictures) -> Result<(Vec<String>, Option<String>), BackendError> {
        let mut pictures = Vec::with_capacity(output.images.len());
        for image in &output.images {
            pictures.push(self.link(&image.key).await?);
        }
        let thumbnail = match &output.thumbnail_key {
            Some(key) => Some(self.link(key).await?),
            None => None,
        };
        Ok((pictures, thumbnail))
    }

    async fn link(&self, key: &str) -> Result<String, BackendError> {
        // Only our own worker writes keys, so one that is none is a defect or a damaged store.
        let key = MediaKey::from_str(key)
            .map_err(|error| BackendError::new(ErrorKind::Internal, "gateway.link").because(error))?;
        Ok(match self.gateway.jobs().ports().media.url(&key, self.gateway.now()).await? {
            MediaUrl::Absolute { url, .. } => url,
            MediaUrl::Gateway(path) => {
                let mut url = String::with_capacity(self.base.0.len() + path.len());
                let _ = write!(url, "{}{path}", self.base.0); // writing to a String cannot fail
                url
            }
        })
    }
}

fn credits_used(job: &Job, output: Option<&Pictures>) -> Credits {
    let delivered = output.map_or(0, |output| u32::try_from(output.images.len()).unwrap_or(u32::MAX));
    job.hold.unit.saturating_mul(delivered.min(job.hold.units).into())
}

fn dollars(micros: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "exact below nine billion dollars")]
    let micros = micros as f64;
    micros / 1e6
}
