//! The progress of a job: a bar on a terminal, otherwise one line per change.

use std::{fmt::Write as _, io::IsTerminal as _, sync::Mutex, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{
    super::output,
    interrupt::is_interactive,
    state::{self, Job},
};

const STEPS: u64 = 1000;

/// The progress of one job, on standard error.
pub(in crate::cli) enum Progress {
    Bar(ProgressBar),
    Lines(Mutex<String>),
    Quiet,
}

impl Progress {
    pub(super) fn new(quiet: bool) -> Self {
        if quiet {
            return Self::Quiet;
        }
        if !std::io::stderr().is_terminal() {
            return Self::Lines(Mutex::default());
        }
        let bar = ProgressBar::with_draw_target(Some(STEPS), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{spinner:.cyan} [{bar:28.cyan/dim}] {elapsed:>4} {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─"));
        bar.set_message("queued");
        bar.enable_steady_tick(Duration::from_millis(100));
        Self::Bar(bar)
    }

    /// Shows the state of the job.
    pub(super) fn show(&self, job: &Job) {
        if let (Self::Bar(bar), Some(progress)) = (self, &job.progress) {
            bar.set_position(position(progress.fraction));
        }
        let text = label(job);
        self.show_message(&match (self, &job.progress) {
            (Self::Bar(_), Some(progress)) => format!("{text}{}", detail(progress)),
            // For a long job, one line per 10 % is enough.
            (Self::Lines(_), Some(progress)) if progress.step.is_some() => {
                format!("{text}, {} %", position(progress.fraction) / (STEPS / 10) * 10)
            }
            _ => text,
        });
    }

    /// Shows a message.
    pub(super) fn show_message(&self, text: &str) {
        match self {
            Self::Bar(bar) => bar.set_message(text.to_owned()),
            Self::Lines(last) => {
                let mut last = last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if *last != text {
                    output::note(text);
                    text.clone_into(&mut last);
                }
            }
            Self::Quiet => {}
        }
    }

    /// Hides the bar for a question. Returns whether a user can answer.
    pub(super) fn suspend(&self) -> bool {
        if let Self::Bar(bar) = self {
            bar.disable_steady_tick();
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        is_interactive()
    }

    /// Shows the bar again.
    pub(super) fn resume(&self) {
        if let Self::Bar(bar) = self {
            bar.set_draw_target(ProgressDrawTarget::stderr());
            bar.enable_steady_tick(Duration::from_millis(100));
        }
    }

    /// Removes the bar.
    pub(super) fn finish(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn label(job: &Job) -> String {
    if job.attempt > 1 { format!("{}, attempt {}", job.status, job.attempt) } else { job.status.clone() }
}

/// For example `, step 120/400, 30 %, 21 s left`, without the parts that are unknown.
fn detail(progress: &state::Progress) -> String {
    let mut text = String::new();
    if let Some(step) = progress.step {
        let _ = write!(text, ", step {step}"); // writing to a String cannot fail
        if let Some(total) = progress.total_steps {
            let _ = write!(text, "/{total}");
        }
        let _ = write!(text, ", {} %", position(progress.fraction) * 100 / STEPS);
    }
    if let Some(seconds) = progress.eta_seconds {
        let _ = match seconds {
            0..120 => write!(text, ", {seconds} s left"),
            _ => write!(text, ", {} min left", seconds.div_ceil(60)),
        };
    }
    text
}

fn position(fraction: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=1000 before")]
    let position = (fraction.clamp(0.0, 1.0) * 1000.0).round() as u64;
    position.min(STEPS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::kind::JobKind;

    #[test]
    fn a_later_attempt_is_shown_and_fractions_are_clamped() {
        let job = |attempt| {
            let text = format!(r#"{{"illustrationId":"i","status":"processing","attempt":{attempt}}}"#);
            Job::parse(JobKind::Illustration, &text)
        };
        assert_eq!(label(&job(1).unwrap()), "processing");
        assert_eq!(label(&job(2).unwrap()), "processing, attempt 2");
        assert_eq!([-1.0, 0.25, 7.0, f64::NAN].map(position), [0, 250, 1000, 0]);
    }

    #[test]
    fn a_training_shows_its_step_percent_and_the_time_left() {
        let progress = |text: &str| {
            let text = format!(r#"{{"brandId":"b","status":"training","progress":{text}}}"#);
            detail(&Job::parse(JobKind::Brand, &text).unwrap().progress.unwrap())
        };
        let full = progress(r#"{"fraction":0.3,"step":120,"totalSteps":400,"etaSeconds":21}"#);
        assert_eq!(full, ", step 120/400, 30 %, 21 s left");
        assert_eq!(progress(r#"{"fraction":0.3,"etaSeconds":601}"#), ", 11 min left");
        assert_eq!(progress(r#"{"fraction":0.3}"#), "");
    }
}
