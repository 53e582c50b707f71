//! The folder of a run: its whole state, so that any process can read it after any crash.
//!
//! ```text
//! {directory}/{job}/{n}/process.json   when it started, and the id of its process (and group)
//!                       log            the program's output; locked while any process of the program is alive
//!                       supervisor     locked while a process waits for the program to end
//!                       stopped        the reason why it was stopped, if it was
//!                       exit.json      its exit status
//!                       progress.json  the furthest progress
//!                       dataset/       the pictures, while it runs
//!                       output/        the program's output
//! ```
//!
//! The operating system releases a lock with the last process that has the file open, so a reused process id cannot be
//! mistaken for the program. Everything here blocks.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::tqdm::Bar;
use crate::{domain::ids::JobId, engine::OperationId};

/// Bytes of a log, at most; a longer one is cut to its end.
const MAX_LOG: u64 = 8 << 20;

/// Bytes at the end of a log that are read, and kept.
const TAIL: u64 = 64 << 10;

/// Bytes of a state file, at most.
const MAX_STATE: u64 = 64 << 10;

/// One run of the program.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) job: JobId,
    pub(super) n: u32,
    path: PathBuf,
}

/// The process of a run.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Process {
    /// Its start by the caller's clock, in microseconds.
    pub(super) began: i64,
    /// Its id, which is also the id of its group.
    pub(super) pid: i32,
}

/// Why a run was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum StopReason {
    Cancelled,
    TooLong,
    Diverged,
}

/// How a program ended: with a code, or by a signal.
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
    /// The run of an operation; `None` for an id that is not from this trainer.
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

    /// Runs that were told to stop by a process that died before they ended.
    pub(super) fn leftover(directory: &Path) -> io::Result<Vec<Self>> {
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

    /// Creates the folder of the run after `last`. Fails if it exists: another process is starting that run.
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

    /// The log, locked. Every process that inherits this open file holds the lock, such as the program.
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

    /// Whether any process of the program is alive, or its exit status is not written yet.
    pub(super) fn is_alive(&self) -> io::Result<bool> {
        Ok(self.is_supervised()? || is_locked(&self.path.join("log"))?)
    }

    /// Whether a process waits for its end, to write the exit status.
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

    pub(super) fn stopped(&self) -> io::Result<Option<StopReason>> {
        read(&self.path.join("stopped"))
    }

    /// Writes the reason for stopping; the first one counts.
    pub(super) fn set_stopped(&self, why: StopReason) -> io::Result<()> {
        let file = self.temporary(&why)?;
        match file.persist_noclobber(self.path.join("stopped")) {
            Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => Err(error.error),
            _ => Ok(()),
        }
    }

    /// The further of the stored progress and the log's.
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
            // The program opened the log to append, so its next line follows this.
            file.set_len(0)?;
            file.write_all(&tail)?;
        }
        Ok(tail)
    }

    /// Removes the copies of the pictures.
    pub(super) fn drop_dataset(&self) -> io::Result<()> {
        match fs::remove_dir_all(self.dataset()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes the folder of a run that did not start.
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

/// Tries a shared lock, so that two processes that check at once do not mistake each other for the owner.
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
