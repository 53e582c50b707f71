//! Stopping: a soft request (claim nothing new, finish what runs), then a hard one (hand back, stop), both bounded.

use std::{future::Future, io, panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt as _;
use tokio::time::{Instant, timeout};
use tokio_util::{
    sync::{CancellationToken, WaitForCancellationFutureOwned},
    task::TaskTracker,
};

/// What tasks get after the hard request to hand their work back. With the 8 s that `worker.drain` may be at most, a
/// drain ends before the 10 s after which Cloud Run kills.
pub const HARD_GRACE: Duration = Duration::from_millis(900);

/// The shutdown of this process; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    soft: CancellationToken,
    hard: CancellationToken,
    tasks: TaskTracker,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Every task finished by itself.
    Finished,
    /// Every task ended, some because the hard request told them to.
    Stopped,
    /// That many tasks still ran when time was up. What they hold is taken over when its lease lapses.
    Abandoned(usize),
}

impl Shutdown {
    /// Nothing requested, nothing tracked.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for the end: claim nothing new, finish what runs.
    pub fn request(&self) {
        self.soft.cancel();
    }

    /// Whether the end was asked for.
    pub fn is_requested(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Resolves once the end is asked for.
    pub fn requested(&self) -> WaitForCancellationFutureOwned {
        self.soft.clone().cancelled_owned()
    }

    /// Cancelled once the end is asked for.
    pub fn soft(&self) -> CancellationToken {
        self.soft.clone()
    }

    /// Cancelled once work must be handed back.
    pub fn hard(&self) -> CancellationToken {
        self.hard.clone()
    }

    /// Asks for the end at once: hand back what runs.
    pub fn force(&self) {
        self.soft.cancel();
        self.hard.cancel();
    }

    /// Resolves once work must be handed back.
    pub fn forced(&self) -> WaitForCancellationFutureOwned {
        self.hard.clone().cancelled_owned()
    }

    /// Runs a task that a drain waits for.
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

    /// Asks for the end and waits for the tasks: `soft` long for them to finish, then [`HARD_GRACE`] for them to hand
    /// back. Never takes longer than the two together.
    pub async fn drain(&self, soft: Duration) -> Drained {
        self.request();
        self.tasks.close();
        let finish = async {
            tokio::select! {
                // First, so that what ends because it was told to does not count as finished.
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

    /// Requests the shutdown at the first SIGTERM or SIGINT (Ctrl-C); resolves at the second, for whoever calls to exit
    /// at once. Listening begins with the call, not with the first poll.
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

/// The first pause before a task that panicked is started again, and the longest.
const RESTART: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// Runs a task that must not end by a defect: after a panic it is started again, ever more patiently, until `end`. A task
/// that returns has ended as it should.
pub async fn supervised<F>(task: &'static str, end: CancellationToken, mut start: impl FnMut() -> F)
where
    F: Future<Output = ()> + Send,
{
    let (first, most) = RESTART;
    let mut pause = first;
    loop {
        let begun = Instant::now();
        let Err(panic) = AssertUnwindSafe(async { start().await }).catch_unwind().await else { return };
        let said = panic.downcast_ref::<&str>().map(|said| (*said).to_owned());
        let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        if begun.elapsed() > most {
            pause = first; // it has worked well since the last time
        }
        tracing::error!(task, panic = said, ?pause, "a task ended by a defect and is started again");
        if timeout(pause, end.cancelled()).await.is_ok() {
            return;
        }
        pause = (2 * pause).min(most);
    }
}

/// The next SIGTERM or SIGINT (Ctrl-C), for a command that only has to tidy up. Listening begins with the call.
pub fn next_signal() -> io::Result<impl Future<Output = Signal> + Send + 'static> {
    let mut signals = Signals::new()?;
    Ok(async move { signals.next().await })
}

/// A request to end that came from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// What service managers and Cloud Run send.
    Terminate,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        }
    }

    /// The exit code of a process that ended because of it, as shells count: 128 plus the signal's number.
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
    async fn a_drain_waits_for_what_finishes_in_time() {
        let shutdown = Shutdown::new();
        shutdown.spawn(sleep(Duration::from_secs(3)));
        let start = Instant::now();
        assert_eq!(shutdown.drain(DRAIN).await, Drained::Finished);
        assert_eq!(start.elapsed(), Duration::from_secs(3));
        assert!(shutdown.is_requested());
    }

    #[tokio::test(start_paused = true)]
    async fn what_runs_too_long_is_told_to_hand_back() {
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
    async fn what_ignores_everything_is_abandoned_within_nine_seconds() {
        let shutdown = Shutdown::new();
        shutdown.spawn(std::future::pending::<()>());
        let start = Instant::now();
        assert_eq!(shutdown.drain(DRAIN).await, Drained::Abandoned(1));
        assert!(start.elapsed() < Duration::from_secs(9));
    }

    #[tokio::test(start_paused = true)]
    async fn forcing_cuts_a_drain_short_and_implies_the_request() {
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
    async fn a_task_that_panics_is_started_again_and_one_that_returns_is_not() {
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
    async fn a_task_that_panics_is_not_started_again_after_the_end() {
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
    async fn the_first_signal_requests_the_shutdown_and_the_second_is_handed_out() {
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
