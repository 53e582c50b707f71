//! The load generator: a bounded number of connections, each with one request in flight.
//!
//! The closed loop sends the next request as soon as it has the response to the last one. It finds the throughput for a
//! number of clients. The open loop sends at fixed times, however fast the system responds, and counts each latency from
//! the moment the request was due. So a system that stalls cannot hide the wait of the requests that came during the
//! stall ("coordinated omission").

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Mutex, mpsc},
    task::JoinSet,
    time::Instant,
};

use super::stats::{Latencies, float};

/// Consecutive failures after which a connection gives up, so that the run ends when the system is gone.
const MAX_FAILURES: u32 = 20;
/// The pause after a failure.
const AFTER_FAILURE: Duration = Duration::from_millis(10);
/// Maximum number of due requests that wait for a connection.
const MAX_WAITING: usize = 1024;
/// How long before the due time the pacer wakes, because sleeping is this imprecise.
const SPIN: Duration = Duration::from_micros(100);

/// One connection.
pub(super) trait Sender: Send + 'static {
    /// Sends the request with this number, waits for the whole response and returns whether it was as expected.
    fn send(&mut self, number: u64) -> impl Future<Output = bool> + Send;
}

/// When a closed loop ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum Until {
    /// After this time.
    Elapsed(Duration),
    /// After this many requests.
    Sent(u64),
}

/// The result of a load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Load {
    /// Requests with the expected response.
    pub answered: u64,
    /// From the first request to the last response.
    pub elapsed: Duration,
}

impl Load {
    pub(super) fn per_second(&self) -> f64 {
        float(self.answered) / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// Each sender sends its next request as soon as it has a response.
pub(super) async fn closed_loop<S: Sender>(senders: Vec<S>, until: Until, latencies: &Latencies) -> Load {
    let begun = Instant::now();
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for mut sender in senders {
        let (next, latencies) = (Arc::clone(&next), latencies.clone());
        tasks.spawn(async move {
            let (mut answered, mut failed) = (0, 0);
            while failed < MAX_FAILURES {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let over = match until {
                    Until::Elapsed(time) => begun.elapsed() >= time,
                    Until::Sent(count) => number >= count,
                };
                if over {
                    break;
                }
                let sent = Instant::now();
                if sender.send(number).await {
                    latencies.record(sent.elapsed());
                    (answered, failed) = (answered + 1, 0);
                } else {
                    failed += 1;
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            }
            answered
        });
    }
    let answered = sum(tasks).await;
    Load { answered, elapsed: begun.elapsed() }
}

/// A request and its due time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tick {
    /// Counts from 0.
    pub number: u64,
    /// Its latency counts from here.
    pub due: Instant,
}

/// Evenly spaced due times.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    /// Requests per second.
    pub rate: u32,
    /// Requests in total.
    pub count: u64,
}

impl Schedule {
    /// `rate` requests per second for `time`; at least one.
    pub(super) fn lasting(rate: u32, time: Duration) -> Self {
        let count = u128::from(rate) * time.as_micros() / 1_000_000;
        Self { rate, count: u64::try_from(count).unwrap_or(u64::MAX).max(1) }
    }

    fn offset(&self, number: u64) -> Duration {
        let rate = u64::from(self.rate.max(1));
        // Whole seconds are added separately, so that a long run does not overflow.
        Duration::from_secs(number / rate) + Duration::from_nanos(number % rate * 1_000_000_000 / rate)
    }

    /// Sends each tick at its due time. This runs in its own thread, because the timers of the runtime have a resolution of
    /// a millisecond, which would count as latency of the system. Dropping the receiver ends the thread.
    pub(super) fn start(self) -> std::io::Result<mpsc::Receiver<Tick>> {
        let (sender, ticks) = mpsc::channel(MAX_WAITING);
        let begun = std::time::Instant::now() + SPIN;
        let pace = move || {
            for number in 0..self.count {
                let due = begun + self.offset(number);
                std::thread::sleep(due.saturating_duration_since(std::time::Instant::now()).saturating_sub(SPIN));
                while std::time::Instant::now() < due {
                    std::hint::spin_loop();
                }
                if sender.blocking_send(Tick { number, due: due.into() }).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("bench-pacer".to_owned()).spawn(pace)?;
        Ok(ticks)
    }
}

/// A free sender sends the next request. While none is free the request waits, and its wait counts.
pub(super) async fn open_loop<S: Sender>(senders: Vec<S>, ticks: mpsc::Receiver<Tick>, latencies: &Latencies) -> Load {
    let begun = Instant::now();
    let ticks = Arc::new(Mutex::new(ticks));
    let mut tasks = JoinSet::new();
    for mut sender in senders {
        let (ticks, latencies) = (Arc::clone(&ticks), latencies.clone());
        tasks.spawn(async move {
            let (mut answered, mut failed) = (0, 0);
            while failed < MAX_FAILURES {
                let next = ticks.lock().await.recv().await;
                let Some(Tick { number, due }) = next else { break };
                if sender.send(number).await {
                    latencies.record(due.elapsed());
                    (answered, failed) = (answered + 1, 0);
                } else {
                    failed += 1;
                }
            }
            answered
        });
    }
    let answered = sum(tasks).await;
    Load { answered, elapsed: begun.elapsed() }
}

async fn sum(mut tasks: JoinSet<u64>) -> u64 {
    let mut total = 0;
    while let Some(ended) = tasks.join_next().await {
        total += ended.unwrap_or_default();
    }
    total
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    /// Stalls once.
    struct Stalling {
        at: u64,
        stall: Duration,
        usual: Duration,
    }

    impl Sender for Stalling {
        async fn send(&mut self, number: u64) -> bool {
            sleep(if number == self.at { self.stall } else { self.usual }).await;
            true
        }
    }

    struct Refusing;

    impl Sender for Refusing {
        async fn send(&mut self, _: u64) -> bool {
            false
        }
    }

    /// As [`Schedule::start`], on the runtime's clock.
    fn ticks(schedule: Schedule) -> mpsc::Receiver<Tick> {
        let (sender, ticks) = mpsc::channel(MAX_WAITING);
        let begun = Instant::now();
        tokio::spawn(async move {
            for number in 0..schedule.count {
                let due = begun + schedule.offset(number);
                tokio::time::sleep_until(due).await;
                if sender.send(Tick { number, due }).await.is_err() {
                    return;
                }
            }
        });
        ticks
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_are_due_during_a_stall_wait_and_their_wait_counts() {
        let latencies = Latencies::new().unwrap();
        let (at, stall, usual) = (10, Duration::from_secs(1), Duration::from_millis(1));
        let schedule = Schedule::lasting(100, Duration::from_secs(4));
        let load = open_loop(vec![Stalling { at, stall, usual }], ticks(schedule), &latencies).await;
        assert_eq!(load.answered, 400);
        let found = latencies.percentiles().unwrap();
        // The requests of one second out of four meet the stall or the queue behind it.
        assert!(found.p50 < 2.0, "{found:?}");
        assert!(found.p95 > 700.0, "{found:?}");
        assert!((990.0..=1010.0).contains(&found.max), "{found:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_connection_sends_while_the_first_one_stalls() {
        let latencies = Latencies::new().unwrap();
        let sender = || Stalling { at: 10, stall: Duration::from_secs(1), usual: Duration::from_millis(1) };
        let schedule = Schedule::lasting(100, Duration::from_secs(4));
        let load = open_loop(vec![sender(), sender()], ticks(schedule), &latencies).await;
        let found = latencies.percentiles().unwrap();
        assert_eq!(load.answered, 400);
        assert!(found.p99 < 2.0 && found.max > 990.0, "only the stalled request is slow: {found:?}");
    }

    #[test]
    fn due_times_are_even_and_do_not_drift() {
        let schedule = Schedule { rate: 3, count: u64::MAX };
        assert_eq!(schedule.offset(0), Duration::ZERO);
        assert_eq!(schedule.offset(1), Duration::from_nanos(333_333_333));
        assert_eq!(schedule.offset(3_000_000), Duration::from_secs(1_000_000));
        assert_eq!(Schedule::lasting(50, Duration::from_millis(1500)).count, 75);
        assert_eq!(Schedule::lasting(1, Duration::from_millis(1)).count, 1);
    }

    #[tokio::test]
    async fn the_pacer_sends_every_tick_and_none_early() {
        let mut ticks = Schedule { rate: 1000, count: 20 }.start().unwrap();
        let mut numbers = Vec::new();
        while let Some(tick) = ticks.recv().await {
            assert!(Instant::now() >= tick.due);
            numbers.push(tick.number);
        }
        assert_eq!(numbers, (0..20).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_loop_stops_after_a_number_of_requests_or_a_time() {
        let latencies = Latencies::new().unwrap();
        let sender = || Stalling { at: u64::MAX, stall: Duration::ZERO, usual: Duration::from_millis(10) };
        let load = closed_loop(vec![sender(), sender()], Until::Sent(101), &latencies).await;
        assert_eq!((load.answered, latencies.count()), (101, 101));
        let load = closed_loop(vec![sender(), sender()], Until::Elapsed(Duration::from_secs(1)), &latencies).await;
        assert_eq!((load.answered, load.elapsed), (200, Duration::from_secs(1)));
        assert!((load.per_second() - 200.0).abs() < 1e-9);
    }

    #[tokio::test(start_paused = true)]
    async fn the_load_ends_when_the_system_refuses_everything() {
        let latencies = Latencies::new().unwrap();
        let load = closed_loop(vec![Refusing, Refusing], Until::Elapsed(Duration::from_hours(1)), &latencies).await;
        assert_eq!((load.answered, latencies.count()), (0, 0));
        let schedule = Schedule { rate: 10, count: u64::MAX };
        assert_eq!(open_loop(vec![Refusing], ticks(schedule), &latencies).await.answered, 0);
    }
}
