//! Progress: a line on a terminal, otherwise nothing.

use std::{io::IsTerminal as _, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A spinner with a text, or a bar while jobs are counted.
pub(super) struct Progress(ProgressBar);

impl Progress {
    pub(super) fn new() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        line.set_style(style("{spinner:.cyan} {elapsed:>4} {wide_msg}"));
        // Rarely, because it runs beside the measured system.
        line.enable_steady_tick(Duration::from_millis(500));
        Self(line)
    }

    pub(super) fn show(&self, text: impl Into<String>) {
        self.0.set_message(text.into());
    }

    /// Shows a bar from 0 to `total`.
    pub(super) fn count_to(&self, total: u64) {
        self.0
            .set_style(style("{spinner:.cyan} [{bar:28.cyan/dim}] {human_pos} of {human_len}, {eta} left {wide_msg}"));
        self.0.reset();
        self.0.set_length(total);
    }

    pub(super) fn add(&self, count: u64) {
        self.0.inc(count);
    }

    /// Shows the spinner again.
    pub(super) fn stop_counting(&self) {
        self.0.set_style(style("{spinner:.cyan} {elapsed:>4} {wide_msg}"));
        self.0.reset_elapsed();
    }

    /// Clears the line.
    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─")
}
