//! Shutdown: first a soft request (claim nothing new, finish running work), then a hard one (hand work back and stop). Both
//! have a time limit.

use std::{future::Future, io, panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt as _;
use tokio::time::{Instant, timeout};
use tokio_util::{
    sync::{CancellationToken, WaitForCancellationFutureOwned},
    task::TaskTracker,
};

/// How long tasks have to hand their work back after the hard request. `worker.drain` is at most 8 s, so a drain ends
/// before Cloud Run kills the process after 10 s.
pub const HARD_GRACE: Duration = Duration::from_millis(900);

/// The shutdown of this process. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    soft: CancellationToken,
    hard: CancellationToken,
    tasks: TaskTracker,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Every task finished before the hard request.
    Finished,
    /// Every task ended, some because of the hard request.
    Stopped,
    /// This many tasks were still running when the time was up. Other workers take over their jobs when the leases lapse.
    Abandoned(usize),
}

impl Shutdown {
    pub fn new() -> Self {
        Self::default()
    }

    /// Requests the shutdown: claim nothing new, finish running work.
    pub fn request(&self) {
        self.soft.cancel();
    }

    /// Whether the shutdown is requested.
    pub fn is_requested(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Resolves when the shutdown is requested.
    pub fn requested(&self) -> WaitForCancellationFutureOwned {
        self.soft.clone().cancelled_owned()
    }

    /// A token that is cancelled when the shutdown is requested.
    pub fn soft(&self) -> CancellationToken {
        self.soft.clone()
    }

    /// A token that is cancelled when tasks must hand their work back.
    pub fn hard(&self) -> CancellationToken {
        self.hard.clone()
    }

    /// Requests the shutdown and makes tasks hand their work back at once.
    pub fn force(&self) {
        self.soft.cancel();
        self.hard.cancel();
    }

    /// Resolves when tasks must hand their work back.
    pub fn forced(&self) -> WaitForCancellationFutureOwned {
        self.hard.clone().cancelled_owned()
    }

    /// Spawns a task that a drain waits for.
    pub fn spawn<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// The tasks that a drain waits for.
    pub fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Requests the shutdown and waits for the tasks: for `soft` until they finish, then for [`HARD_GRACE`] until they have
    /// handed their work back.
    pub async fn drain(&self, soft: Duration) -> Drained {
        self.request();
        self.tasks.close();
        let finish = async {
            tokio::select! {
                // Checked first, so that tasks that the hard request ended do not count as finished.
                biased;
                () = self.hard.cancelled() => false,
                () = self.tasks.wait() => true,
            }
        };
        if timeout(soft, finish).await == Ok(true) {
            return Drained::Finished;
        }
        self.hard.cancel();
        match timeout(HARD_GRACE, self.tasks.wait()).await {
            Ok(()) => Drained::Stopped,
            Err(_) => Drained::Abandoned(self.tasks.len()),
        }
    }

    /// Requests the shutdown at the first SIGTERM or SIGINT (Ctrl-C) and resolves at the second, so that the caller can exit
    /// at once. Signals are caught from the call on, not only from the first poll.
    pub fn on_signals(&self) -> io::Result<impl Future<Output = Signal> + Send + 'static> {
        let mut signals = Signals::new()?;
        let shutdown = self.clone();
        Ok(async move {
            let first = signals.next().await;
            tracing::info!(signal = first.name(), "shutting down; a second signal stops at once");
            shutdown.request();
            signals.next().await
        })
    }
}

/// The first and the longest pause before a task that panicked is restarted.
const MIN_RESTART_PAUSE: Duration = Duration::from_millis(100);
const MAX_RESTART_PAUSE: Duration = Duration::from_secs(30);

/// Runs a task that a panic must not end: it is restarted, with a growing pause, until `end` is cancelled. A task that
/// returns is not restarted.
pub async fn supervised<F>(task: &'static str, end: CancellationToken, mut start: impl FnMut() -> F)
where
    F: Future<Output = ()> + Send,
{
    let mut pause = MIN_RESTART_PAUSE;
    loop {
        let started_at = Instant::now();
        let Err(panic) = AssertUnwindSafe(async { start().await }).catch_unwind().await else { return };
        let message = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let message = message.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        if started_at.elapsed() > MAX_RESTART_PAUSE {
            pause = MIN_RESTART_PAUSE; // it ran well since the last panic
        }
        tracing::error!(task, panic = message, ?pause, "a task panicked and is restarted");
        if timeout(pause, end.cancelled()).await.is_ok() {
            return;
        }
        pause = (2 * pause).min(MAX_RESTART_PAUSE);
    }
}

/// Waits for the next SIGTERM or SIGINT (Ctrl-C), for a command that only cleans up. Signals are caught from the call on.
pub fn next_signal() -> io::Result<impl Future<Output = Signal> + Send + 'static> {
    let mut signals = Signals::new()?;
    Ok(async move { signals.next().await })
}

/// A signal that asks the process to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM, as service managers and Cloud Run send it.
    Terminate,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        }
    }

    /// The exit code of a process that this signal ended, by the shells' convention: 128 plus the signal's number.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
        }
    }
}

#[cfg(windows)]
struct Signals {
    ctrl_c: tokio::signal::windows::CtrlC,
    close: tokio::signal::windows::CtrlClose,
}

#[cfg(windows)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::windows::{ctrl_c, ctrl_close};
        Ok(Self { ctrl_c: ctrl_c()?, close: ctrl_close()? })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.ctrl_c.recv() => Signal::Interrupt,
            _ = self.close.recv() => Signal::Terminate,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const DRAIN: Duration = Duration::from_secs(8);

    #[tokio::test(start_paused = true)]
    async fn a_drain_waits_for_tasks_that_finish_in_time() {
        let shutdown = Shutdown::new();
        shutdown.spawn(sleep(Duration::from_secs(3)));
        let start = Instant::now();
        assert_eq!(shutdown.drain(DRAIN).await, Drained::Finished);
        assert_eq!(start.elapsed(), Duration::from_secs(3));
        assert!(shutdown.is_requested());
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_runs_too_long_must_hand_back() {
        let shutdown = Shutdown::new();
        let forced = shutdown.forced();
        shutdown.spawn(async move {
            forced.await;
            sleep(Duration::from_millis(100)).await;
        });
        let start = Instant::now();
        assert_eq!(shutdown.drain(DRAIN).await, Drained::Stopped);
        assert_eq!(start.elapsed(), DRAIN + Duration::from_millis(100));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_ignores_both_requests_is_abandoned_within_nine_seconds() {
        let shutdown = Shutdown::new();
        shutdown.spawn(std::future::pending::<()>());
        let start = Instant::now();
        assert_eq!(shutdown.drain(DRAIN).await, Drained::Abandoned(1));
        assert!(start.elapsed() < Duration::from_secs(9));
    }

    #[tokio::test(start_paused = true)]
    async fn forcing_shortens_a_drain_and_requests_the_shutdown() {
        let shutdown = Shutdown::new();
        let forced = shutdown.forced();
        shutdown.spawn(forced);
        let impatient = shutdown.clone();
        tokio::spawn(async move {
            sleep(Duration::from_secs(1)).await;
            impatient.force();
        });
        let start = Instant::now();
        assert_eq!(shutdown.drain(DRAIN).await, Drained::Stopped);
        assert_eq!(start.elapsed(), Duration::from_secs(1));
        shutdown.requested().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_is_restarted_and_one_that_returns_is_not() {
        let mut starts = 0;
        supervised("test", CancellationToken::new(), || {
            starts += 1;
            let is_well = starts == 4;
            async move { assert!(is_well, "a defect") }
        })
        .await;
        assert_eq!(starts, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_is_not_restarted_after_the_end() {
        let end = CancellationToken::new();
        end.cancel();
        let mut starts = 0;
        supervised("test", end, || {
            starts += 1;
            async { panic!("a defect") }
        })
        .await;
        assert_eq!(starts, 1);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn the_first_signal_requests_the_shutdown_and_the_second_is_returned() {
        use nix::sys::signal::{Signal::SIGTERM, raise};
        let shutdown = Shutdown::new();
        let second = tokio::spawn(shutdown.on_signals().unwrap());
        raise(SIGTERM).unwrap();
        shutdown.requested().await;
        assert!(!second.is_finished());
        raise(SIGTERM).unwrap();
        let signal = second.await.unwrap();
        assert_eq!((signal, signal.exit_code()), (Signal::Terminate, 143));
    }
}
