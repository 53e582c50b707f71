//! Ctrl-C while a job runs: cancel it, stop waiting, or continue to wait.

use std::io::{self, BufRead as _, IsTerminal as _};

use tokio::sync::oneshot;

use super::super::output;

/// The decision of the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// Cancel the job.
    Cancel,
    /// Stop waiting; the job continues.
    Detach,
    /// Continue to wait.
    Wait,
}

/// Receives Ctrl-C from its creation on.
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

    /// Resolves at the next Ctrl-C.
    pub(super) async fn next(&mut self) {
        if self.signal.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// Whether a user can answer questions.
pub(super) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks the user at the terminal. Without a terminal the command stops waiting.
pub(super) async fn ask(is_interactive: bool) -> Choice {
    if !is_interactive {
        return Choice::Detach;
    }
    output::note("\ninterrupted: [c]ancel the job, [d]etach and let it continue, or [Enter] to keep waiting?");
    let (answer, answered) = oneshot::channel();
    // In its own thread, because a read of the terminal cannot be cancelled. The thread ends with the process.
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = io::stdin().lock().read_line(&mut line);
        // The receiver is gone if the job has ended in the meantime.
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
        // An empty line is Enter; an empty string is the end of the input.
        "" if line.is_empty() => Choice::Detach,
        _ => Choice::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_word_or_its_initial_and_any_other_waits() {
        assert_eq!(choice("c\n"), Choice::Cancel);
        assert_eq!(choice("Detach\n"), Choice::Detach);
        assert_eq!(choice("\n"), Choice::Wait);
        assert_eq!(choice("what?\n"), Choice::Wait);
        assert_eq!(choice(""), Choice::Detach);
    }
}
