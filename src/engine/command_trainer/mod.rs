//! Trains by a program on this machine: accelerate, kohya, or anything that can be started.
//!
//! The program runs in a process group of its own and writes into files, so it outlives a restart of this process, which
//! finds it again by its folder (`run.rs`); how it ended is known for certain when this process was there, and else by
//! what it left behind. It needs Unix: process groups, and locks that belong to open files.
//!
//! What cannot be ended is a child that leaves the group and closes its output; what cannot be found is a program whose
//! starter was killed in the moment between starting it and writing down its id: it counts as running, to its end.

mod model;
mod process;
mod run;
mod tqdm;

use std::{borrow::Cow, io, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use tokio::sync::{Mutex, OnceCell};

use self::{
    model::NoModel,
    run::{Exit, Process, Run, Stopped},
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

/// While a program still runs it is not done, whatever its bar says.
const NEARLY: f64 = 0.99;

/// The code of a program that was killed, as a shell or a container says it: 128 and the signal's number.
const KILLED: i32 = 137;

/// The code by which a program says that these pictures cannot be learnt from (`EX_DATAERR`).
const BAD_DATA: i32 = 65;

/// Runs the configured program.
pub(super) struct CommandTrainer {
    shared: Arc<Shared>,
    swept: OnceCell<()>,
}

struct Shared {
    config: CommandTrainerConfig,
    directory: PathBuf,
    /// One is begun at a time, also when whoever asked has stopped waiting: the next one finds it.
    starting: Arc<Mutex<()>>,
}

/// Where a run stands, and whether it is to be stopped.
struct Judged {
    status: TrainingStatus,
    stop: Option<Stopped>,
}

impl CommandTrainer {
    /// A trainer that keeps its runs in `directory`, unless another is configured.
    pub(super) fn new(config: CommandTrainerConfig, directory: PathBuf) -> Self {
        let directory = config.directory.clone().unwrap_or(directory);
        // The program may have other ideas of where it is.
        let directory = std::path::absolute(&directory).unwrap_or(directory);
        Self { shared: Arc::new(Shared { config, directory, starting: Arc::default() }), swept: OnceCell::new() }
    }

    async fn sweep(&self) {
        let sweep = async {
            if let Err(error) = process::end_the_disobedient(&self.shared.directory).await {
                tracing::warn!(%error, "trainings that were to end could not be looked for");
            }
        };
        self.swept.get_or_init(|| sweep).await;
    }
}

impl Shared {
    async fn start(self: Arc<Self>, spec: TrainingSpec) -> Result<OperationId, AttemptFailure> {
        let _one_at_a_time = Arc::clone(&self.starting).lock_owned().await;
        let (shared, job, now) = (Arc::clone(&self), spec.job_id.clone(), spec.now);
        let (last, goes_on) = blocking(move || {
            let last = Run::last(&shared.directory, &job)?;
            let goes_on = last.as_ref().map(|run| shared.judge(run, now)).transpose()?;
            Ok((last, goes_on.is_some_and(|judged| !matches!(judged.status, TrainingStatus::Failed(_)))))
        })
        .await
        .map_err(unkept)?;
        if let Some(last) = last.as_ref().filter(|_| goes_on) {
            return Ok(last.operation());
        }
        let (directory, job) = (self.directory.clone(), spec.job_id.clone());
        let run = blocking(move || Run::create(&directory, &job, last.as_ref())).await.map_err(unkept)?;
        let begun = self.begin(&run, &spec).await;
        if begun.is_err() {
            let failed = run.clone();
            blocking(move || failed.discard()).await.map_err(unkept)?;
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
            blocking(move || std::fs::write(path, bytes)).await.map_err(unkept)?;
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
            // No argument can carry one.
            Placeholder::Name => spec.brand.name.replace('\0', " "),
            Placeholder::Job => spec.job_id.to_string(),
        };
        let filled = self.config.argv.iter().map(|argument| argv::fill(argument, value)).collect::<Result<_, _>>();
        filled.map_err(|problem| AttemptFailure::misconfigured(format!("trainer.command.argv: {problem}")))
    }

    /// Where a run stands. Blocks.
    fn judge(&self, run: &Run, now: Timestamp) -> io::Result<Judged> {
        let done = |status| Ok(Judged { status, stop: None });
        if let Some(why) = run.stopped()? {
            return done(TrainingStatus::Failed(stopped(why)));
        }
        // Life before death: what ends between the two looks is seen to have ended.
        let alive = run.is_alive()?;
        let exit = run.exit()?;
        let Some(process) = run.process()? else {
            if alive {
                return done(TrainingStatus::Running(self.progress(None, None)));
            }
            let message =
                if run.exists() { "the trainer did not begin" } else { "the trainer knows no such operation" };
            return done(TrainingStatus::Failed(AttemptFailure::retry(ErrorCode::EngineError, message)));
        };
        let said = tqdm::read(&run.tail()?);
        let furthest = run.furthest(said.bar)?;
        match exit {
            None if alive => Ok(match self.reason_to_stop(process, now, said) {
                Some(why) => Judged { status: TrainingStatus::Failed(stopped(why)), stop: Some(why) },
                None => done(TrainingStatus::Running(self.progress(furthest, said.bar)))?,
            }),
            _ if said.diverged => done(TrainingStatus::Failed(stopped(Stopped::Diverged))),
            Some(Exit { code: Some(0), .. }) => done(self.delivered(run)),
            Some(exit) => done(TrainingStatus::Failed(failed(exit, said))),
            // Nobody saw its end. A state of half way looks like a model, too.
            None if furthest.is_none_or(|bar| bar.step == bar.total) && self.model(run).is_ok() => {
                tracing::warn!(job.id = %run.job, "nobody saw the trainer's end; its model is whole");
                done(self.delivered(run))
            }
            None => {
                let message = "the trainer ended while nobody watched, without a model";
                done(TrainingStatus::Failed(AttemptFailure::retry(ErrorCode::EngineError, message)))
            }
        }
    }

    fn reason_to_stop(&self, process: Process, now: Timestamp, said: tqdm::Said) -> Option<Stopped> {
        let began = Timestamp::from_microsecond(process.began).unwrap_or(now);
        if said.diverged {
            return Some(Stopped::Diverged);
        }
        (now > after(began, self.config.timeout)).then_some(Stopped::TooLong)
    }

    fn progress(&self, furthest: Option<run::Furthest>, bar: Option<tqdm::Bar>) -> Progress {
        let Some(furthest) = furthest else {
            return Progress { fraction: 0.0, step: Some(0), total_steps: Some(self.config.steps), eta_seconds: None };
        };
        Progress {
            fraction: furthest.fraction().min(NEARLY),
            step: Some(furthest.step),
            total_steps: Some(furthest.total),
            eta_seconds: bar.and_then(|bar| bar.eta_seconds),
        }
    }

    fn model(&self, run: &Run) -> Result<PathBuf, NoModel> {
        model::find(&run.output(), self.config.artifact.as_deref())
    }

    fn delivered(&self, run: &Run) -> TrainingStatus {
        match self.model(run) {
            Ok(path) => {
                TrainingStatus::Succeeded { model_path: Some(path.to_string_lossy().into_owned()), cost_micro_usd: 0 }
            }
            Err(error) => {
                tracing::error!(%error, job.id = %run.job, "the trainer ended well, but left no model");
                let message = "the trainer ended well, but left no model";
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
            let message = "the trainer knows no such operation";
            return Ok(TrainingStatus::Failed(AttemptFailure::retry(ErrorCode::EngineError, message)));
        };
        let (shared, judged) = (Arc::clone(&self.shared), run.clone());
        let judged = blocking(move || shared.judge(&judged, now)).await.map_err(unkept)?;
        match judged {
            Judged { stop: Some(why), .. } => drop(process::stop(run, why, self.shared.config.grace)),
            Judged { status: TrainingStatus::Running(_), .. } => {}
            _ => blocking(move || run.drop_dataset()).await.map_err(unkept)?,
        }
        Ok(judged.status)
    }

    async fn cancel(&self, operation: &OperationId) -> Result<(), AttemptFailure> {
        let Some(run) = Run::of(&self.shared.directory, operation) else { return Ok(()) };
        if !run.exists() {
            return Ok(());
        }
        match process::stop(run.clone(), Stopped::Cancelled, self.shared.config.grace).await {
            Ok(Ok(())) => blocking(move || run.drop_dataset()).await.map_err(unkept),
            _ => Err(AttemptFailure::retry(ErrorCode::EngineError, "the trainer could not be stopped; see the log")),
        }
    }

    fn breaker_name(&self) -> Cow<'_, str> {
        "command".into()
    }
}

fn stopped(why: Stopped) -> AttemptFailure {
    match why {
        Stopped::Cancelled => AttemptFailure::fail(ErrorCode::EngineError, "the training was stopped"),
        Stopped::TooLong => AttemptFailure::fail(ErrorCode::EngineTimeout, "the training took longer than it may"),
        Stopped::Diverged => {
            AttemptFailure::fail(ErrorCode::EngineError, "the training came to nothing: its loss is no number any more")
        }
    }
}

fn failed(exit: Exit, said: tqdm::Said) -> AttemptFailure {
    let fail = |message: &str| AttemptFailure::fail(ErrorCode::EngineError, message);
    let retry = |message: String| AttemptFailure::retry(ErrorCode::EngineError, message);
    if said.out_of_memory {
        return fail("the graphics card has too little memory for this training");
    }
    match (exit.code, exit.signal) {
        (Some(BAD_DATA), _) => fail("the trainer cannot learn from these pictures"),
        (Some(KILLED), _) | (_, Some(9)) => retry("the trainer was killed, most likely for want of memory".to_owned()),
        (Some(code), _) => retry(format!("the trainer failed with exit code {code}")),
        (None, Some(signal)) => retry(format!("the trainer was ended by signal {signal}")),
        (None, None) => retry("the trainer ended, nobody knows how".to_owned()),
    }
}

/// The folder of trainings does not do what folders do.
#[expect(clippy::needless_pass_by_value, reason = "it is handed to map_err")]
fn unkept(error: io::Error) -> AttemptFailure {
    tracing::error!(%error, "the folder of trainings could not be used");
    AttemptFailure::retry(ErrorCode::StorageError, "the folder of trainings could not be used; see the log")
}

/// Does what blocks on a thread of its own, to its end even when nobody waits any more.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
