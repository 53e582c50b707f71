//! How fast a subscription is pushed: a window that starts small, and a pause after negative acknowledgements.

use std::time::Duration;

use tokio::time::Instant;

const FIRST_WINDOW: usize = 3;
const MAX_WINDOW: usize = 3000;
const LEAST_PAUSE: Duration = Duration::from_millis(100);
const MOST_PAUSE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Flow {
    /// How many pushes may be under way at once.
    window: usize,
    /// How many negative acknowledgements more than positive ones.
    nacks: u32,
    paused_until: Option<Instant>,
}

impl Default for Flow {
    fn default() -> Self {
        Self { window: FIRST_WINDOW, nacks: 0, paused_until: None }
    }
}

impl Flow {
    /// One more for each success doubles the window with each round.
    pub fn acked(&mut self) {
        self.window = (self.window + 1).min(MAX_WINDOW);
        self.nacks = self.nacks.saturating_sub(1);
    }

    /// The whole subscription waits, longer with each.
    pub fn nacked(&mut self, now: Instant, speed: f64) {
        self.window = (self.window / 2).max(1);
        let pause = LEAST_PAUSE.saturating_mul(2_u32.saturating_pow(self.nacks)).min(MOST_PAUSE);
        self.nacks = (self.nacks + 1).min(16);
        self.paused_until = Some(now + pause.div_f64(speed));
    }

    /// Until when nothing is pushed, if that is to come.
    pub fn pause(&self, now: Instant) -> Option<Instant> {
        self.paused_until.filter(|until| *until > now)
    }

    pub fn window(&self) -> usize {
        self.window
    }
}
