//! Trains with a program on this machine: accelerate, kohya, or any other.
//!
//! The program runs in its own process group and writes to files, so it survives a restart of this process, which finds it
//! again by its folder (`run.rs`). Its exit status is known if this process ran at that moment; otherwise the files that
//! it left tell how it ended. It needs Unix: process groups, and locks that belong to open files.
//!
//! Two limits: a child that leaves the group and closes its output cannot be stopped; and a program whose parent was
//! killed between starting it and writing its id cannot be stopped either, and counts as running until it ends.

mod model;
mod process;
mod run;
mod tqdm;

use std::{borrow::Cow, io, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use tokio::sync::{Mutex, OnceCell};

use self::{
    model::NoModel,
    run::{Exit, Process, Run, StopReason},
};
use super::{BrandTrainer, OperationId, TrainingSpec, TrainingStatus};
use crate::{
    config::{
        CommandTrainerConfig,
        argv::{self, Placeholder},
    },
    domain::{
        Timestamp,
        clock::after,
        failure::{AttemptFailure, ErrorCode},
        job::Progress,
    },
};

/// The progress of a program that still runs, at most, whatever its progress bar shows.
const MAX_RUNNING_FRACTION: f64 = 0.99;

/// The exit code by which shells and containers report SIGKILL: 128 plus the number of the signal.
const EXIT_KILLED: i32 = 137;

/// The exit code of a program that cannot train on these pictures (`EX_DATAERR`).
const EXIT_BAD_DATA: i32 = 65;

/// Runs the configured program.
pub(super) struct CommandTrainer {
    shared: Arc<Shared>,
    swept: OnceCell<()>,
}

struct Shared {
    config: CommandTrainerConfig,
    directory: PathBuf,
    /// Held while a run starts, also when the caller has stopped waiting, so that the next call finds the run.
    starting: Arc<Mutex<()>>,
}

/// The state of a run, and the reason to stop it, if there is one.
struct RunState {
    status: TrainingStatus,
    stop: Option<StopReason>,
}

impl CommandTrainer {
    /// A trainer that keeps its runs in `directory`, unless the configuration names another.
    pub(super) fn new(config: CommandTrainerConfig, directory: PathBuf) -> Self {
        let directory = config.directory.clone().unwrap_or(directory);
        // The program may change its working directory.
        let directory = std::path::absolute(&directory).unwrap_or(directory);
        Self { shared: Arc::new(Shared { config, directory, starting: Arc::default() }), swept: OnceCell::new() }
    }

    async fn sweep(&self) {
        let sweep = async {
            if let Err(error) = process::stop_leftover_runs(&self.shared.directory).await {
                tracing::warn!(%error, "cannot look for trainings that should have ended");
            }
        };
        self.swept.get_or_init(|| sweep).await;
    }
}

impl Shared {
    async fn start(self: Arc<Self>, spec: TrainingSpec) -> Result<OperationId, AttemptFailure> {
        let _one_at_a_time = Arc::clone(&self.starting).lock_owned().await;
        let (shared, job, now) = (Arc::clone(&self), spec.job_id.clone(), spec.now);
        let (last, is_active) = blocking(move || {
            let last = Run::last(&shared.directory, &job)?;
            let is_active = last.as_ref().map(|run| shared.state_of(run, now)).transpose()?;
            Ok((last, is_active.is_some_and(|state| !matches!(state.status, TrainingStatus::Failed(_)))))
        })
        .await
        .map_err(storage_failure)?;
        if let Some(last) = last.as_ref().filter(|_| is_active) {
            return Ok(last.operation());
        }
        let (directory, job) = (self.directory.clone(), spec.job_id.clone());
        let run = blocking(move || Run::create(&directory, &job, last.as_ref())).await.map_err(storage_failure)?;
        let begun = self.begin(&run, &spec).await;
        if begun.is_err() {
            let failed = run.clone();
            blocking(move || failed.discard()).await.map_err(storage_failure)?;
        }
        begun.map(|()| run.operation())
    }

    async fn begin(&self, run: &Run, spec: &TrainingSpec) -> Result<(), AttemptFailure> {
        self.write_dataset(run, spec).await?;
        let argv = self.argv(run, spec)?;
        let program = argv.first().cloned().unwrap_or_default();
        let (run, now) = (run.clone(), spec.now.as_microsecond());
        let (timeout, grace) = (self.config.timeout, self.config.grace);
        let begun = blocking(move || process::begin(&run, &argv, now, timeout, grace)).await;
        begun.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported => {
                AttemptFailure::misconfigured(format!("trainer.command.argv: {program} cannot be run: {error}"))
            }
            _ => {
                tracing::error!(%error, program, "the trainer could not be started");
                AttemptFailure::retry(ErrorCode::EngineUnavailable, "the trainer could not be started")
            }
        })
    }

    async fn write_dataset(&self, run: &Run, spec: &TrainingSpec) -> Result<(), AttemptFailure> {
        let mut written = 0;
        for (n, image) in spec.brand.images.iter().enumerate() {
            let Some(bytes) = spec.dataset.picture(n).await? else {
                tracing::warn!(key = image.key, "a training image is gone; training without it");
                continue;
            };
            let extension = image.key.rsplit_once('.').map_or("png", |(_, extension)| extension);
            let path = run.dataset().join(format!("{n:03}.{extension}"));
            blocking(move || std::fs::write(path, bytes)).await.map_err(storage_failure)?;
            written += 1;
        }
        if written == 0 {
            return Err(AttemptFailure::retry(ErrorCode::StorageError, "no training image could be read"));
        }
        Ok(())
    }

    fn argv(&self, run: &Run, spec: &TrainingSpec) -> Result<Vec<String>, AttemptFailure> {
        let value = |placeholder| match placeholder {
            Placeholder::Dataset => run.dataset().to_string_lossy().into_owned(),
            Placeholder::Output => run.output().to_string_lossy().into_owned(),
            Placeholder::Steps => self.config.steps.to_string(),
            // An argument cannot contain NUL.
            Placeholder::Name => spec.brand.name.replace('\0', " "),
            Placeholder::Job => spec.job_id.to_string(),
        };
        let filled = self.config.argv.iter().map(|argument| argv::fill(argument, value)).collect::<Result<_, _>>();
        filled.map_err(|problem| AttemptFailure::misconfigured(format!("trainer.command.argv: {problem}")))
    }

    /// The state of a run. Blocks.
    fn state_of(&self, run: &Run, now: Timestamp) -> io::Result<RunState> {
        let done = |status| Ok(RunState { status, stop: None });
        if let Some(why) = run.stopped()? {
            return done(TrainingStatus::Failed(stopped(why)));
        }
        // In this order: a program that ends between the two reads has an exit status.
        let alive = run.is_alive()?;
        let exit = run.exit()?;
        let Some(process) = run.process()? else {
            if alive {
                return done(TrainingStatus::Running(self.progress(None, None)));
            }
            let message =
                if run.exists() { "the trainer did not start" } else { "the trainer does not know this operation" };
            return done(TrainingStatus::Failed(AttemptFailure::retry(ErrorCode::EngineError, message)));
        };
        let report = tqdm::read(&run.tail()?);
        let furthest = run.furthest(report.bar)?;
        match exit {
            None if alive => Ok(match self.reason_to_stop(process, now, report) {
                Some(why) => RunState { status: TrainingStatus::Failed(stopped(why)), stop: Some(why) },
                None => done(TrainingStatus::Running(self.progress(furthest, report.bar)))?,
            }),
            _ if report.diverged => done(TrainingStatus::Failed(stopped(StopReason::Diverged))),
            Some(Exit { code: Some(0), .. }) => done(self.finished(run)),
            Some(exit) => done(TrainingStatus::Failed(failed(exit, report))),
            // The exit status is unknown. A checkpoint looks like a model, so the progress must be complete as well.
            None if furthest.is_none_or(|bar| bar.step == bar.total) && self.model(run).is_ok() => {
                tracing::warn!(job.id = %run.job, "the trainer's exit status is unknown; its model is complete");
                done(self.finished(run))
            }
            None => {
                let message = "the trainer ended while no worker ran, without a model";
                done(TrainingStatus::Failed(AttemptFailure::retry(ErrorCode::EngineError, message)))
            }
        }
    }

    fn reason_to_stop(&self, process: Process, now: Timestamp, report: tqdm::LogReport) -> Option<StopReason> {
        let began = Timestamp::from_microsecond(process.began).unwrap_or(now);
        if report.diverged {
            return Some(StopReason::Diverged);
        }
        (now > after(began, self.config.timeout)).then_some(StopReason::TooLong)
    }

    fn progress(&self, furthest: Option<run::Furthest>, bar: Option<tqdm::Bar>) -> Progress {
        let Some(furthest) = furthest else {
            return Progress { fraction: 0.0, step: Some(0), total_steps: Some(self.config.steps), eta_seconds: None };
        };
        Progress {
            fraction: furthest.fraction().min(MAX_RUNNING_FRACTION),
            step: Some(furthest.step),
            total_steps: Some(furthest.total),
            eta_seconds: bar.and_then(|bar| bar.eta_seconds),
        }
    }

    fn model(&self, run: &Run) -> Result<PathBuf, NoModel> {
        model::find(&run.output(), self.config.artifact.as_deref())
    }

    fn finished(&self, run: &Run) -> TrainingStatus {
        match self.model(run) {
            Ok(path) => {
                TrainingStatus::Succeeded { model_path: Some(path.to_string_lossy().into_owned()), cost_micro_usd: 0 }
            }
            Err(error) => {
                tracing::error!(%error, job.id = %run.job, "the trainer exited with 0, but left no model");
                let message = "the trainer exited with 0, but left no model";
                TrainingStatus::Failed(AttemptFailure::fail(ErrorCode::EngineError, message))
            }
        }
    }
}

#[async_trait]
impl BrandTrainer for CommandTrainer {
    async fn start(&self, spec: &TrainingSpec) -> Result<OperationId, AttemptFailure> {
        self.sweep().await;
        let starting = tokio::spawn(Arc::clone(&self.shared).start(spec.clone()));
        starting.await.unwrap_or_else(|_| {
            Err(AttemptFailure::retry(ErrorCode::Internal, "starting the trainer panicked; see the log"))
        })
    }

    async fn poll(&self, operation: &OperationId, now: Timestamp) -> Result<TrainingStatus, AttemptFailure> {
        self.sweep().await;
        let Some(run) = Run::of(&self.shared.directory, operation) else {
            let message = "the trainer does not know this operation";
            return Ok(TrainingStatus::Failed(AttemptFailure::retry(ErrorCode::EngineError, message)));
        };
        let (shared, state) = (Arc::clone(&self.shared), run.clone());
        let state = blocking(move || shared.state_of(&state, now)).await.map_err(storage_failure)?;
        match state {
            RunState { stop: Some(why), .. } => drop(process::stop(run, why, self.shared.config.grace)),
            RunState { status: TrainingStatus::Running(_), .. } => {}
            _ => blocking(move || run.drop_dataset()).await.map_err(storage_failure)?,
        }
        Ok(state.status)
    }

    async fn cancel(&self, operation: &OperationId) -> Result<(), AttemptFailure> {
        let Some(run) = Run::of(&self.shared.directory, operation) else { return Ok(()) };
        if !run.exists() {
            return Ok(());
        }
        match process::stop(run.clone(), StopReason::Cancelled, self.shared.config.grace).await {
            Ok(Ok(())) => blocking(move || run.drop_dataset()).await.map_err(storage_failure),
            _ => Err(AttemptFailure::retry(ErrorCode::EngineError, "the trainer could not be stopped; see the log")),
        }
    }

    fn route(&self) -> Cow<'_, str> {
        "command".into()
    }
}

fn stopped(why: StopReason) -> AttemptFailure {
    match why {
        StopReason::Cancelled => AttemptFailure::fail(ErrorCode::EngineError, "the training was stopped"),
        StopReason::TooLong => AttemptFailure::fail(ErrorCode::EngineTimeout, "the training exceeded its time limit"),
        StopReason::Diverged => {
            AttemptFailure::fail(ErrorCode::EngineError, "the training diverged: its loss is no longer a number")
        }
    }
}

fn failed(exit: Exit, report: tqdm::LogReport) -> AttemptFailure {
    let fail = |message: &str| AttemptFailure::fail(ErrorCode::EngineError, message);
    let retry = |message: String| AttemptFailure::retry(ErrorCode::EngineError, message);
    if report.out_of_memory {
        return fail("the graphics card has too little memory for this training");
    }
    match (exit.code, exit.signal) {
        (Some(EXIT_BAD_DATA), _) => fail("the trainer cannot learn from these pictures"),
        (Some(EXIT_KILLED), _) | (_, Some(9)) => {
            retry("the trainer was killed, most likely because memory ran out".to_owned())
        }
        (Some(code), _) => retry(format!("the trainer failed with exit code {code}")),
        (None, Some(signal)) => retry(format!("the trainer was ended by signal {signal}")),
        (None, None) => retry("the trainer ended with an unknown status".to_owned()),
    }
}

/// The folder of the trainings cannot be read or written.
#[expect(clippy::needless_pass_by_value, reason = "it is an argument of map_err")]
fn storage_failure(error: io::Error) -> AttemptFailure {
    tracing::error!(%error, "the folder of the trainings cannot be used");
    AttemptFailure::retry(ErrorCode::StorageError, "the folder of the trainings cannot be used; see the log")
}

/// Runs blocking work on a thread of its own, to its end even if the caller stops waiting.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
