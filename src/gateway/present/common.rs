//! The fields that illustrations and brands share.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    domain::{
        Timestamp,
        clock::millis_between,
        credits::Credits,
        failure::JobError,
        ids::TeamId,
        job::{Job, Output, State, Status},
    },
    store::Versioned,
};

/// The fields of every job.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Job)]
pub(in crate::gateway) struct JobFields<'a> {
    user_id: &'a str,
    /// The team that pays.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    team_id: Option<&'a str>,
    /// Why the job has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<ErrorView<'a>>,
    /// For a queued job: why it waits, or why the previous attempt has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    last_error: Option<ErrorView<'a>>,
    /// The number of attempts started so far.
    attempt: u32,
    /// The progress of the running attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    progress: Option<ProgressView>,
    /// True while a running job is being stopped, absent otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    cancel_requested: bool,
    /// The credits that the finished job has cost: only delivered results cost credits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>, nullable = false)]
    credits_used: Option<Credits>,
    /// The provider's charge, in US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    cost_usd: Option<f64>,
    created_at: Timestamp,
    /// When the first attempt started.
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
    /// The wait for the first attempt, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    queue_ms: Option<u64>,
    /// Increases with every change; also the `id` of the event that reports this state.
    version: u64,
}

/// Why a job has failed or waits.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobError)]
struct ErrorView<'a> {
    /// A stable name for programs.
    #[schema(example = "content_filtered")]
    code: &'static str,
    /// An explanation for people.
    #[schema(example = "the engine withheld every picture for its content")]
    message: &'a str,
}

/// The progress of an attempt.
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

impl<'a> ErrorView<'a> {
    fn of(error: &'a JobError) -> Self {
        Self { code: error.code.as_str(), message: &error.message }
    }
}

impl<'a> JobFields<'a> {
    pub(super) fn of(job: &'a Versioned<Job>) -> Self {
        let Versioned { version, value: job } = job;
        let status = job.status();
        let finished = |wanted: Status| job.finished_at().filter(|_| status == wanted);
        let output = match &job.state {
            State::Succeeded { output, .. } => Some(output),
            _ => None,
        };
        let (progress, cancel_requested) = match &job.state {
            State::Running { progress, cancel_by, .. } => (*progress, cancel_by.is_some()),
            _ => (None, false),
        };
        Self {
            user_id: job.user.as_str(),
            team_id: job.team.as_ref().map(TeamId::as_str),
            error: match &job.state {
                State::Failed { error, .. } => Some(ErrorView::of(error)),
                _ => None,
            },
            last_error: match &job.state {
                State::Queued { last_error, .. } => last_error.as_ref().map(ErrorView::of),
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
            cost_usd: output.map(|output| {
                dollars(match output {
                    Output::Pictures(pictures) => pictures.cost_micro_usd,
                    Output::Brand(trained) => trained.cost_micro_usd,
                })
            }),
            created_at: job.created_at,
            started_at: job.started_at,
            completed_at: finished(Status::Succeeded),
            failed_at: finished(Status::Failed),
            cancelled_at: finished(Status::Cancelled),
            queue_ms: job.started_at.map(|started| millis_between(job.created_at, started)),
            version: version.0,
        }
    }
}

fn credits_used(job: &Job, output: Option<&Output>) -> Credits {
    let delivered = output.map_or(0, Output::delivered);
    job.hold.unit.saturating_mul(delivered.min(job.hold.units).into())
}

fn dollars(micros: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "exact below nine billion dollars")]
    let micros = micros as f64;
    micros / 1e6
}
