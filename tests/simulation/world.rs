//! The state that all parts of a run share: choices, time, the history, and the violations.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use mediaforge::domain::{Timestamp, clock::after};
use tokio::time::Instant;

use crate::{
    client::Clients,
    dice::Dice,
    engine::Calls,
    media::Objects,
    plan::{Broken, Fault, Plan},
    process::Process,
    queue::DeadLetters,
    records::Records,
    serving::Serving,
    trainer::Operations,
};

/// How often each event happened.
pub type Coverage = BTreeMap<&'static str, u64>;

pub struct World {
    pub dice: Dice,
    pub plan: Plan,
    pub records: Mutex<Records>,
    pub objects: Mutex<Objects>,
    pub dead_letters: Mutex<DeadLetters>,
    pub calls: Mutex<Calls>,
    pub operations: Mutex<Operations>,
    pub clients: Mutex<Clients>,
    /// The running workers, to which the queue pushes.
    pub workers: Mutex<Vec<Option<Arc<Serving>>>>,
    pub gateways: Mutex<Vec<Option<Arc<Serving>>>>,
    /// Until when the store is unavailable to all processes.
    pub outage: Mutex<Option<Instant>>,
    /// When a task last was alone (`Process::alone`).
    pub alone: Mutex<Option<Instant>>,
    calm: AtomicBool,
    begin: Instant,
    history: Mutex<History>,
}

/// The events so far.
#[derive(Default)]
struct History {
    coverage: Coverage,
    violations: Vec<String>,
    /// A hash of all events in their order: two runs of a seed must agree.
    fingerprint: u64,
    /// Kept only when the run is printed.
    lines: Option<Vec<String>>,
}

/// The result of a run.
pub struct Report {
    pub violations: Vec<String>,
    pub fingerprint: u64,
    pub coverage: Coverage,
    pub lines: Vec<String>,
}

impl World {
    /// A world at its beginning. Call this within the runtime whose time it uses.
    pub fn new(seed: u64, broken: Option<Broken>, is_told: bool) -> Arc<Self> {
        let dice = Dice::new(seed);
        let plan = Plan::draw(&dice, broken);
        let history = History { lines: is_told.then(Vec::new), fingerprint: seed, ..History::default() };
        Arc::new(Self {
            dice,
            records: Mutex::new(Records::new(plan.broken)),
            plan,
            objects: Mutex::default(),
            dead_letters: Mutex::default(),
            calls: Mutex::default(),
            operations: Mutex::default(),
            clients: Mutex::default(),
            workers: Mutex::default(),
            gateways: Mutex::default(),
            outage: Mutex::default(),
            alone: Mutex::default(),
            calm: AtomicBool::new(false),
            begin: Instant::now(),
            history: Mutex::new(history),
        })
    }

    /// The true time, without the error of a process's clock.
    pub fn now(&self) -> Timestamp {
        let start = Timestamp::from_second(1_767_225_600).expect("a moment in 2026");
        after(start, self.begin.elapsed())
    }

    /// Ends all faults.
    pub fn calm_down(&self) {
        self.calm.store(true, Ordering::SeqCst);
        *self.outage.lock().expect("a lock") = None;
        self.event("world", "no more faults", "", String::new);
    }

    pub fn is_calm(&self) -> bool {
        self.calm.load(Ordering::SeqCst)
    }

    /// Decides whether this fault happens now.
    pub fn strikes(&self, fault: Fault) -> bool {
        let rate = self.plan.rates[fault as usize];
        let strikes = !self.is_calm() && rate > 0 && self.dice.chance(rate);
        if strikes {
            self.count(fault.name());
        }
        strikes
    }

    pub fn count(&self, what: &'static str) {
        *self.history().coverage.entry(what).or_default() += 1;
    }

    pub fn counted(&self, what: &'static str) -> u64 {
        self.history().coverage.get(what).copied().unwrap_or_default()
    }

    /// Records an event. `detail` is computed only when the run is printed.
    pub fn event(&self, who: &str, what: &'static str, about: &str, detail: impl FnOnce() -> String) {
        let millis = self.begin.elapsed().as_millis();
        let mut history = self.history();
        let time = u64::try_from(millis).unwrap_or(u64::MAX).to_le_bytes();
        let bytes = time.iter().copied().chain(who.bytes()).chain(what.bytes()).chain(about.bytes());
        history.fingerprint =
            bytes.fold(history.fingerprint, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        if let Some(lines) = &mut history.lines {
            let (seconds, millis) = (millis / 1000, millis % 1000);
            lines.push(format!("{seconds:6}.{millis:03} {who:<4} {what} {about} {}", detail()));
        }
    }

    /// Records that a rule was broken.
    #[expect(clippy::needless_pass_by_value, reason = "every caller has just made the text")]
    pub fn violation(&self, rule: &str, about: String) {
        self.event("AUDIT", "violation of", rule, || about.clone());
        self.history().violations.push(format!("{rule}: {about}"));
    }

    pub fn is_violated(&self) -> bool {
        !self.history().violations.is_empty()
    }

    /// Drops the processes, which hold the world that holds them. Otherwise a test of many seeds would leak them.
    pub fn end(&self) {
        self.gateways.lock().expect("a lock").clear();
        self.workers.lock().expect("a lock").clear();
        self.records.lock().expect("a lock").endings.clear();
    }

    pub fn report(&self) -> Report {
        let history = std::mem::take(&mut *self.history());
        let History { coverage, violations, fingerprint, lines } = history;
        Report { violations, fingerprint, coverage, lines: lines.unwrap_or_default() }
    }

    /// A random running gateway, if any.
    pub fn some_gateway(&self) -> Option<Arc<Serving>> {
        self.running(&self.gateways)
    }

    /// A random running worker, if any.
    pub fn some_worker(&self) -> Option<Arc<Serving>> {
        self.running(&self.workers)
    }

    fn running(&self, among: &Mutex<Vec<Option<Arc<Serving>>>>) -> Option<Arc<Serving>> {
        let running: Vec<_> = among.lock().expect("a lock").iter().flatten().cloned().collect();
        (!running.is_empty()).then(|| Arc::clone(self.dice.pick(&running)))
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().expect("no panic under the lock")
    }

    /// Applies a change on behalf of a process, and audits it.
    pub fn with_records<T>(&self, by: &Process, apply: impl FnOnce(&mut Records) -> T) -> T {
        let mut records = self.records.lock().expect("a lock");
        let result = apply(&mut records);
        for (rule, about) in records.take_findings(by) {
            self.violation(rule, about);
        }
        for (what, about) in records.take_news() {
            self.count(what);
            self.event(&by.name, what, &about, String::new);
        }
        result
    }
}
