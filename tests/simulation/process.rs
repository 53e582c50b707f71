//! A process of the system: it has its own clock, it can freeze, and it can die at any await point.
//!
//! A process acts only through its ports. So a process is killed by never letting any of its calls return: requests in
//! flight may still arrive, and nothing else happens.

use std::{
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use mediaforge::{
    domain::{
        Timestamp,
        clock::{Clock, Random},
        ids::WorkerId,
    },
    error::{BackendError, ErrorKind},
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{plan::Fault, world::World};

pub struct Process {
    pub name: String,
    pub world: Arc<World>,
    /// The owner of its leases.
    pub worker_id: OnceLock<WorkerId>,
    pub died: CancellationToken,
    is_frozen: AtomicBool,
    /// Wakes the tasks that wait for the thaw, in the order in which they came: a `watch` channel would shuffle them.
    thawed: Notify,
    /// The error of its clock, in microseconds.
    offset: AtomicI64,
    /// How often the clock was read. As on a real machine, no two readings are the same microsecond.
    readings: AtomicI64,
    /// Until when the store cannot be reached from here.
    cut_off: Mutex<Option<Instant>>,
}

/// What happens to a call of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Fine,
    /// Refused, not applied.
    Refused(ErrorKind),
    /// Not applied, no reply.
    RequestLost,
    /// Applied, no reply.
    ReplyLost,
    /// No reply, applied after a while.
    Late,
}

impl Process {
    pub fn new(world: &Arc<World>, name: String) -> Arc<Self> {
        let process = Arc::new(Self {
            name,
            world: Arc::clone(world),
            worker_id: OnceLock::new(),
            died: CancellationToken::new(),
            is_frozen: AtomicBool::new(false),
            thawed: Notify::new(),
            offset: AtomicI64::new(0),
            readings: AtomicI64::new(0),
            cut_off: Mutex::default(),
        });
        process.set_clock();
        process
    }

    /// Draws a new error of the clock, within the run's limit.
    pub fn set_clock(&self) {
        let most = self.world.plan.skew * 1_000_000;
        let offset = i64::try_from(self.world.dice.below(2 * most + 1)).expect("a number")
            - i64::try_from(most).expect("a number");
        self.offset.store(offset, Ordering::SeqCst);
    }

    pub fn is_dead(&self) -> bool {
        self.died.is_cancelled()
    }

    pub fn kill(&self) {
        self.world.event(&self.name, "dies", "", String::new);
        self.died.cancel();
    }

    pub fn freeze(&self, frozen: bool) {
        self.world.event(&self.name, if frozen { "freezes" } else { "goes on" }, "", String::new);
        self.is_frozen.store(frozen, Ordering::SeqCst);
        self.thawed.notify_waiters();
    }

    /// Cuts the process off from the store for this time.
    pub fn cut_off_for(&self, time: Duration) {
        *self.cut_off.lock().expect("a lock") = Some(Instant::now() + time);
    }

    pub fn reconnect(&self) {
        *self.cut_off.lock().expect("a lock") = None;
    }

    fn is_cut_off(&self) -> bool {
        let until = *self.cut_off.lock().expect("a lock");
        let outage = *self.world.outage.lock().expect("a lock");
        [until, outage].into_iter().flatten().any(|until| Instant::now() < until)
    }

    /// Waits until the process runs: after the thaw when it is frozen, for ever when it is dead.
    pub async fn runs(&self) {
        while self.is_frozen.load(Ordering::SeqCst) {
            self.thawed.notified().await;
        }
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    /// Lets all other tasks finish their work at this moment, and lets one caller through at a time. Code that may use the
    /// second thread must call this: the thread may take any time, and no other task may run in between.
    pub async fn alone(&self) {
        loop {
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            let now = Instant::now();
            if self.world.alone.lock().expect("a lock").replace(now) != Some(now) {
                return;
            }
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// The time on the network, in one direction.
    pub async fn travel(&self) {
        let world = &self.world;
        let time = if world.strikes(Fault::SlowNetwork) {
            world.dice.millis(500, 6_000)
        } else if world.is_calm() {
            world.dice.millis(1, 4)
        } else {
            world.dice.millis(1, 40)
        };
        sleep(time).await;
    }

    /// Decides whether a request of a process that has died still reaches the backend.
    async fn arrives(&self) {
        if self.is_dead() && self.world.dice.chance(500) {
            std::future::pending::<()>().await;
        }
    }

    /// A call of a backend: the request, its effect, and the reply.
    pub async fn call<T: Send + 'static>(
        self: &Arc<Self>,
        op: &'static str,
        about: &str,
        fate: Fate,
        apply: impl FnOnce(&Process) -> Result<T, BackendError> + Send + 'static,
    ) -> Result<T, BackendError> {
        self.runs().await;
        self.travel().await;
        self.arrives().await;
        let unanswered = || Err(BackendError::new(ErrorKind::Timeout, op));
        let (answer, outcome) = match fate {
            Fate::Fine => (apply(self), "answers"),
            Fate::Refused(kind) => {
                let mut error = BackendError::new(kind, op);
                error.retry_after = self.world.dice.chance(300).then(|| self.world.dice.millis(100, 3_000));
                (Err(error), "refuses")
            }
            Fate::RequestLost => (unanswered(), "never hears"),
            Fate::ReplyLost => {
                let _ = apply(self);
                (unanswered(), "acts, unheard")
            }
            Fate::Late => {
                let (process, delay) = (Arc::clone(self), self.world.dice.millis(50, 4_000));
                let about = about.to_owned();
                tokio::spawn(async move {
                    sleep(delay).await;
                    let done = apply(&process).is_ok();
                    process.world.event(&process.name, op, &about, || format!("happens late: {done}"));
                });
                (unanswered(), "will act late")
            }
        };
        let error = answer.as_ref().err().map(|error| error.kind);
        self.world
            .event(&self.name, op, about, || error.map_or(outcome.to_owned(), |kind| format!("{outcome}: {kind}")));
        self.travel().await;
        self.runs().await;
        answer
    }

    /// Draws the fate of a call of the store. A write may be lost in either direction.
    pub fn store_fate(&self, writes: bool) -> Fate {
        let world = &self.world;
        if self.is_cut_off() || world.strikes(Fault::StoreUnavailable) {
            Fate::Refused(ErrorKind::Unavailable)
        } else if world.strikes(Fault::StoreBroken) {
            Fate::Refused(ErrorKind::Broken)
        } else if world.strikes(Fault::StoreRequestLost) {
            Fate::RequestLost
        } else if writes && world.strikes(Fault::StoreReplyLost) {
            Fate::ReplyLost
        } else if writes && world.strikes(Fault::StoreLate) {
            Fate::Late
        } else {
            Fate::Fine
        }
    }
}

impl Clock for Process {
    fn now(&self) -> Timestamp {
        let off = self.offset.load(Ordering::SeqCst) + self.readings.fetch_add(1, Ordering::SeqCst) % 1000;
        Timestamp::from_microsecond(self.world.now().as_microsecond() + off).expect("a moment")
    }
}

impl Random for Process {
    fn next_u64(&self) -> u64 {
        self.world.dice.next_u64()
    }
}
