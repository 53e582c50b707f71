//! The parameters of a seed: which faults, how often, how many processes, which settings.

use std::{num::NonZeroU32, time::Duration};

use mediaforge::{
    domain::{
        brand::BrandLimits,
        breaker::BreakerPolicy,
        job::JobPolicy,
        pricing::Prices,
        request::RequestLimits,
        retry::RetryPolicy,
        style::{Catalogue, Learnt, Style},
        upload::UploadLimits,
    },
    jobs::{AttemptSettings, Deadlines, JobsConfig, SubmissionSettings, Timeouts, UploadSettings},
    worker::WorkerSettings,
};

use crate::dice::Dice;

macro_rules! faults {
    ($($fault:ident $most:literal $name:literal)+) => {
        /// Everything that can go wrong. Each seed uses some of it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Fault { $($fault),+ }

        impl Fault {
            pub const ALL: &'static [Self] = &[$(Self::$fault),+];

            pub fn name(self) -> &'static str {
                match self { $(Self::$fault => $name),+ }
            }

            /// The highest rate, in a thousand.
            fn most(self) -> u64 {
                match self { $(Self::$fault => $most),+ }
            }
        }
    };
}

faults! {
    SlowNetwork 60 "slow calls"
    StoreUnavailable 80 "store: unavailable"
    StoreReplyLost 80 "store: applied, reply lost"
    StoreRequestLost 60 "store: not applied, timeout"
    StoreLate 40 "store: timeout, applied later"
    StoreBroken 10 "store: broken"
    StoreOutage 300 "store: outage"
    Partition 300 "process cut off from the store"
    WatchBroken 60 "watch: broken"
    WatchSlow 300 "watch: late, states skipped"
    PublishFails 200 "publish: unavailable"
    PublishReplyLost 100 "publish: accepted, reply lost"
    LetterFails 300 "dead letter: unavailable"
    LetterReplyLost 200 "dead letter: recorded, reply lost"
    MessageDropped 200 "message: dropped"
    MessageDuplicated 250 "message: duplicated"
    MessageDelayed 250 "message: delayed"
    MessageEarly 600 "message: delivered early"
    AckLost 150 "message: acknowledgement lost"
    MessageGarbled 40 "message: garbled"
    EngineRetry 250 "engine: transient failure"
    EngineFails 60 "engine: permanent failure"
    EngineHangs 60 "engine: hangs"
    EngineSlow 200 "engine: slow"
    EngineThrottles 200 "engine: rate limit"
    EngineThrottlesWithDate 200 "engine: rate limit with retry-after"
    EngineFiltersSome 150 "engine: filters some pictures"
    EngineFiltersAll 80 "engine: filters every picture"
    EnginePanics 60 "engine: panics"
    EngineCorrupt 80 "engine: corrupt picture"
    TrainerRetry 150 "trainer: transient failure"
    TrainerFails 60 "trainer: refuses for good"
    TrainerHangs 50 "trainer: hangs"
    TrainerThrottles 150 "trainer: rate limit"
    TrainerStartReplyLost 200 "trainer: begun, reply lost"
    TrainerOperationFails 250 "trainer: operation fails"
    TrainerOperationSticks 60 "trainer: operation never ends"
    TrainerCancelFails 200 "trainer: cancel fails"
    MediaFails 80 "media: unavailable"
    MediaReplyLost 80 "media: stored, reply lost"
    MediaSlow 80 "media: slow"
    Crash 300 "process: crash"
    Freeze 200 "process: frozen, then goes on"
    Drain 250 "process: drained"
    ClockJump 200 "clock: jumps"
    ClientHangsUp 120 "client: hangs up"
}

/// A part that is broken on purpose, which the checks must detect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// The store writes without checking the version.
    Fencing,
    /// The store drops the entries that settle a hold.
    Settlement,
    /// The store applies an entry again that it already has.
    Repetition,
    /// No job is ever overdue.
    Sweeper,
}

/// The parameters of a run, all drawn from its seed.
#[derive(Debug, Clone)]
pub struct Plan {
    pub gateways: usize,
    pub workers: usize,
    pub users: usize,
    /// How many steps each client takes.
    pub steps: u64,
    /// How long faults occur.
    pub chaos: Duration,
    /// How far apart clocks may be, in seconds.
    pub skew: u64,
    pub rates: Vec<u32>,
    pub config: JobsConfig,
    pub worker: WorkerSettings,
    /// How long a drain lets attempts finish.
    pub drain: Duration,
    pub trainings_per_mille: u32,
    pub broken: Option<Broken>,
}

const SECOND: Duration = Duration::from_secs(1);

impl Plan {
    pub fn draw(dice: &Dice, broken: Option<Broken>) -> Self {
        // Some seeds have many faults and some have few, and each leaves out about half of the kinds: a defect that one fault
        // hides appears in a run without that fault.
        let intensity = dice.between(1, 4);
        let rate = |fault: &Fault| {
            if dice.chance(500) { 0 } else { u32::try_from(1 + fault.most() * intensity / 4).expect("a rate") }
        };
        let rates = Fault::ALL.iter().map(rate).collect();
        let lease = SECOND * u32::try_from(dice.between(6, 30)).expect("seconds");
        let worker = WorkerSettings {
            slots: dice.index(3) + 1,
            attempt: AttemptSettings {
                lease,
                heartbeat: lease / 3,
                timeout: dice.millis(8_000, 25_000),
                poll_every: dice.millis(1_000, 4_000),
            },
            ack_on_claim: dice.chance(600),
            slot_wait: dice.millis(2_000, 30_000),
            sweep_every: dice.millis(2_000, 9_000),
            body_timeout: SECOND * 30,
            requests: None,
        };
        Self {
            gateways: dice.index(3) + 1,
            workers: dice.index(3) + 1,
            users: dice.index(3) + 2,
            steps: dice.between(3, 7),
            chaos: dice.millis(30_000, 120_000),
            skew: *dice.pick(&[0, 0, 2, 60, 600]),
            rates,
            config: config(dice),
            worker,
            drain: dice.millis(500, 7_000),
            trainings_per_mille: *dice.pick(&[0, 100, 400]),
            broken,
        }
    }

    /// The time within which every job must end once no more faults occur: the longest deadline, plus what clocks that
    /// differ add to it, plus the last attempt and sweep.
    pub fn bound(&self) -> Duration {
        let config = &self.config;
        let longest = config.deadlines.training.max(config.deadlines.illustration);
        longest
            + SECOND * u32::try_from(4 * self.skew).expect("seconds")
            + self.worker.attempt.timeout * 4
            + SECOND * 120
    }
}

fn config(dice: &Dice) -> JobsConfig {
    let style = |id: &str| Style {
        id: id.to_owned(),
        name: id.to_uppercase(),
        description: "a style".to_owned(),
        modifier: id.to_owned(),
        palette: Vec::new(),
        learnt: Learnt::default(),
    };
    let retry = RetryPolicy {
        max_attempts: u32::try_from(dice.between(1, 5)).expect("attempts"),
        base: dice.millis(100, 4_000),
        cap: dice.millis(5_000, 40_000),
    };
    let republish_after = dice.millis(5_000, 30_000);
    JobsConfig {
        policy: JobPolicy {
            retry,
            republish_after,
            republish_cap: retry.cap.max(republish_after),
            cancel_grace: dice.millis(2_000, 10_000),
            queue_delays: true,
        },
        starting_grant: dice.between(2, 30),
        deadlines: Deadlines { illustration: dice.millis(60_000, 300_000), training: dice.millis(120_000, 500_000) },
        submission: SubmissionSettings {
            prices: Prices { image: 1, image_large: 2, large_above_px: 8, training: 5 },
            limits: RequestLimits { prompt_chars: 40, min_side: 8, max_side: 16, max_count: 4 },
            catalogue: Catalogue::new(vec![style("ink"), style("oil")]).expect("two styles"),
            brand_limits: BrandLimits {
                min_images: 1,
                max_images: 2,
                max_colors: 5,
                name_chars: 40,
                min_side: 8,
                max_aspect: 3,
                min_difference: 0,
            },
            training_estimate: "a while".to_owned(),
            uploads: UploadSettings {
                limits: UploadLimits { max_bytes: 1 << 20, max_pixels: 1 << 20, max_archive_bytes: 1 << 20 },
                keep: Duration::from_hours(24),
            },
            jobs_in_flight: NonZeroU32::new(u32::try_from(dice.between(2, 20)).expect("a few")),
        },
        retention: None,
        breaker: BreakerPolicy {
            failures: u32::try_from(dice.between(2, 6)).expect("a few"),
            cooldown: dice.millis(500, 5_000),
            cap: dice.millis(5_000, 20_000),
        },
        timeouts: Timeouts { backend: dice.millis(3_000, 15_000), media: dice.millis(20_000, 60_000) },
    }
}
