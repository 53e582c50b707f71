//! The rate of pushes: a window that starts small, and a pause after negative acknowledgements.

use std::time::Duration;

use tokio::time::Instant;

const FIRST_WINDOW: usize = 3;
const MAX_WINDOW: usize = 3000;
const LEAST_PAUSE: Duration = Duration::from_millis(100);
const MOST_PAUSE: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub struct Flow {
    /// The largest number of concurrent pushes.
    window: usize,
    /// Negative acknowledgements minus positive ones.
    nacks: u32,
    paused_until: Option<Instant>,
}

impl Default for Flow {
    fn default() -> Self {
        Self { window: FIRST_WINDOW, nacks: 0, paused_until: None }
    }
}

impl Flow {
    /// Each success adds one, which doubles the window with each round.
    pub fn acked(&mut self) {
        self.window = (self.window + 1).min(MAX_WINDOW);
        self.nacks = self.nacks.saturating_sub(1);
    }

    /// The whole subscription pauses, longer with each failure.
    pub fn nacked(&mut self, now: Instant, speed: f64) {
        self.window = (self.window / 2).max(1);
        let pause = LEAST_PAUSE.saturating_mul(2_u32.saturating_pow(self.nacks)).min(MOST_PAUSE);
        self.nacks = (self.nacks + 1).min(16);
        self.paused_until = Some(now + pause.div_f64(speed));
    }

    /// The end of the pause, if it is in the future.
    pub fn pause(&self, now: Instant) -> Option<Instant> {
        self.paused_until.filter(|until| *until > now)
    }

    pub fn window(&self) -> usize {
        self.window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_doubles_with_each_good_round_and_halves_with_each_failure() {
        let mut flow = Flow::default();
        let first = flow.window();
        for _ in 0..first {
            flow.acked();
        }
        assert_eq!(flow.window(), 2 * first);
        flow.nacked(Instant::now(), 1.0);
        assert_eq!(flow.window(), first);
        for _ in 0..10 {
            flow.nacked(Instant::now(), 1.0);
        }
        assert_eq!(flow.window(), 1);
        for _ in 0..2 * MAX_WINDOW {
            flow.acked();
        }
        assert_eq!(flow.window(), MAX_WINDOW);
    }

    #[test]
    fn the_pause_doubles_from_a_tenth_of_a_second_to_a_minute_and_shrinks_with_success() {
        let (mut flow, now) = (Flow::default(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..12 {
            flow.nacked(now, 1.0);
            pauses.push(flow.pause(now).unwrap() - now);
        }
        assert_eq!(pauses[..3], [100, 200, 400].map(Duration::from_millis));
        assert_eq!(pauses[10..], [MOST_PAUSE; 2]);
        for _ in 0..12 {
            flow.acked();
        }
        flow.nacked(now, 10.0);
        assert_eq!(flow.pause(now), Some(now + Duration::from_millis(10)));
    }
}
