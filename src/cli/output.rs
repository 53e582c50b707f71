//! Printing. Colours are removed unless the output is a terminal. A closed pipe (`| head`) is not an error.

use std::io::{self, ErrorKind, Write};

use super::{ConfigError, Failure};

/// Prints a line of results to standard output.
pub(super) fn line(text: impl AsRef<str>) -> io::Result<()> {
    ignore_closed_pipe(writeln!(anstream::stdout(), "{}", text.as_ref()))
}

/// Prints a line for the user to standard error. Ignores errors, because the command should not fail for it.
pub(super) fn note(text: impl AsRef<str>) {
    let _ = writeln!(anstream::stderr(), "{}", text.as_ref());
}

/// Writes bytes to standard output as they are.
pub(super) fn bytes(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    ignore_closed_pipe(out.write_all(bytes).and_then(|()| out.flush()))
}

fn ignore_closed_pipe(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// An error with its causes. Leaves out a cause that the message already contains.
fn text(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Prints an error and its hints.
pub(super) fn error(error: &anyhow::Error) {
    const RED: &str = "\u{1b}[1;31m";
    const CYAN: &str = "\u{1b}[1;36m";
    const RESET: &str = "\u{1b}[0m";
    note(format!("{RED}error:{RESET} {}", text(error)));
    let hints = match error.downcast_ref::<Failure>() {
        Some(failure) => failure.hints.clone(),
        None if error.is::<ConfigError>() => {
            vec!["`mediaforge config --help` explains where settings come from; `mediaforge config --defaults` explains every key".into()]
        }
        None => Vec::new(),
    };
    for hint in hints {
        note(format!(" {CYAN}hint:{RESET} {hint}"));
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;
    use crate::error::{BackendError, ErrorKind};

    #[test]
    fn a_cause_is_printed_once() {
        let inner = BackendError::new(ErrorKind::Broken, "store.team_of").because("no such project");
        let error = anyhow::Error::from(inner).context("cannot read");
        assert_eq!(text(&error), "cannot read: store.team_of: broken: no such project");
        let plain = Err::<(), _>(std::io::Error::other("disk full")).context("cannot write").unwrap_err();
        assert_eq!(text(&plain), "cannot write: disk full");
    }
}
