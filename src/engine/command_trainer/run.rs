//! The folder of a run: all that is known of it, for whoever asks, after whatever happened.
//!
//! ```text
//! {directory}/{job}/{n}/process.json   when it began, and the id of its process (and group)
//!                       log            what the program says; locked for as long as any part of the program lives
//!                       supervisor     locked for as long as somebody waits for the program to end
//!                       stopped        why it was stopped, if it was
//!                       exit.json      how it ended
//!                       progress.json  the furthest it got
//!                       dataset/       the pictures, while it goes on
//!                       output/        what it makes
//! ```
//!
//! A lock is the operating system's and goes with the last process that has the file open, so that an id which another
//! process has by now deceives nobody. Everything here blocks.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::tqdm::Bar;
use crate::{domain::ids::JobId, engine::OperationId};

/// Bytes of a log, at most; a longer one loses all but its end.
const MAX_LOG: u64 = 8 << 20;

/// The end of a log that is read, and kept.
const TAIL: u64 = 64 << 10;

/// A file of the run's own state is never longer.
const MAX_STATE: u64 = 64 << 10;

/// One run of the program.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) job: JobId,
    pub(super) n: u32,
    path: PathBuf,
}

/// What is known from the beginning.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Process {
    /// By the caller's clock, in microseconds.
    pub(super) began: i64,
    /// The process's id, which is that of its group, too.
    pub(super) pid: i32,
}

/// Why a run was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Stopped {
    Cancelled,
    TooLong,
    Diverged,
}

/// How a program ended: by itself with a code, or by a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Exit {
    pub(super) code: Option<i32>,
    pub(super) signal: Option<i32>,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Furthest {
    pub(super) step: u32,
    pub(super) total: u32,
}

impl Run {
    /// The run that an operation names; `None` for a name that is none of ours.
    pub(super) fn of(directory: &Path, operation: &OperationId) -> Option<Self> {
        let (job, n) = operation.0.strip_prefix("command:")?.rsplit_once(':')?;
        let run = Self::new(directory, job.parse().ok()?, n.parse().ok()?);
        (run.operation() == *operation).then_some(run)
    }

    fn new(directory: &Path, job: JobId, n: u32) -> Self {
        let path = directory.join(job.as_str()).join(n.to_string());
        Self { job, n, path }
    }

    pub(super) fn operation(&self) -> OperationId {
        OperationId(format!("command:{}:{}", self.job, self.n))
    }

    /// The last run of a job.
    pub(super) fn last(directory: &Path, job: &JobId) -> io::Result<Option<Self>> {
        Ok(Self::all(directory, job)?.into_iter().max_by_key(|run| run.n))
    }

    fn all(directory: &Path, job: &JobId) -> io::Result<Vec<Self>> {
        let entries = match fs::read_dir(directory.join(job.as_str())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut runs = Vec::new();
        for entry in entries {
            if let Some(n) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
                runs.push(Self::new(directory, job.clone(), n));
            }
        }
        Ok(runs)
    }

    /// Runs that were told to stop and have not: whoever told them is gone.
    pub(super) fn disobedient(directory: &Path) -> io::Result<Vec<Self>> {
        let entries = match fs::read_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut runs = Vec::new();
        for entry in entries {
            let Some(job) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            runs.extend(
                Self::all(directory, &job)?
                    .into_iter()
                    .filter(|run| matches!(run.stopped(), Ok(Some(_))) && matches!(run.is_alive(), Ok(true))),
            );
        }
        Ok(runs)
    }

    /// Makes the folder of the run after `last`. That it exists is an error: somebody else begins.
    pub(super) fn create(directory: &Path, job: &JobId, last: Option<&Self>) -> io::Result<Self> {
        let run = Self::new(directory, job.clone(), last.map_or(0, |run| run.n) + 1);
        fs::create_dir_all(directory.join(job.as_str()))?;
        fs::create_dir(&run.path)?;
        fs::create_dir(run.dataset())?;
        fs::create_dir(run.output())?;
        Ok(run)
    }

    pub(super) fn exists(&self) -> bool {
        self.path.is_dir()
    }

    pub(super) fn dataset(&self) -> PathBuf {
        self.path.join("dataset")
    }

    pub(super) fn output(&self) -> PathBuf {
        self.path.join("output")
    }

    /// The log, locked. Whoever has this very file open, such as a program that writes into it, holds the lock.
    pub(super) fn lock_log(&self) -> io::Result<File> {
        let log = OpenOptions::new().create(true).append(true).open(self.path.join("log"))?;
        log.try_lock()?;
        Ok(log)
    }

    pub(super) fn lock_supervisor(&self) -> io::Result<File> {
        let file = File::create(self.path.join("supervisor"))?;
        file.try_lock()?;
        Ok(file)
    }

    /// Whether any part of the program lives, or its end is not written yet.
    pub(super) fn is_alive(&self) -> io::Result<bool> {
        Ok(self.is_supervised()? || is_locked(&self.path.join("log"))?)
    }

    /// Whether somebody will write how it ends.
    pub(super) fn is_supervised(&self) -> io::Result<bool> {
        is_locked(&self.path.join("supervisor"))
    }

    pub(super) fn process(&self) -> io::Result<Option<Process>> {
        read(&self.path.join("process.json"))
    }

    pub(super) fn set_process(&self, process: Process) -> io::Result<()> {
        self.write("process.json", &process)
    }

    pub(super) fn exit(&self) -> io::Result<Option<Exit>> {
        read(&self.path.join("exit.json"))
    }

    pub(super) fn set_exit(&self, exit: Exit) -> io::Result<()> {
        self.write("exit.json", &exit)
    }

    pub(super) fn stopped(&self) -> io::Result<Option<Stopped>> {
        read(&self.path.join("stopped"))
    }

    /// Says why it is stopped; the first reason counts.
    pub(super) fn set_stopped(&self, why: Stopped) -> io::Result<()> {
        let file = self.temporary(&why)?;
        match file.persist_noclobber(self.path.join("stopped")) {
            Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => Err(error.error),
            _ => Ok(()),
        }
    }

    /// The furthest of what was known and what the log says now.
    pub(super) fn furthest(&self, bar: Option<Bar>) -> io::Result<Option<Furthest>> {
        let known: Option<Furthest> = read(&self.path.join("progress.json"))?;
        let Some(now) = bar.map(|bar| Furthest { step: bar.step, total: bar.total }) else { return Ok(known) };
        if known.is_some_and(|known| known.fraction() >= now.fraction()) {
            return Ok(known);
        }
        self.write("progress.json", &now)?;
        Ok(Some(now))
    }

    /// The end of the log. One that has grown too long is cut down to it.
    pub(super) fn tail(&self) -> io::Result<Vec<u8>> {
        let path = self.path.join("log");
        let mut file = match OpenOptions::new().read(true).append(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            file => file?,
        };
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut tail = Vec::new();
        (&mut file).take(TAIL).read_to_end(&mut tail)?;
        if length > MAX_LOG {
            // The program appends, so what it writes next stands behind this.
            file.set_len(0)?;
            file.write_all(&tail)?;
        }
        Ok(tail)
    }

    /// Removes the copies of the pictures: nobody needs them any more.
    pub(super) fn drop_dataset(&self) -> io::Result<()> {
        match fs::remove_dir_all(self.dataset()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes the folder of a run that did not begin.
    pub(super) fn discard(&self) -> io::Result<()> {
        fs::remove_dir_all(&self.path)
    }

    fn write(&self, name: &str, value: &impl Serialize) -> io::Result<()> {
        self.temporary(value)?.persist(self.path.join(name)).map_err(|error| error.error)?;
        Ok(())
    }

    fn temporary(&self, value: &impl Serialize) -> io::Result<tempfile::NamedTempFile> {
        let mut file = tempfile::NamedTempFile::new_in(&self.path)?;
        serde_json::to_writer(&mut file, value)?;
        Ok(file)
    }
}

impl Furthest {
    pub(super) fn fraction(self) -> f64 {
        f64::from(self.step) / f64::from(self.total.max(1))
    }
}

/// A shared lock is asked for, so that two who look at once do not take each other for the owner.
fn is_locked(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file?,
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    Ok(Some(serde_json::from_reader(file.take(MAX_STATE))?))
}
