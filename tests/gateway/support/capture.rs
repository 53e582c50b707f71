//! Captures the log lines of a test's thread. One subscriber serves the whole process, because callsites cache their
//! interest: a subscriber per test would race with the other tests.

use std::{cell::RefCell, io, sync::Once};

use tracing_subscriber::fmt::MakeWriter;

thread_local! {
    static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct ThisThread;

impl io::Write for ThisThread {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.with_borrow_mut(|lines| lines.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for ThisThread {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        Self
    }
}

/// Starts capturing for all tests.
pub fn start() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_ansi(false)
            .with_writer(ThisThread)
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}

/// The lines that this thread has logged since the last call.
pub fn lines() -> Vec<String> {
    let bytes = LINES.take();
    String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
}
