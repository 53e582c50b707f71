//! A process of the system: it has a clock of its own, it can freeze, and it can die at any await point.
//!
//! What a process does reaches the outside through its ports alone. So a process is killed by never letting any of its
//! calls return again: the requests under way may still arrive, and nothing else is ever heard of it.

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
    /// The name under which it takes leases.
    pub worker_id: OnceLock<WorkerId>,
    pub died: CancellationToken,
    is_frozen: AtomicBool,
    /// Wakes what waits for the thaw, in the order in which it came: a `watch` channel would shuffle it.
    thawed: Notify,
    /// Microseconds that its clock is off.
    offset: AtomicI64,
    /// How often the clock was read: no two readings are the same microsecond, as on a real machine.
    readings: AtomicI64,
    /// Until when it cannot reach the store.
    cut_off: Mutex<Option<Instant>>,
}

/// What happens to a call of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Fine,
    /// Refused, nothing done.
    Refused(ErrorKind),
    /// Nothing done, no answer.
    RequestLost,
    /// Done, no answer.
    ReplyLost,
    /// No answer, done after a while.
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

    /// Lets the clock be off by as much as the run allows.
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

    /// From now on for a while the store cannot be reached from here.
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

    /// Returns while the process runs: later when it is frozen, never when it is dead.
    pub async fn runs(&self) {
        while self.is_frozen.load(Ordering::SeqCst) {
            self.thawed.notified().await;
        }
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    /// Lets everybody else finish what they have to do at this moment, and lets one through at a time. Code that may go
    /// on to a thread of its own comes through here: that thread may be done at once or after a while, and in between
    /// nobody else may get a turn.
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

    /// The way to a backend or back.
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

    /// Whether a request reaches its backend: of a process that has died meanwhile, some do.
    async fn arrives(&self) {
        if self.is_dead() && self.world.dice.chance(500) {
            std::future::pending::<()>().await;
        }
    }

    /// A call of a backend: the way there, what happens there, the way back.
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

    /// What happens to a call of the store; a write may be lost on either way.
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
