//! Ctrl-C while a job runs: cancel it, leave it alone, or go on waiting.

use std::io::{self, BufRead as _, IsTerminal as _};

use tokio::sync::oneshot;

use super::super::output;

/// What the person wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// Stop the job.
    Cancel,
    /// Stop waiting; the job goes on.
    Detach,
    /// Go on waiting.
    Wait,
}

/// Ctrl-C, from its creation on.
pub(in crate::cli) struct Interrupts {
    #[cfg(unix)]
    signal: tokio::signal::unix::Signal,
    #[cfg(windows)]
    signal: tokio::signal::windows::CtrlC,
}

impl Interrupts {
    pub(super) fn new() -> io::Result<Self> {
        #[cfg(unix)]
        let signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
        #[cfg(windows)]
        let signal = tokio::signal::windows::ctrl_c()?;
        Ok(Self { signal })
    }

    /// Resolves at the next one.
    pub(super) async fn next(&mut self) {
        if self.signal.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// Whether there is somebody to ask.
pub(super) fn somebody_there() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks the person at the terminal; without one the job is left alone.
pub(super) async fn ask(somebody: bool) -> Choice {
    if !somebody {
        return Choice::Detach;
    }
    output::note("\ninterrupted: [c]ancel the job, [d]etach and let it go on, [Enter] keep waiting?");
    let (answer, answered) = oneshot::channel();
    // A thread of its own, because a read of the terminal cannot be taken back; it ends with the process.
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = io::stdin().lock().read_line(&mut line);
        // Nobody waits for the answer any more when the job has ended meanwhile.
        let _ = answer.send(read.map(|_| line));
    });
    match answered.await {
        Ok(Ok(line)) => choice(&line),
        _ => Choice::Detach,
    }
}

fn choice(line: &str) -> Choice {
    match line.trim().to_lowercase().as_str() {
        "c" | "cancel" => Choice::Cancel,
        "d" | "detach" => Choice::Detach,
        // The end of the input is no wish to wait.
        "" if line.is_empty() => Choice::Detach,
        _ => Choice::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_word_or_its_first_letter_and_anything_else_waits() {
        assert_eq!(choice("c\n"), Choice::Cancel);
        assert_eq!(choice("Detach\n"), Choice::Detach);
        assert_eq!(choice("\n"), Choice::Wait);
        assert_eq!(choice("what?\n"), Choice::Wait);
        assert_eq!(choice(""), Choice::Detach);
    }
}
