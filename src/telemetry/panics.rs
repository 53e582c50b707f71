//! Logs a panic as one line: the default hook prints several, which Cloud Logging stores as unrelated entries.

use std::panic::PanicHookInfo;

/// Logs every panic of this process from now on. If errors are not logged at all, the previous hook handles the panic.
pub(super) fn log_panics() {
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(
        move |info| {
            if tracing::enabled!(tracing::Level::ERROR) { log(info) } else { previous(info) }
        },
    ));
}

fn log(info: &PanicHookInfo<'_>) {
    let payload = info.payload();
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)");
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    tracing::error!(severity = "CRITICAL", location, thread, "panicked: {message}");
}
